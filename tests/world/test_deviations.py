"""Deviations: what a storm does, written down, makes the same run again; and each of them does what it says."""

import pytest
import trio

from simulator.deviation import Delay, Hold
from simulator.plan import Do, Plan, Setting, Step
from simulator.simulated_run import simulate, spelled_out
from simulator.world import World
from tests.simulator.racing import system
from tests.world.stage import PORT, receive_exactly, world_with

NEVER = Delay("host 9.9", 1, "host 9.8", 1)


def order_of(deviations, tasks=3, turns=4):
    """In which order tasks of one host run: their numbers, one per turn."""
    ran = []

    async def step(number):
        for _ in range(turns):
            ran.append(number)
            await trio.lowlevel.checkpoint()

    async def main():
        async with trio.open_nursery() as nursery:
            for number in range(tasks):
                nursery.start_soon(step, number)

    with World() as world:
        world.add_host("host")
        world.weather.change(0, deviations)
        world.run(main, host="host")
    return ran


def test_with_deviations_that_match_nothing_the_order_is_the_calm_one():
    """One task at a time or in rounds: the order is the same, so that what is left out of a storm is calm."""
    assert order_of([NEVER]) == order_of([]) == [0, 1, 2] * 4


def test_a_delayed_task_waits_for_the_turn_of_the_other_and_no_longer():
    """The others go on in turn meanwhile."""
    assert order_of([Delay("host 0.0.0", 2, "host 0.0.1", 4)])[:9] == [0, 1, 2, 1, 2, 1, 2, 1, 0]


def test_a_delayed_task_waits_no_longer_than_until_nothing_else_can_run():
    """What it waits for may never come, since deviations are left out one by one."""
    assert order_of([Delay("host 0.0.0", 2, "host 0.0.1", 99)]) == [0, 1, 2, 1, 2, 1, 2, 1, 2, 0, 0, 0]


def test_tasks_that_wait_for_each_other_run_all_the_same():
    """No set of deviations can stop a run."""
    both = [Delay("host 0.0.0", 2, "host 0.0.1", 3), Delay("host 0.0.1", 2, "host 0.0.0", 3)]
    assert sorted(order_of(both, tasks=2)) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("nth", [3, 4])  # the opening of the connection is the first each way
def test_a_held_message_is_late_and_those_behind_it_are_too(nth):
    """Bytes of a connection arrive in order, so what follows a held message waits for it."""
    arrived = []

    async def ask():
        async with await trio.open_tcp_stream("server", PORT) as stream:
            for _ in range(4):
                await stream.send_all(b"x")
                await receive_exactly(stream, 1)
                arrived.append(round(trio.current_time(), 6))

    with world_with() as world:
        begun_s = world.now_s
        world.weather.change(0, [Hold("c0", "server", nth, 0.5)])
        world.run(ask, host="c0")
    took = [round(there - before, 6) for before, there in zip([begun_s, *arrived], arrived, strict=False)]
    assert [took_s > 0.5 for took_s in took] == [number == nth - 1 for number in range(1, 5)]


@pytest.mark.parametrize("seed", range(1, 13))
def test_a_storm_spelled_out_makes_the_same_history(seed):
    """All deviations together are the storm; only then can it be asked which of them matter."""
    plan = Plan(Setting(users=3), tuple(Step(Do("act", user), 0.05, seed + user) for user in (0, 1, 2, 0)))
    storm, spelled = simulate(system, plan, ()), simulate(system, spelled_out(system, plan), ())
    assert storm.history.events == spelled.history.events
