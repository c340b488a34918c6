"""A ClickHouse server in the world: HTTP over Trio's sockets, in front of tables on a disk that outlives a crash."""

from functools import partial
from http import HTTPStatus

import h11
import trio

from simulator.services.clickhouse.engine import Engine
from simulator.services.clickhouse.request import Answer, Request, answer

__all__ = ["SimulatedClickHouse"]

RECEIVE_BYTES = 65_536


class SimulatedClickHouse:
    """The machine that runs ClickHouse, with its disk: this object outlives every crash of the process.

    Modelled on Debian's 18.16.1, in UTC. An insert is executed when its request is complete, at one instant, before
    its answer: so an acknowledged insert survives a crash (a process crash keeps the page cache) and one that is
    still being received is lost whole. A client that closes in the middle of a body ends it there: the real server,
    too, keeps the rows that were complete, if the cut falls between two rows, and so does this one.

    Not modelled: background merges, loss of power, authentication, settings, compression, pipelining, the time a
    statement takes, and the headers Date, Keep-Alive and X-ClickHouse-Server-Display-Name.
    """

    def __init__(self, *, port: int = 8123, host: str | None = None, keep_alive_timeout_s: float = 60.0) -> None:
        self._port = port
        self._host = host
        self._keep_alive_timeout_s = keep_alive_timeout_s
        self._engine = Engine()
        self._incarnation = 0

    @property
    def port(self) -> int:
        """The port; if 0 was asked for, from the first start on the one that was free then."""
        return self._port

    async def main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve what the disk holds until cancelled. `task_status` says when the server listens."""
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(partial(self._serve, self._incarnation), listeners)

    def crash(self) -> None:
        """Take the process down at this instant: its tasks, still to be cancelled, change nothing any more."""
        self._incarnation += 1

    async def _serve(self, incarnation: int, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                connection = h11.Connection(h11.SERVER)
                while (request := await self._receive(connection, stream)) is not None:
                    if incarnation != self._incarnation:
                        return
                    await _send(answer(request, self._engine), connection, stream)
                    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                        return
                    connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # the client is gone, or does not speak HTTP

    async def _receive(self, connection: h11.Connection, stream: trio.SocketStream) -> Request | None:
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
                    wait_s = self._keep_alive_timeout_s if head is None else float("inf")
                    data = b""
                    with trio.move_on_after(wait_s):
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
    headers = [("Content-Type", response.content_type), ("Content-Length", str(len(body)))]
    if response.closes:
        headers.append(("Connection", "close"))
    data = connection.send(
        h11.Response(status_code=response.status, headers=headers, reason=HTTPStatus(response.status).phrase)
    )
    data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
