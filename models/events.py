"""What agents tell of their work while they do it: events, on their way to the users."""

from collections import deque
from typing import NoReturn

import structlog
import trio

from models.protocol import AgentEvent
from models.store import StoreUnavailableError
from models.streams import Streams

__all__ = ["EVENTS", "Events"]

EVENTS = (
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
    "agent_failed",
    "agent_skipped",
)
WAITING_MAX = 1000
BATCH_MAX = 100
log = structlog.get_logger()


class Events:
    """Passes events on in the background, in order; those that Redis does not take in time are dropped."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiting: deque[tuple[str, AgentEvent]] = deque(maxlen=WAITING_MAX)
        self._some = trio.Event()
        self._none = trio.Event()
        self._none.set()

    def emit(self, user: str, event: AgentEvent) -> None:
        """Tell a user of something, without waiting."""
        log.info(
            "agent_event",
            user=user,
            message=event.to,
            node=event.node,
            name=event.event,
            attempt=event.attempt,
            detail=event.detail,
        )
        self._waiting.append((user, event))
        self._some.set()
        if self._none.is_set():
            self._none = trio.Event()

    async def wait_passed_on(self) -> None:
        """Wait until nothing is on its way any more."""
        await self._none.wait()

    async def pass_on_forever(self) -> NoReturn:
        """Pass events on until cancelled: what was emitted during one round trip goes with the next."""
        while True:
            await self._some.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
            if not self._waiting:
                self._some = trio.Event()
            try:
                await self._streams.publish_events(batch)
            except StoreUnavailableError as error:
                log.info("events_dropped", count=len(batch), error=str(error))
            if not self._waiting:
                self._none.set()
