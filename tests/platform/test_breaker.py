"""The breaker alone, in virtual time."""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
import time_machine
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig

START = datetime(2030, 1, 1, tzinfo=UTC)


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


def test_defect_breaker_never_recloses_keeps_it_half_open() -> None:
    """The defect does what it says, so that a property can be shown to find it."""

    async def main(wall: time_machine.Traveller) -> None:
        subject = breaker(defect="breaker-never-recloses")
        await opened(subject)
        wall.shift(2)
        await subject.call(works)
        assert subject.state == "half-open"

    run(main)
