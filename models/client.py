"""The user's side: a chat client that stays connected, resumes, and says what became of a message."""

import enum
from collections.abc import Callable

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from models.protocol import (
    Ack,
    ErrorFrame,
    Hello,
    InvalidFrameError,
    Message,
    Reply,
    ServerFrame,
    Welcome,
    decode_server,
    encode,
)

__all__ = ["ChatClient", "Outcome"]

CONNECT_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
PING_INTERVAL_S = 5.0
PING_TIMEOUT_S = 2.0
ACK_TIMEOUT_S = 3.0
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 2.0
FRAMES_AHEAD = 64


class Outcome(enum.StrEnum):
    """What the user knows of a message that was sent."""

    OK = "ok"
    """It was acknowledged: durable, and to be answered."""
    FAIL = "fail"
    """It was never sent, or refused."""
    INFO = "info"
    """Unknown: it was sent, and no acknowledgement came."""


class ChatClient:
    """One user's device. What it has seen survives every connection, and `leave` followed by `run`.

    `on_frame` is told every frame that arrives, duplicates included; `on_state` is told `connected` (after
    the welcome), `disconnected` and `refused` (the token is invalid; `run` then returns, as trying again is
    pointless).
    """

    def __init__(
        self,
        *,
        user: str,
        token: str,
        host: str,
        port: int,
        on_frame: Callable[[ServerFrame], None],
        on_state: Callable[[str], None],
    ) -> None:
        self.user = user
        self.last_seen: str | None = None
        self._token = token
        self._host = host
        self._port = port
        self._on_frame = on_frame
        self._on_state = on_state
        self._is_wanted = False
        self._ended = trio.Event()
        self._was_welcomed = False
        self._running: trio.CancelScope | None = None
        self._conversation: trio.CancelScope | None = None
        self._socket: WebSocketConnection | None = None
        self._waiting: dict[str, _Pending] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has welcomed the present connection."""
        return self._socket is not None

    async def run(self) -> None:
        """Stay connected until cancelled, told to leave, or refused."""
        assert self._running is None, f"user={self.user} runs already"
        self._is_wanted = True
        self._ended = trio.Event()
        try:
            with trio.CancelScope() as self._running:
                await self._reconnect_while_wanted()
        finally:
            self._running = None
            self._ended.set()

    async def _reconnect_while_wanted(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while self._is_wanted:
            if await self._connect_once():
                backoff_s = BACKOFF_MIN_S
            if self._is_wanted:
                await trio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def leave(self, *, clean: bool) -> None:
        """Disconnect and stay away: with a closing handshake, or as if the device were switched off."""
        if self._running is None:
            return
        self._is_wanted = False
        if clean and self._conversation is not None:
            self._conversation.cancel()
        else:
            self._running.cancel()
        await self._ended.wait()

    async def send(self, id: str, text: str, context: str) -> Outcome:
        """Send a message and wait for its acknowledgement."""
        socket = self._socket
        if socket is None:
            return Outcome.FAIL
        pending = self._waiting[id] = _Pending()
        try:
            with trio.move_on_after(ACK_TIMEOUT_S):
                try:
                    await self._send(socket, encode(Message(id=id, text=text, context=context)))
                except ConnectionClosed:
                    return Outcome.INFO
                await pending.decided.wait()
            return pending.outcome
        finally:
            self._waiting.pop(id, None)

    async def _send(self, socket: WebSocketConnection, text: str) -> None:
        sent = False
        try:
            await socket.send_message(text)
            sent = True
        finally:
            if not sent:
                # Part of the frame may be out, so nothing can follow it on this connection.
                await _drop(socket)

    async def _connect_once(self) -> bool:
        """Connect and stay until the connection ends; say whether it was welcomed."""
        self._was_welcomed = False
        try:
            # Not trio_websocket.open_websocket: when its handshake is given up, it leaves the socket open.
            with trio.fail_after(CONNECT_TIMEOUT_S):
                stream = await trio.open_tcp_stream(self._host, self._port)
            async with stream, trio.open_nursery() as nursery:
                await self._talk(stream, nursery)
                nursery.cancel_scope.cancel()
        except* LocalProtocolError:
            # trio-websocket answers a ping that arrives while we close, which wsproto forbids: the connection
            # ends anyhow.
            pass
        except* (OSError, ConnectionClosed, InvalidFrameError, trio.TooSlowError, trio.BrokenResourceError):
            pass
        return self._was_welcomed

    async def _talk(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            authority = f"{self._host}:{self._port}"
            socket = await wrap_client_stream(nursery, stream, authority, "/", message_queue_size=FRAMES_AHEAD)
            self._was_welcomed = await self._greet(socket)
        if self._was_welcomed:
            try:
                with trio.CancelScope() as self._conversation:
                    await self._converse(socket)
            finally:
                self._conversation = None
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await socket.aclose()

    async def _greet(self, socket: WebSocketConnection) -> bool:
        await self._send(socket, encode(Hello(token=self._token, last_seen=self.last_seen)))
        frame = decode_server(await socket.get_message())
        self._on_frame(frame)
        if isinstance(frame, ErrorFrame) and frame.code == "unauthorised":
            self._is_wanted = False
            self._on_state("refused")
        return isinstance(frame, Welcome)

    async def _converse(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._on_state("connected")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, socket)
                await self._read_frames(socket)
                nursery.cancel_scope.cancel()
        finally:
            self._socket = None
            for pending in self._waiting.values():
                pending.decided.set()
            self._on_state("disconnected")

    async def _read_frames(self, socket: WebSocketConnection) -> None:
        while True:
            try:
                frame = decode_server(await socket.get_message())
            except (ConnectionClosed, InvalidFrameError):
                return
            if isinstance(frame, Reply):
                self.last_seen = frame.seq
            elif isinstance(frame, Ack):
                self._decide(frame.id, Outcome.OK)
            elif isinstance(frame, ErrorFrame) and frame.id is not None:
                self._decide(frame.id, Outcome.INFO if frame.code == "unavailable" else Outcome.FAIL)
            self._on_frame(frame)

    def _decide(self, message: str, outcome: Outcome) -> None:
        pending = self._waiting.get(message)
        if pending is not None:
            pending.outcome = outcome
            pending.decided.set()

    async def _ping(self, socket: WebSocketConnection) -> None:
        """Drop the connection when the gateway is silent for too long, or has closed it."""
        answered = True
        while answered:
            await trio.sleep(PING_INTERVAL_S)
            answered = False
            with trio.move_on_after(PING_TIMEOUT_S):
                try:
                    await socket.ping()
                except ConnectionClosed:
                    return
                answered = True
        await _drop(socket)


class _Pending:
    """A message that waits for its acknowledgement."""

    def __init__(self) -> None:
        self.outcome = Outcome.INFO
        self.decided = trio.Event()


async def _drop(socket: WebSocketConnection) -> None:
    """Close the connection at once, without a closing handshake."""
    with trio.CancelScope() as now:
        now.cancel()
        await socket.aclose()
