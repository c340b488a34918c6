"""The gateway: users' WebSocket connections. Accepts, acknowledges, resumes, and pushes replies."""

import itertools

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from models.config import PlatformConfig
from models.protocol import (
    Ack,
    ErrorFrame,
    Hello,
    InvalidFrameError,
    Message,
    ServerFrame,
    Welcome,
    decode_client,
    encode,
)
from models.streams import STREAM_START, Store, StoreUnavailableError
from models.tokens import InvalidTokenError, verify

__all__ = ["Gateway"]

# Frames a user may send ahead while an earlier one is being stored. With the library's default of 1 the pongs
# behind them would wait too, and a busy user would look like a dead one.
MESSAGES_AHEAD = 64
log = structlog.get_logger()


class _RefusedError(Exception):
    """The connection gets one error frame and is closed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Gateway:
    """Listens for users and keeps one connection per user: a newer one replaces the older."""

    def __init__(self, *, store: Store, config: PlatformConfig) -> None:
        self._store = store
        self._config = config
        self._numbers = itertools.count(1)
        self._connections: dict[str, UserConnection] = {}

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; report the port."""
        # Not trio_websocket.serve_websocket: there an error in the library's own reading task (a malformed
        # handshake from a peer that is gone, for one) ends the whole server. Here it ends that connection.
        listeners = await trio.open_tcp_listeners(self._config.listen_port, host=self._config.listen_host)
        port: int = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve_stream, listeners)
            task_status.started(port)

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
        try:
            with trio.fail_after(self._config.hello_timeout_s):
                hello = await self._receive_hello(socket)
            connection = await self._welcome(socket, hello)
        except _RefusedError as refusal:
            log.info("refused", reason=refusal.code)
            with trio.move_on_after(self._config.send_timeout_s):
                await socket.send_message(encode(ErrorFrame(code=refusal.code, id=None)))
                await socket.aclose()
            return
        user = connection.user
        log.info("connection_opened", user=user)
        try:
            await connection.run(hello.last_seen)
        finally:
            log.info("connection_closed", user=user)
            if self._connections.get(user) is connection:
                del self._connections[user]

    async def _receive_hello(self, socket: WebSocketConnection) -> Hello:
        try:
            frame = decode_client(await socket.get_message())
        except InvalidFrameError as error:
            raise _RefusedError("bad_request") from error
        if not isinstance(frame, Hello):
            raise _RefusedError("unauthorised")
        return frame

    async def _welcome(self, socket: WebSocketConnection, hello: Hello) -> "UserConnection":
        try:
            user = verify(hello.token, self._config.secret)
        except InvalidTokenError as error:
            raise _RefusedError("unauthorised") from error
        number = next(self._numbers)
        try:
            await self._store.store_session(user, number)
        except StoreUnavailableError as error:
            raise _RefusedError("unavailable") from error
        connection = UserConnection(socket, user=user, store=self._store, config=self._config)
        older = self._connections.get(user)
        self._connections[user] = connection
        if older is not None:
            await older.drop()
        return connection


class UserConnection:
    """One accepted connection: reads messages, pushes replies, and notices when the peer is dead."""

    def __init__(self, socket: WebSocketConnection, *, user: str, store: Store, config: PlatformConfig) -> None:
        self.user = user
        self._socket = socket
        self._store = store
        self._config = config

    async def run(self, last_seen: str | None) -> None:
        """Serve the user until the connection ends, for whatever reason."""
        try:
            await self._send(Welcome(user=self.user, resumed=last_seen is not None))
            after = await self._resume(last_seen)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._push_replies, after)
                nursery.start_soon(self._ping)
                # In the body, and never cancelled while the platform runs: whatever ends the connection
                # closes the socket, and a message that is just being stored is stored to the end.
                await self._read_messages()
                nursery.cancel_scope.cancel()
        except ConnectionClosed:
            pass

    async def drop(self) -> None:
        """End the connection at once, without a closing handshake; reading from it then ends."""
        with trio.CancelScope() as now:
            now.cancel()
            await self._socket.aclose()

    async def _send(self, frame: ServerFrame) -> None:
        """Send a frame; a peer that does not take it in time is dropped. Raises ConnectionClosed."""
        with trio.move_on_after(self._config.send_timeout_s) as sending:
            await self._socket.send_message(encode(frame))
        if sending.cancelled_caught:
            # Part of the frame may be out, so nothing can follow it.
            await self.drop()
            raise ConnectionClosed(None)

    async def _read_messages(self) -> None:
        while True:
            try:
                text = await self._socket.get_message()
            except ConnectionClosed:
                return
            try:
                await self._read(text)
            except ConnectionClosed:
                return

    async def _read(self, text: str | bytes) -> None:
        try:
            frame = decode_client(text)
        except InvalidFrameError:
            await self._send(ErrorFrame(code="bad_request", id=None))
            return
        if isinstance(frame, Hello):
            await self._send(ErrorFrame(code="bad_request", id=None))
        elif self._config.has("ack-before-store"):
            await self._acknowledge(frame)
            try:
                await self._store_message(frame)
            except StoreUnavailableError as error:
                log.info("message_not_stored", user=self.user, message=frame.id, error=str(error))
        else:
            try:
                await self._store_message(frame)
            except StoreUnavailableError:
                await self._send(ErrorFrame(code="unavailable", id=frame.id))
            else:
                await self._acknowledge(frame)

    async def _store_message(self, message: Message) -> None:
        seq = await self._store.store_message(
            user=self.user, message=message.id, text=message.text, context=message.context
        )
        log.info("message_stored", user=self.user, message=message.id, seq=seq)

    async def _acknowledge(self, message: Message) -> None:
        log.info("message_acknowledged", user=self.user, message=message.id)
        await self._send(Ack(id=message.id))

    async def _resume(self, last_seen: str | None) -> str:
        """Send what the user has missed; return the sequence number of the last reply sent."""
        if last_seen is None:
            return STREAM_START
        after = last_seen
        while True:
            try:
                if self._config.has("resume-skips-missed"):
                    after = await self._store.last_reply(self.user)
                replies = await self._store.replies_after(self.user, after)
                break
            except StoreUnavailableError:
                await trio.sleep(self._config.retry_s)
        for reply in replies:
            await self._send(reply)
        log.info("resumed", user=self.user, last_seen=last_seen, missed=len(replies))
        return replies[-1].seq if replies else after

    async def _push_replies(self, after: str) -> None:
        while True:
            try:
                replies = await self._store.wait_replies(self.user, after)
            except StoreUnavailableError as error:
                log.info("push_store_unavailable", user=self.user, error=str(error))
                await trio.sleep(self._config.retry_s)
                continue
            for reply in replies:
                try:
                    await self._send(reply)
                except ConnectionClosed:
                    return
                after = reply.seq

    async def _ping(self) -> None:
        """Drop the connection when the peer is silent for too long, or has closed it."""
        answered = True
        while answered:
            await trio.sleep(self._config.ping_interval_s)
            answered = False
            with trio.move_on_after(self._config.ping_timeout_s):
                try:
                    await self._socket.ping()
                except ConnectionClosed:
                    return
                answered = True
        await self.drop()
