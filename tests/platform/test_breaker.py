"""The breaker alone, in virtual time."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import pytest
import structlog
import time_machine
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig

START = datetime(2030, 1, 1, tzinfo=UTC)
TICK_S = 0.1
TOLD = ("old", "new", "state", "call", "error")


class BrokenError(Exception):
    """What the dependency raises."""


def breaker(*, defect: str = "") -> Breaker:
    return Breaker("dependency", PlatformConfig(secret="s" * 16, defects=frozenset({defect})))


async def works() -> str:
    return "answer"


async def fails() -> str:
    raise BrokenError


async def opened(subject: Breaker) -> None:
    for _ in range(3):
        with pytest.raises(BrokenError):
            await subject.call(fails)
    assert subject.state == "open"


async def tick_forever(wall: time_machine.Traveller) -> None:
    """Let wall time pass with Trio's."""
    while True:
        await trio.sleep(TICK_S)
        wall.shift(TICK_S)


def told(events: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    """Return what was logged, each as its name without `breaker_` and its values but the breaker's name."""
    return [
        (str(event["event"]).removeprefix("breaker_"), *(event[key] for key in event if key in TOLD))
        for event in events
    ]


def run(main: Callable[[time_machine.Traveller], Awaitable[None]]) -> None:
    with time_machine.travel(START, tick=False) as wall:
        trio.run(main, wall, clock=MockClock(autojump_threshold=0))


def test_it_opens_after_consecutive_failures_and_admits_nothing() -> None:
    """An open breaker spares a dependency that is down, and its callers the wait."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        for operation in (fails, fails, works, fails, fails):
            with contextlib.suppress(BrokenError):
                await subject.call(operation)
        assert subject.state == "closed"
        await opened(breaker())
        with pytest.raises(BrokenError):
            await subject.call(fails)
        wall.shift(1.9)
        with pytest.raises(BreakerOpenError):
            await subject.call(works)

    run(main)


def test_half_open_admits_one_probe_whose_success_closes_it() -> None:
    """Ten callers that come at once must not fall upon a dependency that has just come back."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        await opened(subject)
        wall.shift(2)
        answers: list[str] = []
        started: list[int] = []

        async def probe() -> str:
            started.append(1)
            await trio.sleep(1)
            return "answer"

        async def caller() -> None:
            try:
                answers.append(await subject.call(probe))
            except BreakerOpenError:
                answers.append("refused")

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(caller)
        assert len(started) == 1
        assert sorted(answers) == ["answer", *["refused"] * 9]
        assert subject.state == "closed"

    run(main)


def test_a_failed_probe_opens_it_for_another_reset() -> None:
    """Half-open is a question; a failure is the answer "not yet"."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        await opened(subject)
        wall.shift(2)
        with pytest.raises(BrokenError):
            await subject.call(fails)
        assert subject.state == "open"
        assert not subject.admits
        wall.shift(2)
        assert await subject.call(works) == "answer"
        assert subject.state == "closed"

    run(main)


def test_a_cancelled_probe_neither_counts_nor_keeps_its_place() -> None:
    """A cancellation says nothing about the dependency, and must not leave the breaker half-open for ever."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        await opened(subject)
        wall.shift(2)
        with trio.move_on_after(1):
            await subject.call(trio.sleep_forever)
        assert subject.state == "half-open"
        assert subject.admits
        await subject.call(works)
        assert subject.state == "closed"

    run(main)


def test_an_outcome_from_before_the_last_move_does_not_count() -> None:
    """A call that was slow to fail knows nothing of the state that the breaker is in by then."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        fail_now = trio.Event()

        async def slow() -> None:
            await fail_now.wait()
            raise BrokenError

        async def caller() -> None:
            with pytest.raises(BrokenError):
                await subject.call(slow)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await wait_all_tasks_blocked()
            await opened(subject)
            wall.shift(2)
            with trio.move_on_after(1):
                await subject.call(trio.sleep_forever)
            fail_now.set()
        assert subject.state == "half-open"

    run(main)


def test_an_error_that_does_not_count_shows_that_the_dependency_answers() -> None:
    """A refusal is the caller's mistake: it opens nothing, ends a row of failures, and closes a half-open breaker."""

    def counts(error: Exception) -> bool:
        return isinstance(error, BrokenError)

    async def refuses() -> str:
        raise ValueError("the request is wrong")

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        for operation in (refuses, refuses, refuses, fails, fails, refuses, fails, fails):
            with contextlib.suppress(BrokenError, ValueError):
                await subject.call(operation, counts=counts)
        assert subject.state == "closed"
        with pytest.raises(BrokenError):
            await subject.call(fails, counts=counts)
        assert subject.state == "open"
        wall.shift(2)
        with pytest.raises(ValueError, match="the request is wrong"):
            await subject.call(refuses, counts=counts)
        assert subject.state == "closed"

    run(main)


def test_it_tells_of_failures_moves_and_probes_and_not_of_ordinary_successes() -> None:
    """From these events anybody can follow its state; the rest would be one line per call for nothing."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        with structlog.testing.capture_logs() as events:
            for operation in (works, fails, works, works):
                with contextlib.suppress(BrokenError):
                    await subject.call(operation)
            assert told(events) == [("result", 2, "BrokenError"), ("result", 3, None)]
            events.clear()
            await opened(subject)
            with pytest.raises(BreakerOpenError):
                await subject.call(works)
            wall.shift(2)
            await subject.call(works)
            assert told(events) == [
                ("result", 5, "BrokenError"),
                ("result", 6, "BrokenError"),
                ("result", 7, "BrokenError"),
                ("moved", "closed", "open"),
                ("refused", "open"),
                ("moved", "open", "half-open"),
                ("admitted", "half-open", 8),
                ("result", 8, None),
                ("moved", "half-open", "closed"),
            ]

    run(main)


def test_it_closes_by_itself_although_nobody_calls() -> None:
    """An outage must not outlive its cause until the next user comes; a healthy dependency is not bothered."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker()
        answers = iter((fails, fails, works))
        probed_at_s: list[float] = []

        async def ping() -> None:
            probed_at_s.append(trio.current_time())
            await subject.call(next(answers))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick_forever, wall)
            nursery.start_soon(subject.probe_forever, ping)
            await trio.sleep(10)
            assert probed_at_s == []
            await opened(subject)
            while subject.state != "closed":
                await trio.sleep(TICK_S)
            await trio.sleep(10)
            assert len(probed_at_s) == 3
            nursery.cancel_scope.cancel()

    run(main)


def test_defect_breaker_never_recloses_keeps_it_half_open() -> None:
    """The defect does what it says, so that a property can be shown to find it."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker(defect="breaker-never-recloses")
        await opened(subject)
        wall.shift(2)
        await subject.call(works)
        assert subject.state == "half-open"

    run(main)


def test_defect_first_failure_opens_opens_it_at_once() -> None:
    """The defect does what it says, so that a property can be shown to find it."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker(defect="first-failure-opens")
        with pytest.raises(BrokenError):
            await subject.call(fails)
        assert subject.state == "open"

    run(main)


def test_defect_failed_probe_closes_closes_it_all_the_same() -> None:
    """The defect does what it says, so that a property can be shown to find it."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker(defect="failed-probe-closes")
        await opened(subject)
        wall.shift(2)
        with pytest.raises(BrokenError):
            await subject.call(fails)
        assert subject.state == "closed"

    run(main)
