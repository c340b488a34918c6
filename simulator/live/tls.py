"""TLS towards a deployment: a plain loopback address whose connections go on encrypted; proxies see what is said."""

import socket
import ssl
import struct
from functools import partial

import trio

from simulator.errors import InputError
from simulator.live.link import RESET_ON_CLOSE
from simulator.live.target import TLS

__all__ = ["greet", "start_tunnel"]

FINISH_ON_CLOSE = struct.pack("ii", 0, 0)


def _context_of(tls: TLS) -> ssl.SSLContext:
    """Return how a server is verified: always. Raises InputError when the file of certificates is none."""
    try:
        return ssl.create_default_context(cafile=tls.ca)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(f"the target's certificates cannot be read: {error}. ca={tls.ca}") from error


def greet(connection: socket.socket, name: str, tls: TLS) -> str:
    """Shake hands with a server, and return the version of TLS. Raises OSError when it does not prove to be `name`."""
    with _context_of(tls).wrap_socket(connection, server_hostname=tls.name or name) as secure:
        return secure.version() or "TLS"


async def start_tunnel(nursery: trio.Nursery, upstream: tuple[str, int], name: str, tls: TLS) -> tuple[str, int]:
    """Listen, until the nursery ends, at the address returned; connections to it go on to `upstream` in TLS.

    A server that cannot be reached, or that does not prove to be `name`, is met as a connection that is reset.
    """
    context = _context_of(tls)

    async def carry(plain: trio.SocketStream) -> None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            async with await trio.open_tcp_stream(*upstream) as connection:
                secure = trio.SSLStream(connection, context, server_hostname=name, https_compatible=True)
                async with trio.open_nursery() as both:
                    both.start_soon(_copy_to_server, plain, secure)
                    async for chunk in secure:
                        await plain.send_all(chunk)
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, FINISH_ON_CLOSE)
                    both.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    (listener,) = await nursery.start(partial(trio.serve_tcp, carry, 0, host="127.0.0.1"))
    host, port = listener.socket.getsockname()
    return str(host), int(port)


async def _copy_to_server(plain: trio.SocketStream, secure: "trio.SSLStream[trio.SocketStream]") -> None:
    async for chunk in plain:
        await secure.send_all(chunk)
    await secure.aclose()  # TLS has no half-close that servers would understand
