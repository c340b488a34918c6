"""A circuit breaker for awaited calls: pybreaker's states and counts, with a single half-open probe."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerListener,
    CircuitBreakerState,
    CircuitMemoryStorage,
)

from models.config import PlatformConfig

__all__ = ["Breaker", "BreakerOpenError"]

T = TypeVar("T")
log = structlog.get_logger()


class BreakerOpenError(Exception):
    """The call was not made: the breaker is open, or half-open with its one probe under way."""


class _CallFailedError(Exception):
    """Stands for whatever an awaited call raised when pybreaker is told of it."""


class Breaker(CircuitBreakerListener):
    """Admits calls while closed, none while open, and one probe at a time while half-open.

    pybreaker is told the outcome after the await, in one synchronous call, instead of being wrapped around
    it: around an await it would count a cancellation as a success or a failure of the dependency (it knows
    nothing else), admit every caller while half-open, and let a call that was admitted long ago decide about
    a state that it never saw. A cancelled call counts as nothing; an outcome from before the last move counts
    as nothing.
    """

    def __init__(self, name: str, config: PlatformConfig) -> None:
        self._name = name
        self._config = config
        self._storage = CircuitMemoryStorage(STATE_CLOSED)
        self._breaker = CircuitBreaker(
            fail_max=config.breaker_failures_max,
            reset_timeout=config.breaker_reset_s,
            state_storage=self._storage,
            listeners=[self],
            throw_new_error_on_trip=False,
        )
        self._moves = 0
        self._calls = 0
        self._is_probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`. An open breaker moves only when it admits a probe."""
        return self._storage.state

    @property
    def admits(self) -> bool:
        """Whether a call would be admitted now."""
        if self.state == STATE_OPEN:
            opened_at = self._storage.opened_at
            return opened_at is None or datetime.now(UTC) >= opened_at + timedelta(seconds=self._breaker.reset_timeout)
        return not (self.state == STATE_HALF_OPEN and self._is_probing)

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Return, or raise, what the operation does; raise BreakerOpenError when it is not admitted."""
        is_probe = self._admit()
        self._calls += 1
        call, moves = self._calls, self._moves
        log.info("breaker_admitted", breaker=self._name, state=self.state, call=call)
        try:
            result = await operation()
        except Exception:
            self._report(call=call, moves=moves, succeeded=False)
            raise
        else:
            self._report(call=call, moves=moves, succeeded=True)
            return result
        finally:
            # Also after a cancellation: the breaker is then still half-open, and the next caller is the
            # probe.
            if is_probe:
                self._is_probing = False

    def _admit(self) -> bool:
        """Let the caller through, or raise BreakerOpenError; say whether it is the half-open probe."""
        if not self.admits:
            log.info("breaker_refused", breaker=self._name, state=self.state)
            raise BreakerOpenError(self._name)
        if self.state == STATE_OPEN:
            self._breaker.half_open()
        self._is_probing = self.state == STATE_HALF_OPEN
        return self._is_probing

    def _report(self, *, call: int, moves: int, succeeded: bool) -> None:
        outcome = "success" if succeeded else "failure"
        log.info("breaker_result", breaker=self._name, call=call, outcome=outcome)
        if moves != self._moves:
            return
        if succeeded and self.state == STATE_HALF_OPEN and self._config.has("breaker-never-recloses"):
            return
        try:
            with self._breaker.calling():
                if not succeeded:
                    raise _CallFailedError
        except _CallFailedError:
            pass

    def state_change(
        self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState
    ) -> None:
        """Note a move (pybreaker calls this)."""
        self._moves += 1
        old = old_state.name if old_state is not None else STATE_CLOSED
        log.info("breaker_moved", breaker=self._name, old=old, new=new_state.name)
