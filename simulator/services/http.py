"""HTTP/1.1 as simulated services speak it: one request of a connection after the other, whoever answers them."""

from collections.abc import Awaitable, Callable, Mapping

import attrs
import h11
import trio

__all__ = ["Handle", "Request", "serve_requests"]

RECEIVE_BYTES = 65_536
SHOWN_BYTES = 400


@attrs.frozen
class Request:
    """What was received. `headers` have lower-case names. A `body` may be cut short by the end of the connection."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Handle = Callable[[Request, h11.Connection], Awaitable[bool]]
"""Answers a request on the connection. False ends the connection."""


async def serve_requests(
    stream: trio.SocketStream,
    handle: Handle,
    *,
    keep_alive_timeout_s: float = float("inf"),
    takes_cut_bodies: bool = False,
    body_bytes_max: float = float("inf"),
) -> None:
    """Handle the requests of one connection until either side ends it. Closes the stream.

    With `takes_cut_bodies` a body ends where the client closes, instead of being no request. A body that is longer
    than `body_bytes_max` is handled as it is when that shows, and ends the connection.
    """
    try:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            while True:
                request = await _receive(connection, stream, keep_alive_timeout_s, takes_cut_bodies, body_bytes_max)
                if request is None:
                    return
                if not await _handled(request, connection, handle):
                    return
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        return  # the client is gone, or does not speak HTTP


async def _handled(request: Request, connection: h11.Connection, handle: Handle) -> bool:
    """Handle a request. What nobody foresaw, which ends the run, is told with what caused it."""
    try:
        return await handle(request, connection)
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        raise
    except Exception as error:
        body = request.body[:SHOWN_BYTES]
        error.add_note(f"A simulated service failed at {request.method} {request.target[:SHOWN_BYTES]!r} {body!r}.")
        raise


async def _receive(
    connection: h11.Connection,
    stream: trio.SocketStream,
    timeout_s: float,
    takes_cut_bodies: bool,
    body_bytes_max: float,
) -> Request | None:
    """Return the next request, or None when the client closes, or stays silent too long, between two."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.Request() as head:
                pass
            case h11.Data(data=data):
                body += data
                if head is not None and len(body) > body_bytes_max:
                    return _request(head, body)
            case h11.EndOfMessage() if head is not None:
                return _request(head, body)
            case h11.NEED_DATA:
                data = b""
                with trio.move_on_after(timeout_s if head is None else float("inf")):
                    data = await stream.receive_some(RECEIVE_BYTES)
                if not data:
                    return _request(head, body) if head is not None and takes_cut_bodies else None
                connection.receive_data(data)
            case _:
                return None


def _request(head: h11.Request, body: bytearray) -> Request:
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), head.target.decode("latin-1"), headers, bytes(body))
