"""A circuit breaker for awaited calls: pybreaker's states and counts, with a single half-open probe."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeVar

import structlog
import trio
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


def every_error(_error: Exception) -> bool:
    """Say that an error is the dependency's failure, whatever it is."""
    return True


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
            fail_max=1 if config.has("first-failure-opens") else config.breaker_failures_max,
            reset_timeout=config.breaker_reset_s,
            state_storage=self._storage,
            listeners=[self],
            throw_new_error_on_trip=False,
        )
        self._moves = 0
        self._calls = 0
        self._is_probing = False
        self._left_closed = trio.Event()

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
        return not (self.state == STATE_HALF_OPEN and self._is_probing and not self._config.has("half-open-stampede"))

    async def call(
        self, operation: Callable[[], Awaitable[T]], *, counts: Callable[[Exception], bool] = every_error
    ) -> T:
        """Return, or raise, what the operation does; raise BreakerOpenError when it is not admitted.

        `counts` says of an error whether it is a failure of the dependency; any other shows that it answers.
        """
        is_probe = self._admit()
        self._calls += 1
        call, moves = self._calls, self._moves
        if self.state != STATE_CLOSED:
            log.info("breaker_admitted", breaker=self._name, state=self.state, call=call)
        try:
            result = await operation()
        except Exception as error:
            self._report(call=call, moves=moves, failure=error if counts(error) else None)
            raise
        else:
            self._report(call=call, moves=moves, failure=None)
            return result
        finally:
            # Also after a cancellation: the breaker is then still half-open, and the next caller is the
            # probe.
            if is_probe:
                self._is_probing = False

    async def probe_forever(self, ping: Callable[[], Awaitable[object]]) -> NoReturn:
        """Probe the dependency whenever the breaker is not closed, until cancelled.

        Without this a breaker that nobody calls would stay open for ever. `ping` makes its call through the breaker.
        """
        while True:
            await self._left_closed.wait()
            await trio.sleep(self._config.breaker_reset_s)
            try:
                if self.state != STATE_CLOSED and self.admits:
                    await ping()
            except Exception as error:
                log.info("probe_failed", breaker=self._name, error=type(error).__name__)

    def _admit(self) -> bool:
        """Let the caller through, or raise BreakerOpenError; say whether it is the half-open probe."""
        if not self.admits:
            log.info("breaker_refused", breaker=self._name, state=self.state)
            raise BreakerOpenError(self._name)
        if self.state == STATE_OPEN:
            self._breaker.half_open()
        self._is_probing = self.state == STATE_HALF_OPEN
        return self._is_probing

    def _report(self, *, call: int, moves: int, failure: Exception | None) -> None:
        # A success in the closed state is what happens all the time: it is told only when it ends a row of failures.
        if failure is not None or self.state != STATE_CLOSED or self._breaker.fail_counter:
            error = type(failure).__name__ if failure is not None else None
            log.info("breaker_result", breaker=self._name, call=call, error=error)
        if moves != self._moves:
            return
        if failure is None and self.state == STATE_HALF_OPEN and self._config.has("breaker-never-recloses"):
            return
        if self.state == STATE_HALF_OPEN and self._config.has("failed-probe-closes"):
            failure = None
        try:
            with self._breaker.calling():
                if failure is not None:
                    raise _CallFailedError
        except _CallFailedError:
            pass

    def state_change(
        self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState
    ) -> None:
        """Note a move (pybreaker calls this)."""
        self._moves += 1
        if new_state.name == STATE_CLOSED:
            self._left_closed = trio.Event()
        else:
            self._left_closed.set()
        old = old_state.name if old_state is not None else STATE_CLOSED
        log.info("breaker_moved", breaker=self._name, old=old, new=new_state.name)
