"""Sockets of users on a live run: who connects into a partition hangs until it ends, as in a simulation."""

import socket
from collections.abc import Callable
from typing import Any

import trio
import trio.abc

from simulator.live.proxy import Proxy

__all__ = ["LiveSockets"]


class LiveSockets(trio.abc.SocketFactory):
    """Makes Trio's own sockets, but for one thing: to connect to a proxy takes until what opens a connection can pass.

    A proxy could not do that. Its kernel accepts whoever connects, and a client that is connected already does other
    things than one that is not yet: it does not try its next address, say.
    """

    def __init__(self, proxy_at: Callable[[str], Proxy | None]) -> None:
        self._proxy_at = proxy_at

    def socket(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
    ) -> trio.socket.SocketType:
        """Return a new socket."""
        return _Socket(trio.socket.from_stdlib_socket(socket.socket(family, type, proto)), self._proxy_at)


class _Socket(trio.socket.SocketType):
    def __init__(self, inner: trio.socket.SocketType, proxy_at: Callable[[str], Proxy | None]) -> None:
        self._inner = inner
        self._proxy_at = proxy_at

    def __getattribute__(self, name: str) -> Any:
        # Trio's class raises NotImplementedError for everything, so that nothing is looked up in vain.
        if name in ("_inner", "_proxy_at", "connect", "__class__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_inner"), name)

    def __enter__(self) -> "_Socket":
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.close()

    async def connect(self, address: Any) -> None:
        """Connect, when the proxy at that address would let what opens a connection pass."""
        proxy = self._proxy_at(address[0]) if isinstance(address, tuple) else None
        if proxy is not None:
            await proxy.wait_open()
        await self._inner.connect(address)
