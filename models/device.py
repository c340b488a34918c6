"""A user's device: it stays connected until it is told to leave, and learns what became of what it sent."""

import enum
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

import trio

from models.protocol import Ack, Cancelling, ErrorFrame, ServerFrame

__all__ = [
    "ANSWER_TIMEOUT_S",
    "BACKOFF_MAX_S",
    "CLOSE_TIMEOUT_S",
    "CONNECT_TIMEOUT_S",
    "DEFINITE",
    "PING_INTERVAL_S",
    "PING_TIMEOUT_S",
    "Device",
    "Outcome",
    "Pending",
]

CONNECT_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
PING_INTERVAL_S = 5.0
PING_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 3.0
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 2.0
DEFINITE = ("bad_request", "overloaded", "try_later", "too_late", "unauthorised", "expired", "going_away")


class Outcome(enum.StrEnum):
    """What the user knows of something that was sent."""

    OK = "ok"
    """It was acknowledged: durable, and to be answered."""
    FAIL = "fail"
    """It was never sent, or refused."""
    INFO = "info"
    """Unknown: it was sent, and no acknowledgement came."""


class Pending:
    """Something that waits for its acknowledgement."""

    def __init__(self) -> None:
        self.outcome = Outcome.INFO
        self.code = ""
        self.decided = trio.Event()


class Device:
    """What a device does whatever protocol it speaks; a subclass connects, sends, and reads what arrives.

    `on_state` is told `connected` (after the welcome), `disconnected`, and when `run` has returned of itself `ended`
    (somebody ended the session) or `refused` (the login is invalid).
    """

    lost: ClassVar[tuple[type[Exception], ...]]
    """What is raised when something cannot be sent because the connection is gone."""

    def __init__(self, *, user: str, on_state: Callable[[str], None]) -> None:
        self.user = user
        self.logs_in_again = False
        """Whether a session that somebody ended is followed by another, without the user's doing."""
        self._on_state = on_state
        self._jitter = random.Random(user)
        self._is_wanted = False
        self._stays_away = ""
        self._ended = trio.Event()
        self._reads_from_s = 0.0
        self._running: trio.CancelScope | None = None
        self._conversation: trio.CancelScope | None = None
        self._waiting: dict[str, Pending] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the present connection was welcomed."""
        raise NotImplementedError

    async def send(self, id: str, text: str, context: str, workflow: Mapping[str, tuple[str, ...]]) -> Outcome:
        """Send a message and wait for its acknowledgement."""
        raise NotImplementedError

    async def cancel(self, id: str) -> Outcome:
        """Ask for a message to be given up."""
        raise NotImplementedError

    async def run(self) -> None:
        """Stay connected until cancelled, told to leave, or refused."""
        assert self._running is None, f"user={self.user} runs already"
        self._is_wanted = True
        self._stays_away = ""
        self._ended = trio.Event()
        try:
            with trio.CancelScope() as self._running:
                await self._reconnect_while_wanted()
        finally:
            self._running = None
            self._ended.set()
            if self._stays_away:
                self._on_state(self._stays_away)

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

    def stall(self, for_s: float) -> None:
        """Do not read what arrives for a while, as a device that is asleep."""
        self._reads_from_s = max(self._reads_from_s, trio.current_time() + for_s)

    # What subclasses use

    async def _connect_once(self) -> bool:
        """Connect and stay until the connection ends; say whether it was welcomed."""
        raise NotImplementedError

    async def _may_read(self) -> None:
        """Wait while the device does not read."""
        while trio.current_time() < self._reads_from_s:
            await trio.sleep_until(self._reads_from_s)

    async def _request(self, key: str, send: Callable[[], Awaitable[None]]) -> Pending:
        """Send something and return what came of it."""
        pending = Pending()
        if not self.is_connected or key in self._waiting:
            pending.outcome = Outcome.FAIL
            return pending
        self._waiting[key] = pending
        try:
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                await send()
                await pending.decided.wait()
        except self.lost:
            pass
        finally:
            self._waiting.pop(key, None)
        return pending

    def _note_answer(self, frame: ServerFrame) -> None:
        """Decide what waits for this frame, if it is an answer."""
        match frame:
            case Ack():
                self._decide([frame.id], Outcome.OK)
            case Cancelling():
                self._decide([f"cancel {frame.id}"], Outcome.OK)
            case ErrorFrame():
                keys = [frame.id or "", f"cancel {frame.id}", *([""] if frame.code == "bad_request" else [])]
                self._decide(keys, Outcome.FAIL if frame.code in DEFINITE else Outcome.INFO, frame.code)

    def _give_up_waiting(self) -> None:
        """Let whatever waits for an answer know that none will come."""
        for pending in self._waiting.values():
            pending.decided.set()

    async def _reconnect_while_wanted(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while self._is_wanted:
            if await self._connect_once():
                backoff_s = BACKOFF_MIN_S
            if self._is_wanted:
                # Jitter, or all who lost the same gateway would come back at the same moment.
                await trio.sleep(backoff_s * self._jitter.uniform(0.5, 1.0))
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _decide(self, keys: Sequence[str], outcome: Outcome, code: str = "") -> None:
        """Decide the first of these that waits, and no other: answers come in the order of what they answer."""
        for pending in (self._waiting[key] for key in keys if key in self._waiting):
            if not pending.decided.is_set():
                pending.outcome, pending.code = outcome, code
                pending.decided.set()
                return
