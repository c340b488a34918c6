"""Host names on a live run: each user reaches each host through a proxy of their own, at the port that they name."""

import itertools
import os
import socket
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import trio
import trio.abc

from simulator.live.proxy import Proxy
from simulator.live.target import Target

__all__ = ["LiveNames", "on_host"]

_current_host: ContextVar[str] = ContextVar("wavetank_live_host", default="")


def on_host(host: str) -> None:
    """Let the running task, and the tasks it will start, resolve names as this host."""
    _current_host.set(host)


class LiveNames(trio.abc.HostnameResolver):
    """Resolves the system's host names: each gets a loopback address of its own, and a proxy that listens there.

    So client code runs unchanged: the port is the one it names, whatever the real one is. (To answer with
    another port would not do: AnyIO keeps the asked one.) A user reaches the system through a proxy of
    their own.
    """

    def __init__(self, target: Target, users: Iterable[str], entry: str, nursery: trio.Nursery) -> None:
        self._target = target
        self._entry = entry
        self._nursery = nursery
        self._addresses = itertools.count(1)
        self.user_proxies = {user: self._proxy(entry) for user in users}
        """How each user reaches the host that is open to users."""
        self._started: dict[tuple[str, str, int], Proxy] = {}
        self._starting = trio.Lock()

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Answer with the loopback address of a proxy that listens there already."""
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self._target.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {name}")
        user = _current_host.get() if name == self._entry else ""
        async with self._starting:
            proxy = self._started.get((user, name, port))
            if proxy is None:
                proxy = self.user_proxies.get(user) or self._proxy(name)
                proxy.port = port
                await self._nursery.start(proxy.run)
                self._started[user, name, port] = proxy
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (proxy.host, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Answer with the numbers themselves."""
        return str(sockaddr[0]), str(sockaddr[1])

    def _proxy(self, host: str) -> Proxy:
        # The process's own part of 127/8, so that two replays at once do not meet.
        network = f"127.{100 + os.getpid() % 100}"
        number = next(self._addresses)
        return Proxy(self._target.address(host), host=f"{network}.{number // 250}.{number % 250 + 1}")
