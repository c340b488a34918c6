"""ClickHouse's HTTP connections: requests read and answers written one after the other, whoever answers them."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from simulator.services.clickhouse.request import Answer, Request

__all__ = ["Respond", "serve_connection"]

RECEIVE_BYTES = 65_536

Respond = Callable[[Request], Awaitable[Answer | None]]
"""Answers a request. None ends the connection without an answer."""


async def serve_connection(stream: trio.SocketStream, respond: Respond, *, keep_alive_timeout_s: float) -> None:
    """Answer the requests of one connection until either side ends it. Closes the stream."""
    try:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            while (request := await _receive(connection, stream, keep_alive_timeout_s)) is not None:
                response = await respond(request)
                if response is None:
                    return
                await _send(response, connection, stream)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        return  # the client is gone, or does not speak HTTP


async def _receive(connection: h11.Connection, stream: trio.SocketStream, timeout_s: float) -> Request | None:
    """Return the next request, or None when the client closes, or stays silent too long, between two."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.Request() as head:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                return _request(head, body)
            case h11.NEED_DATA:
                data = b""
                with trio.move_on_after(timeout_s if head is None else float("inf")):
                    data = await stream.receive_some(RECEIVE_BYTES)
                if not data:
                    return None if head is None else _request(head, body)
                connection.receive_data(data)
            case _:
                return None


def _request(head: h11.Request, body: bytearray) -> Request:
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), head.target.decode("latin-1"), headers, bytes(body))


async def _send(response: Answer, connection: h11.Connection, stream: trio.SocketStream) -> None:
    body = response.body.encode()
    headers = [("Content-Type", response.content_type), *response.headers, ("Content-Length", str(len(body)))]
    if response.closes:
        headers.append(("Connection", "close"))
    data = connection.send(
        h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase)
    )
    data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
