"""Virtual time: it jumps, ends where it was told to, and says who waits when it cannot go on."""

import datetime
import time
from functools import partial

import pytest
import trio

from simulator.errors import SystemFailedError
from simulator.world.chance import EPOCH_S
from simulator.world.clock import VirtualClock
from tests.world.stage import world_with


async def sleep_an_hour():
    await trio.sleep(3600)
    return trio.current_time(), time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.time_ns()


def test_the_wall_clock_follows_virtual_time():
    """Breakers and expiring tokens read the wall clock."""
    with world_with() as world:
        now_s, time_s, datetime_s, time_ns = world.run(sleep_an_hour, host="c0")
    assert now_s == 3600.0
    assert time_s == datetime_s == EPOCH_S + 3600
    assert time_ns == (int(EPOCH_S) + 3600) * 10**9


def test_an_hour_of_sleep_takes_a_handful_of_steps():
    """Time that passes must cost nothing, or nobody would simulate days."""
    with world_with() as world:
        steps = world._queue.steps
        world.run(sleep_an_hour, host="c0")
        assert world._queue.steps - steps < 10


def test_advancing_stops_at_the_horizon_and_not_at_the_next_event():
    """A step's passage of time is exact; what is due later stays due."""
    with world_with() as world:
        call = world.start(sleep_an_hour, host="c0")
        world.advance(3599.5)
        assert (world.now_s, call.done) == (3599.5, False)
        world.advance(0.5)  # what is due at the horizon itself happens
        assert (world.now_s, call.done) == (3600.0, True)
        world.advance(10)
        assert world.now_s == 3610.0


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_made():
    """Without a rule for ties two runs could differ."""
    fired: list[str] = []
    with world_with() as world:

        def make_another() -> None:
            world.clock.call_at(1, partial(fired.append, "e"))

        for name in "abc":
            world.clock.call_after(1, partial(fired.append, name))
        world.clock.call_at(1, partial(fired.append, "d"))
        world.clock.call_after(0.5, make_another)
        world.advance(1)
    assert fired == ["a", "b", "c", "d", "e"]


def test_a_cancelled_timer_does_not_fire_and_keeps_nobody_waiting():
    """A dead timer must neither act nor hide a deadlock."""
    fired = []
    clock = VirtualClock(lambda now_s: None)
    timer = clock.call_after(5, lambda: fired.append("cancelled"))
    clock.call_after(5, lambda: fired.append("kept"))
    timer.cancel()
    clock.horizon_s = 10
    assert clock.deadline_to_sleep_time(float("inf")) == 0
    assert fired == ["kept"]
    assert clock.next_timer_s() == float("inf")


def test_timers_fire_before_the_tasks_that_sleep_until_the_same_instant():
    """What arrives at a deadline has arrived in time, in every run."""
    order = []

    async def sleeper():
        await trio.sleep_until(1)
        order.append("task")

    with world_with() as world:
        world.start(sleeper, host="c0")
        world.clock.call_at(1, lambda: order.append("timer"))
        world.advance(1)
    assert order == ["timer", "task"]


def test_a_timer_made_for_the_past_fires_at_the_next_chance_and_does_not_turn_time_back():
    """A negative delay is a mistake that must stay harmless."""
    fired = []
    with world_with() as world:
        world.advance(2)
        world.clock.call_at(1, lambda: fired.append(world.now_s))
        world.advance(1)
    assert fired == [2.0]


def test_a_deadlock_is_named_with_who_waits_for_what():
    """A hang of the system must be a message, not a hang of the tester."""

    async def wait_for_nothing():
        await trio.Event().wait()

    with world_with() as world:
        with pytest.raises(SystemFailedError, match=r"did not return.*c0/.*wait_for_nothing:\d+ > wait"):
            world.run(wait_for_nothing, host="c0")
        with pytest.raises(SystemFailedError, match=r"simulated_s=5\.0"):
            world.run(sleep_an_hour, host="c0", timeout_s=5)


@pytest.mark.parametrize("weather", [0, 7])
@pytest.mark.parametrize("tasks", [1, 50])
def test_a_program_that_spins_is_reported(weather, tasks, monkeypatch):
    """Polling without sleeping never lets time pass: the message says so, in any weather, however many spin."""
    monkeypatch.setattr("simulator.world.world.STEPS_WITHOUT_TIME_MAX", 5_000)

    async def spin():
        while True:
            await trio.lowlevel.checkpoint()

    async def spin_together():
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(spin)

    with world_with() as world:
        world.weather.change(weather)
        with pytest.raises(SystemFailedError, match=r"spins.*spin"):
            world.run(spin_together, host="c0")
        assert world._queue.steps < 6_000


def test_a_busy_program_that_lets_time_pass_is_not_taken_for_spinning(monkeypatch):
    """Only steps at one instant count."""
    monkeypatch.setattr("simulator.world.world.STEPS_WITHOUT_TIME_MAX", 500)

    async def poll():
        for _ in range(1_000):
            await trio.sleep(0.001)
        return "done"

    with world_with() as world:
        assert world.run(poll, host="c0") == "done"


@pytest.mark.parametrize("weather", [0, 7])
def test_a_deadline_in_the_past_ends_a_loop_that_never_sleeps(weather):
    """Trio notices such deadlines between batches: however tasks are picked, that turn must come."""

    async def main():
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time()
            while True:
                await trio.lowlevel.checkpoint()
        return scope.cancelled_caught

    with world_with() as world:
        world.weather.change(weather)
        assert world.run(main, host="c0")


def test_the_world_cannot_be_driven_or_closed_from_inside_itself():
    """It would run inside its own step."""
    with world_with() as world:

        async def main():
            with pytest.raises(AssertionError, match="from inside itself"):
                world.advance(1)
            with pytest.raises(AssertionError, match="from inside itself"):
                world.close()

        world.run(main, host="c0")
