"""Calm weather has one meaningful order; a storm reaches orders that no fair scheduler would."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio

from simulator.world import World
from simulator.world.weather import Weather

T = TypeVar("T")


def order_of_hosts(names: list[str]) -> list[str]:
    order = []

    async def step(name):
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(name)

    with World() as world:
        for name in names:
            world.add_host(name)
        for name in names:
            world.start(partial(step, name), host=name)
        world.advance(0)
    return order


def test_calm_order_does_not_depend_on_the_order_in_which_hosts_were_made():
    """Deleting or adding a host elsewhere must leave a shrunk run as it was."""
    assert order_of_hosts(["a", "b", "c"]) == order_of_hosts(["c", "a", "b"]) == list("abc") * 3


def test_calm_order_of_siblings_is_that_of_their_start():
    """The child index counts, also beyond nine, where strings would sort differently."""
    order = []

    async def child(number):
        await trio.lowlevel.checkpoint()
        order.append(number)

    async def main():
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(child, number)

    with World() as world:
        world.add_host("host")
        world.run(main, host="host")
    assert order == list(range(12))


async def lost_update(count=5):
    """Check then act across a checkpoint, each task late enough that in fair turns it sees the one before."""
    value = 0

    async def work(number):
        nonlocal value
        for _ in range(2 * number):
            await trio.lowlevel.checkpoint()
        seen = value
        await trio.lowlevel.checkpoint()
        value = seen + 1

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(work, number)
    return value < count


def run_in(weather: int, program: Callable[[], Awaitable[T]]) -> T:
    with World() as world:
        world.add_host("host")
        world.weather.change(weather)
        return world.run(program, host="host")


def test_a_staggered_lost_update_is_found_by_many_weathers_and_never_in_calm():
    """Shuffled batches never find it: each task would have to fall behind by several turns."""
    assert not run_in(0, lost_update)
    found = sum(run_in(weather, lost_update) for weather in range(1, 61))
    assert 10 <= found < 40


def test_a_task_can_fall_behind_by_any_distance():
    """Starvation is what a fair scheduler cannot show."""

    async def behind():
        steps = {"a": 0, "b": 0}
        lead = 0

        async def step(name):
            nonlocal lead
            for _ in range(200):
                await trio.lowlevel.checkpoint()
                steps[name] += 1
                lead = max(lead, abs(steps["a"] - steps["b"]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(step, "a")
            nursery.start_soon(step, "b")
        return lead

    assert run_in(0, behind) <= 1
    assert max(run_in(weather, behind) for weather in range(1, 11)) > 20


def test_only_contested_choices_are_drawn():
    """A deviation from calm can only be made where there is a choice."""

    async def alone():
        for _ in range(50):
            await trio.lowlevel.checkpoint()

    with World() as world:
        world.add_host("host")
        world.weather.change(9)
        choices = world.weather.choices
        world.run(alone, host="host")
        assert world.weather.choices == choices


def test_weather_can_change_while_tasks_are_runnable():
    """Steps follow each other at any instant; no task may be lost or run twice at the change."""
    steps = []

    async def main():
        async def step(number):
            for turn in range(20):
                await trio.lowlevel.checkpoint()
                steps.append((number, turn))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(step, number)

    with World() as world:
        world.add_host("host")
        call = world.start(main, host="host")
        for weather in (3, 0, 4, 0):
            for _ in range(3):  # a few turns of Trio, then other weather
                world.clock.idle = False
                world._ticks.popleft()()
            world.weather.change(weather)
        world.advance(0)
        assert call.done
    assert sorted(steps) == [(number, turn) for number in range(10) for turn in range(20)]


def test_jitter_is_late_never_early_and_now_and_then_very_late():
    """Rare long delays reorder what typical ones do not; some storms leave messages alone."""
    weather = Weather()
    drawn = []
    for seed in range(1, 201):
        weather.change(seed)
        drawn.append([weather.late_s("a", "b", 0.001) for _ in range(100)])
    assert min(map(min, drawn)) >= 0
    assert max(map(max, drawn)) <= 0.1
    assert 20 < sum(not any(late) for late in drawn) < 80
    assert 300 < sum(late_s > 0.004 for late in drawn for late_s in late) < 4_000


def test_some_storms_leave_the_order_of_tasks_alone():
    """What only messages cause is found, and told, without a word about tasks."""
    weather = Weather()
    orders = []
    for seed in range(1, 201):
        weather.change(seed)
        orders.append(weather.picks_singly)
    assert 5 < orders.count(False) < 60


def test_the_digest_folds_how_late_messages_are():
    """Two storms that differ only in that may make the same events, for a while."""
    digests = []
    for seed in (1, 2, 3):
        weather = Weather()
        weather.change(seed)
        before = weather.digest
        weather.late_s("a", "b", 0.001)
        digests.append((weather.digest != before, weather.late_s("a", "b", 0.001) != 0.0))
    assert (True, True) in digests
    assert all(folded == late for folded, late in digests)
