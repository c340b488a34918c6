"""ClickHouse's HTTP connections: requests answered one after the other, by the simulated engine or by another."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from simulator.services.answer import send_answer
from simulator.services.clickhouse.request import Answer
from simulator.services.http import Request, serve_requests

__all__ = ["Respond", "serve_connection"]

Respond = Callable[[Request], Awaitable[Answer | None]]
"""Answers a request. None ends the connection without an answer."""


async def serve_connection(stream: trio.SocketStream, respond: Respond, *, keep_alive_timeout_s: float) -> None:
    """Answer the requests of one connection until either side ends it. Closes the stream."""

    async def handle(request: Request, connection: h11.Connection) -> bool:
        response = await respond(request)
        if response is not None:
            await send_answer(stream, _worded(response, connection, has_body=request.method != "HEAD"))
        return response is not None

    await serve_requests(stream, handle, keep_alive_timeout_s=keep_alive_timeout_s, takes_cut_bodies=True)


def _worded(response: Answer, connection: h11.Connection, *, has_body: bool) -> bytes:
    body = response.body.encode()
    headers = [("Content-Type", response.content_type), *response.headers, ("Content-Length", str(len(body)))]
    if response.closes:
        headers.append(("Connection", "close"))
    data = connection.send(
        h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase)
    )
    data += connection.send(h11.Data(data=body if has_body else b"")) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    return data
