"""The user's side: a chat client that stays connected, resumes, and says what became of what it sent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from models.device import (
    ANSWER_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    Device,
    Outcome,
)
from models.protocol import (
    AgentEvent,
    Cancel,
    ClientFrame,
    ErrorFrame,
    Hello,
    InvalidFrameError,
    Message,
    Refresh,
    Reply,
    ServerFrame,
    Token,
    Welcome,
    decode_server,
    encode,
)

__all__ = ["REFRESH_AFTER", "ChatClient", "Outcome", "converse_once", "read_back"]

FRAMES_AHEAD = 4
REFRESH_AFTER = 1 / 3
"""Of a token's life, how much passes before a new one is asked for."""


class ChatClient(Device):
    """A device that speaks the platform's own protocol. What it has seen survives every connection, and `leave`
    followed by `run`.

    `on_frame` is told every frame that arrives, duplicates included. `on_unreadable` is told the text of what is no
    frame of the protocol; the connection ends with it.
    """

    lost = (ConnectionClosed,)

    def __init__(
        self,
        *,
        user: str,
        login: str,
        host: str,
        port: int,
        on_frame: Callable[[ServerFrame], None],
        on_state: Callable[[str], None],
        on_unreadable: Callable[[str], None] = lambda _text: None,
        on_sent: Callable[[ClientFrame], None] = lambda _frame: None,
    ) -> None:
        super().__init__(user=user, on_state=on_state)
        self.last_seen = 0
        self.last_event: str | None = None
        self.token: str | None = None
        """The token of the present session; None before a login and after the session's end."""
        self._login = login
        self._host = host
        self._port = port
        self._on_frame = on_frame
        self._on_unreadable = on_unreadable
        self._on_sent = on_sent
        self._refresh_at_s = 0.0
        self._refresh_every_s = 0.0
        self._was_welcomed = False
        self._socket: WebSocketConnection | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has welcomed the present connection."""
        return self._socket is not None

    async def send(self, id: str, text: str, context: str, workflow: Mapping[str, tuple[str, ...]]) -> Outcome:
        """Send a message and wait for its acknowledgement."""
        frame = Message(id=id, text=text, context=context, workflow=workflow)
        return (await self._request(id, lambda: self._send_present(frame))).outcome

    async def cancel(self, id: str) -> Outcome:
        """Ask for a message to be given up."""
        return (await self._request(f"cancel {id}", lambda: self._send_present(Cancel(id=id)))).outcome

    async def send_malformed(self, text: str) -> str | None:
        """Send what is no frame, and return the code with which it is refused: "" if nothing came, None if not sent."""
        refused = await self._request("", lambda: self._send_present(text))
        return None if refused.outcome is Outcome.FAIL and not refused.code else refused.code

    async def _send_present(self, sent: ClientFrame | str) -> None:
        """Send on the present connection."""
        assert self._socket is not None
        await self._send(self._socket, sent)

    async def _send(self, socket: WebSocketConnection, sent: ClientFrame | str) -> None:
        """Send a frame, or a text that is none."""
        if not isinstance(sent, str):
            self._on_sent(sent)
        is_out = False
        try:
            await socket.send_message(sent if isinstance(sent, str) else encode(sent))
            is_out = True
        finally:
            if not is_out:
                # Part of the frame may be out, so nothing can follow it on this connection.
                await _drop(socket)

    async def _connect_once(self) -> bool:
        """Connect and stay until the connection ends; say whether it was welcomed."""
        self._was_welcomed = False
        try:
            async with _connected(self._host, self._port) as socket:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    self._was_welcomed = await self._greet(socket)
                if self._was_welcomed:
                    try:
                        with trio.CancelScope() as self._conversation:
                            await self._converse(socket)
                    finally:
                        self._conversation = None
        except* LocalProtocolError:
            # trio-websocket answers a ping that arrives while we close, which wsproto forbids: the connection
            # ends anyhow.
            pass
        except* (OSError, ConnectionClosed, InvalidFrameError, trio.TooSlowError, trio.BrokenResourceError):
            pass
        return self._was_welcomed

    async def _greet(self, socket: WebSocketConnection) -> bool:
        hello = Hello(
            token=self.token or self._login,
            user=self.user,
            last_seen=self.last_seen,
            last_event=self.last_event,
        )
        await self._send(socket, hello)
        frame = await self._receive(socket)
        self._note(frame)
        return isinstance(frame, Welcome)

    async def _converse(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._on_state("connected")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, socket)
                await self._read_frames(socket)
                nursery.cancel_scope.cancel()
        finally:
            self._socket = None
            self._give_up_waiting()
            self._on_state("disconnected")

    async def _read_frames(self, socket: WebSocketConnection) -> None:
        while True:
            await self._may_read()
            try:
                self._note(await self._receive(socket))
            except (ConnectionClosed, InvalidFrameError):
                return

    async def _receive(self, socket: WebSocketConnection) -> ServerFrame:
        """Return the next frame. Raises InvalidFrameError, for which the connection is of no use any more."""
        text = await socket.get_message()
        try:
            return decode_server(text)
        except InvalidFrameError:
            self._on_unreadable(text if isinstance(text, str) else repr(text))
            raise

    def _note(self, frame: ServerFrame) -> None:
        self._note_answer(frame)
        match frame:
            case Welcome() | Token():
                self.token = frame.token
                self._refresh_every_s = frame.expires_in * REFRESH_AFTER
                self._refresh_at_s = trio.current_time() + self._refresh_every_s
            case Reply():
                self.last_seen = frame.seq
            case AgentEvent():
                self.last_event = frame.id
            case ErrorFrame():
                self._note_end(frame.code)
        self._on_frame(frame)

    def _note_end(self, code: str) -> None:
        """Forget a token that is of no use any more.

        One that has expired is replaced by logging in. But a session that somebody ended on purpose is over, unless
        the user wants another.
        """
        if code == "unauthorised" and not (self.token is not None and self.logs_in_again):
            self._is_wanted = False
            self._stays_away = "refused" if self.token is None else "ended"
        if code in ("unauthorised", "expired"):
            self.token = None

    async def _watch(self, socket: WebSocketConnection) -> None:
        """Refresh the token in time; drop the connection when the gateway is silent for too long, or has closed it."""
        next_ping_s = trio.current_time() + PING_INTERVAL_S
        while True:
            await trio.sleep_until(min(next_ping_s, self._refresh_at_s))
            try:
                if trio.current_time() >= self._refresh_at_s:
                    # Until the answer says when. No later than that will be: we sleep until then, and are not woken.
                    self._refresh_at_s = trio.current_time() + min(ANSWER_TIMEOUT_S, self._refresh_every_s)
                    await self._send(socket, Refresh())
                if trio.current_time() >= next_ping_s:
                    next_ping_s += PING_INTERVAL_S
                    with trio.fail_after(PING_TIMEOUT_S):
                        await socket.ping()
            except ConnectionClosed:
                return
            except trio.TooSlowError:
                await _drop(socket)
                return


async def converse_once(
    host: str, port: int, *frames: ClientFrame, on_sent: Callable[[ClientFrame], None] = lambda _frame: None
) -> list[ServerFrame]:
    """Connect, say the frames one after another, and return what came after each, as another device would do it.

    Ends with the first refusal. Raises OSError, or a group of errors, when the connection fails or nothing comes.
    """
    answers: list[ServerFrame] = []
    try:
        async with _connected(host, port) as socket:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                for frame in frames:
                    on_sent(frame)
                    await socket.send_message(encode(frame))
                    answer = decode_server(await socket.get_message())
                    while isinstance(answer, Reply | AgentEvent):
                        answers.append(answer)
                        answer = decode_server(await socket.get_message())
                    answers.append(answer)
                    if isinstance(answer, ErrorFrame):
                        break
    except* LocalProtocolError:
        pass
    except* (ConnectionClosed, trio.TooSlowError, trio.BrokenResourceError) as errors:
        # Not from them: that a connection ends in this way or another is one fact to who asks.
        raise ConnectionError(f"the gateway did not answer: {errors.exceptions[0]!r}") from None
    return answers


async def read_back(host: str, port: int, hello: Hello, count: int) -> list[Reply]:
    """Connect beside, and return the replies that a device is told which has seen nothing: so many, or until a refusal.

    Raises OSError, or a group of errors, when the connection fails or fewer come.
    """
    replies: list[Reply] = []
    try:
        async with _connected(host, port) as socket:
            await socket.send_message(encode(hello))
            with trio.fail_after(ANSWER_TIMEOUT_S):
                while len(replies) < count:
                    frame = decode_server(await socket.get_message())
                    if isinstance(frame, Reply):
                        replies.append(frame)
                    elif isinstance(frame, ErrorFrame):
                        break
    except* LocalProtocolError:
        pass
    except* (ConnectionClosed, trio.TooSlowError, trio.BrokenResourceError) as errors:
        raise ConnectionError(f"the gateway did not tell all: {errors.exceptions[0]!r}") from None
    return replies


@asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[WebSocketConnection]:
    """Provide a WebSocket connection, and close it with a handshake if the peer still answers."""
    # Not trio_websocket.open_websocket: when its handshake is given up, it leaves the socket open.
    with trio.fail_after(CONNECT_TIMEOUT_S):
        stream = await trio.open_tcp_stream(host, port)
    async with stream, trio.open_nursery() as nursery:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            socket = await wrap_client_stream(nursery, stream, f"{host}:{port}", "/", message_queue_size=FRAMES_AHEAD)
        yield socket
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await socket.aclose()
        nursery.cancel_scope.cancel()


async def _drop(socket: WebSocketConnection) -> None:
    """Close the connection at once, without a closing handshake."""
    with trio.CancelScope() as now:
        now.cancel()
        await socket.aclose()
