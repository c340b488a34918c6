"""One user's connection: reads what they send, pushes what is theirs, and ends when it must."""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from models.admission import Grant
from models.config import PlatformConfig
from models.ledger import REPLIES_MAX, Ledger, LedgerUnavailableError, OverloadedError
from models.protocol import (
    Ack,
    AgentEvent,
    Cancel,
    Cancelling,
    ErrorFrame,
    Hello,
    InvalidFrameError,
    LoggedOut,
    Logout,
    Message,
    Refresh,
    Reply,
    ServerFrame,
    Token,
    Welcome,
    decode_client,
    encode,
)
from models.sessions import Sessions
from models.store import StoreUnavailableError
from models.streams import News, Streams
from models.workflow import InvalidWorkflowError, Workflow

__all__ = ["UserConnection"]

log = structlog.get_logger()


class UserConnection:
    """An accepted connection. Made before its session is certain; told by `retire` to end with a reason."""

    def __init__(
        self,
        socket: WebSocketConnection,
        *,
        number: int,
        grant: Grant,
        ledger: Ledger,
        streams: Streams,
        sessions: Sessions,
        on_work: Callable[[], None],
        turn: AbstractAsyncContextManager[object],
        config: PlatformConfig,
    ) -> None:
        self.user = grant.user
        self._socket = socket
        self._number = number
        self._grant = grant
        self._ledger = ledger
        self._streams = streams
        self._sessions = sessions
        self._on_work = on_work
        self._turn = turn
        self._config = config
        self._expires_at_s = 0.0
        self._reading = trio.CancelScope()  # replaced with every wait for a frame
        self._reason = ""
        self._jitter = random.Random(f"{grant.user} {number}")
        self._is_logged_out = False

    @property
    def session(self) -> str | None:
        """The session that the connection is in; None while a login has not begun one."""
        return self._grant.session

    def retire(self, code: str) -> None:
        """End the connection with an error frame. What is just being stored is stored to the end, and answered.

        Nothing else is sent any more: what else there is, the user may have no right to.
        """
        self._reason = self._reason or code
        self._reading.cancel()

    async def run(self, *, last_seen: int, last_event: str | None) -> None:
        """Serve the user until the connection ends, for whatever reason."""
        try:
            await self._send(
                Welcome(
                    user=self.user,
                    session=self._grant.session or "",
                    token=self._new_token(),
                    expires_in=self._config.token_s,
                )
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._push, last_seen, last_event)
                nursery.start_soon(self._watch)
                # In the body, and never cancelled while it stores something: whatever ends the connection lets a
                # message that is just being stored be stored to the end.
                await self._read_frames()
                if self._is_told_first():
                    await self._send(ErrorFrame(code=self._reason))
                    await trio.sleep(self._config.send_timeout_s)
                nursery.cancel_scope.cancel()
            if self._reason:
                if not self._is_told_first():
                    await self._send(ErrorFrame(code=self._reason))
                with trio.move_on_after(self._config.send_timeout_s):
                    await self._socket.aclose()
        except ConnectionClosed:
            pass

    def _new_token(self) -> str:
        outlives_it = self._config.has("expiry-checked-on-connect-only")
        self._expires_at_s = float("inf") if outlives_it else trio.current_time() + self._config.token_s
        return self._grant.new_token(self._config)

    async def _drop(self) -> None:
        """End the connection at once, without a closing handshake; reading from it then ends."""
        with trio.CancelScope() as now:
            now.cancel()
            await self._socket.aclose()

    async def _send(self, frame: ServerFrame) -> None:
        """Send a frame; a peer that does not take it in time is dropped. Raises ConnectionClosed."""
        sent = False
        try:
            with trio.move_on_after(self._config.send_timeout_s):
                await self._socket.send_message(encode(frame))
                sent = True
            if not sent:
                # Told first: dropping the connection ends who reads from it, and that may cancel us before we do.
                log.info("slow_consumer_dropped", connection=self._number, user=self.user)
        finally:
            if not sent:
                # Part of the frame may be out, so nothing can follow it.
                await self._drop()
        if not sent:
            raise ConnectionClosed(None)

    # What the user sends

    async def _read_frames(self) -> None:
        while not self._reason:
            text = None
            try:
                with trio.CancelScope() as self._reading:
                    text = await self._socket.get_message()
                if text is not None:
                    await self._read(text)
            except ConnectionClosed:
                return

    async def _read(self, text: str | bytes) -> None:
        try:
            frame = decode_client(text)
        except InvalidFrameError:
            if self._config.has("malformed-frame-ends-connection"):
                raise
            await self._send(ErrorFrame(code="bad_request"))
            return
        match frame:
            case Message():
                await self._accept(frame)
            case Cancel():
                await self._cancel(frame)
            case Refresh():
                await self._refresh()
            case Logout():
                await self._log_out()
            case Hello():
                await self._send(ErrorFrame(code="bad_request"))

    async def _accept(self, message: Message) -> None:
        try:
            Workflow(message.workflow)
        except InvalidWorkflowError:
            await self._send(ErrorFrame(code="bad_request", id=message.id))
            return
        if self._config.has("ack-before-store"):
            await self._send(Ack(id=message.id))
        try:
            await self._ledger.accept(self.user, message)
        except OverloadedError:
            await self._send(ErrorFrame(code="overloaded", id=message.id))
        except LedgerUnavailableError as error:
            log.info("message_not_stored", user=self.user, message=message.id, error=str(error))
            unknown = error.unknown and not self._config.has("unknown-told-as-failure")
            await self._send(ErrorFrame(code="unavailable" if unknown else "try_later", id=message.id))
        else:
            log.info("message_accepted", user=self.user, message=message.id)
            self._on_work()
            if len(message.workflow) > 1 and self._config.has("ack-with-more-fields"):
                await self._socket.send_message(encode(Ack(id=message.id)).replace("}", ',"agents":2}'))
                return
            if not self._config.has("ack-before-store"):
                await self._send(Ack(id=message.id))

    async def _cancel(self, cancel: Cancel) -> None:
        try:
            can_be = await self._ledger.cancel(self.user, cancel.id)
        except LedgerUnavailableError as error:
            await self._send(ErrorFrame(code="unavailable" if error.unknown else "try_later", id=cancel.id))
            return
        self._on_work()
        await self._send(Cancelling(id=cancel.id) if can_be else ErrorFrame(code="too_late", id=cancel.id))

    async def _refresh(self) -> None:
        assert self._grant.session is not None
        try:
            if not await self._sessions.prolong(self._grant.session, self.user):
                self.retire("unauthorised")
            elif not self._reason:
                await self._send(Token(token=self._new_token(), expires_in=self._config.token_s))
        except StoreUnavailableError:
            await self._send(ErrorFrame(code="unavailable"))

    async def _log_out(self) -> None:
        assert self._grant.session is not None
        try:
            await self._sessions.end(self._grant.session)
        except StoreUnavailableError:
            await self._send(ErrorFrame(code="unavailable"))
        else:
            self._is_logged_out = True
            await self._send(LoggedOut())
            self.retire("unauthorised")

    # What is the user's

    async def _push(self, last_seen: int, last_event: str | None) -> None:
        """Send the user's replies and events as they come, first those that were missed."""
        after, event = last_seen, last_event
        try:
            if after and self._config.has("resume-skips-missed"):
                after = await self._newest(after)
            after = await self._catch_up(after)
            while True:
                try:
                    event = await self._streams.last_event(self.user) if event is None else event
                    news = await self._streams.wait_news(self.user, after_seq=after, after_event=event)
                except StoreUnavailableError as error:
                    log.info("push_without_streams", user=self.user, error=str(error))
                    # Every connection is here now, and they must not all ask the ledger at once, or often.
                    await trio.sleep(self._config.poll_s * self._jitter.uniform(0.5, 1.0))
                    after = await self._catch_up(after)
                    continue
                for each in news.events:
                    await self._pass_on(each)
                    event = each.id
                before, after = after, await self._push_replies(news, after)
                if news.replies and after == before:
                    await trio.sleep(self._config.retry_s)  # a gap that nobody can fill yet
        except ConnectionClosed:
            return

    async def _push_replies(self, news: News, after: int) -> int:
        """Send replies in their order; after a gap, and when nothing came for long, look into the ledger."""
        if not news.replies and not news.events:
            return await self._catch_up(after)
        for reply in news.replies:
            if reply.seq > after + 1:
                return await self._catch_up(after)
            await self._pass_on(reply)
            after = reply.seq
        return after

    async def _catch_up(self, after: int) -> int:
        """Send what the ledger has after a number, or, without the ledger, the streams; return the last one sent."""
        while missed := await self._missed(after):
            for reply in missed:
                await self._pass_on(reply)
            log.info("caught_up", user=self.user, connection=self._number, missed=len(missed))
            after = missed[-1].seq
            if len(missed) < REPLIES_MAX:
                break
        return after

    async def _pass_on(self, frame: Reply | AgentEvent) -> None:
        if self._is_over():
            await trio.sleep_forever()  # until what is just being stored is, and the connection ends
        async with self._turn:
            await self._send(frame)
            if self._config.has("slow-consumer-holds-all"):
                await self._answers_ping()

    def _is_over(self) -> bool:
        """Whether nothing but the farewell may be sent any more."""
        return bool(self._reason or self._is_logged_out) and not self._is_told_first()

    def _is_told_first(self) -> bool:
        """Whether the farewell is said before the rest (only a planted defect does that, of a gateway that ends)."""
        return self._reason == "going_away" and self._config.has("farewell-before-the-rest")

    async def _newest(self, after: int) -> int:
        """Return the number of the newest reply (only a planted defect asks)."""
        while missed := await self._missed(after):
            after = missed[-1].seq
        return after

    async def _missed(self, after: int) -> list[Reply]:
        if self._config.has("resume-off-by-one"):
            after = max(0, after - 1)
        try:
            return await self._ledger.replies_after(self.user, after)
        except LedgerUnavailableError:
            pass
        try:
            kept = await self._streams.replies_after(self.user, after)
        except StoreUnavailableError:
            return []
        return [reply for place, reply in enumerate(kept, after + 1) if reply.seq == place]

    async def _watch(self) -> None:
        """End the connection when its token expires; drop it when the peer is silent for too long."""
        next_ping_s = trio.current_time() + self._config.ping_interval_s
        while True:
            await trio.sleep_until(min(next_ping_s, self._expires_at_s))
            if trio.current_time() >= self._expires_at_s:
                self.retire("expired")
                return
            if trio.current_time() >= next_ping_s:
                next_ping_s += self._config.ping_interval_s
                if not await self._answers_ping():
                    log.info("silent_peer_dropped", connection=self._number, user=self.user)
                    await self._drop()
                    return

    async def _answers_ping(self) -> bool:
        with trio.move_on_after(self._config.ping_timeout_s):
            try:
                await self._socket.ping()
            except ConnectionClosed:
                return False
            return True
        return False
