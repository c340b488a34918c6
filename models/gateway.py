"""The gateway: where users connect. Admits connections, knows whose sessions ended, and ends in good order."""

import itertools
from contextlib import nullcontext

import structlog
import trio
from trio_websocket import WebSocketConnection, wrap_server_stream

from models.admission import Admission, RefusedError
from models.config import PlatformConfig
from models.connection import UserConnection
from models.ledger import Ledger
from models.protocol import ErrorFrame, Hello, InvalidFrameError, decode_client, encode
from models.sessions import Sessions
from models.store import STREAM_START, StoreUnavailableError
from models.streams import Streams

__all__ = ["Gateway"]

# Frames a user may send ahead while an earlier one is being stored. With the library's default of 1 the pongs
# behind them would wait too, and a busy user would look like a dead one.
MESSAGES_AHEAD = 64
log = structlog.get_logger()


class Gateway:
    """Listens for users. A user may have several connections, here and on other gateways."""

    def __init__(self, *, ledger: Ledger, streams: Streams, sessions: Sessions, config: PlatformConfig) -> None:
        self._ledger = ledger
        self._streams = streams
        self._sessions = sessions
        self._config = config
        self._admission = Admission(sessions, config)
        self._numbers = itertools.count(1)
        self._connections: dict[int, UserConnection] = {}
        self._places_taken = 0
        self._is_stopping = False
        self._work_is_there = trio.Event()
        self._turn = trio.Lock() if config.has("slow-consumer-holds-all") else nullcontext()

    async def serve(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stopping`, then see the connections off, and return; report the port."""
        # Not trio_websocket.serve_websocket: there an error in the library's own reading task (a malformed
        # handshake from a peer that is gone, for one) ends the whole server. Here it ends that connection.
        listeners = await trio.open_tcp_listeners(self._config.listen_port, host=self._config.listen_host)
        port: int = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            for task in (self._announce_forever, self._watch_revocations):
                nursery.start_soon(task)
            async with trio.open_nursery() as connections:
                accepting = await nursery.start(self._accept, listeners, connections)
                task_status.started(port)
                await stopping.wait()
                self._is_stopping = True
                log.info("gateway_stopping", connections=len(self._connections))
                accepting.cancel()
                connections.cancel_scope.deadline = trio.current_time() + self._config.drain_s
                for connection in list(self._connections.values()):
                    connection.retire("going_away")
            nursery.cancel_scope.cancel()

    async def _accept(
        self,
        listeners: list[trio.SocketListener],
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[trio.CancelScope],
    ) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await trio.serve_listeners(self._serve_stream, listeners, handler_nursery=connections)

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        try:
            async with stream, trio.open_nursery() as nursery:
                with trio.fail_after(self._config.hello_timeout_s):
                    request = await wrap_server_stream(nursery, stream, message_queue_size=MESSAGES_AHEAD)
                    socket = await request.accept()
                await self._serve_socket(socket)
                # The library's reading task finishes the closing handshake, and then ends by itself.
                nursery.cancel_scope.deadline = trio.current_time() + self._config.send_timeout_s
        except* Exception as errors:
            log.info("connection_failed", errors=[repr(error) for error in errors.exceptions])

    async def _serve_socket(self, socket: WebSocketConnection) -> None:
        number = next(self._numbers)
        self._places_taken += 1
        try:
            if self._places_taken > self._config.connections_max:
                raise RefusedError("overloaded")
            with trio.fail_after(self._config.hello_timeout_s):
                hello = await _receive_hello(socket)
            grant = self._admission.verify(hello)
            connection = UserConnection(
                socket,
                number=number,
                grant=grant,
                ledger=self._ledger,
                streams=self._streams,
                sessions=self._sessions,
                on_work=self._announce_work,
                turn=self._turn,
                config=self._config,
            )
            # Before the session is looked up: if it is ended from now on, the connection will be told.
            self._connections[number] = connection
            await self._admission.admit(grant)
            if self._is_stopping:
                raise RefusedError("going_away")
            log.info("connection_opened", connection=number, user=grant.user, session=grant.session)
            await connection.run(last_seen=hello.last_seen, last_event=hello.last_event)
        except RefusedError as refusal:
            log.info("refused", reason=refusal.code)
            with trio.move_on_after(self._config.send_timeout_s):
                await socket.send_message(encode(ErrorFrame(code=refusal.code)))
                await socket.aclose()
        finally:
            self._places_taken -= 1
            if self._connections.pop(number, None) is not None:
                log.info("connection_closed", connection=number)

    def _announce_work(self) -> None:
        self._work_is_there.set()

    async def _announce_forever(self) -> None:
        """Tell the supervisor of new work, outside the connections: it would find it anyhow."""
        while True:
            await self._work_is_there.wait()
            self._work_is_there = trio.Event()
            if self._config.has("work-not-announced"):
                continue
            try:
                await self._streams.announce_work()
            except StoreUnavailableError as error:
                log.info("work_not_announced", error=str(error))

    async def _watch_revocations(self) -> None:
        """End the connections of sessions that end, whoever ended them and wherever.

        While Redis is away this sees nothing. Then a connection ends with its token, which cannot be refreshed.
        """
        last = STREAM_START
        while True:
            try:
                last, ended = await self._streams.wait_revoked(last)
            except StoreUnavailableError:
                await trio.sleep(self._config.retry_s)
                continue
            for connection in list(self._connections.values()):
                if connection.session in ended and not self._config.has("revocation-not-pushed"):
                    connection.retire("unauthorised")


async def _receive_hello(socket: WebSocketConnection) -> Hello:
    try:
        frame = decode_client(await socket.get_message())
    except InvalidFrameError as error:
        raise RefusedError("bad_request") from error
    if not isinstance(frame, Hello):
        raise RefusedError("unauthorised")
    return frame
