"""Explorers: each departs from the calm order in its own way, and the same way for the same seed."""

import pkgutil
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import trio

from simulator.world import World, explorers, weather
from simulator.world.explorers import PORTFOLIO, Explorer
from simulator.world.explorers.bursts import Bursts
from simulator.world.explorers.delays import Delays
from simulator.world.explorers.laggard import Laggard
from simulator.world.explorers.priorities import Priorities
from simulator.world.explorers.rounds import Rounds
from simulator.world.explorers.uniform import UniformPicks

Kind = Callable[[random.Random], Explorer]


@pytest.fixture
def order_of(monkeypatch):
    """Return in which order tasks of so many turns each run, in a storm whose explorer is of the given kind."""

    def order(kind: Kind, seed: int, tasks: int, turns: int) -> list[int]:
        monkeypatch.setattr(weather, "PORTFOLIO", (kind,))
        monkeypatch.setattr(weather, "JITTERS", ((0.0, 0, 0.0),))
        ran: list[int] = []

        async def step(number):
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
                ran.append(number)

        async def main():
            async with trio.open_nursery() as nursery:
                for number in range(tasks):
                    nursery.start_soon(step, number)

        with World() as world:
            world.add_host("host")
            world.weather.change(seed)
            world.run(main, host="host")
        return ran

    return order


def leads(order: list[int], tasks: int) -> int:
    """By how many turns the foremost task was ever ahead of the hindmost that was not done."""
    turns = [0] * tasks
    lead = 0
    total = order.count(0)
    for number in order:
        turns[number] += 1
        lead = max(lead, max(turns) - min(turns))
        if max(turns) == total:
            break
    return lead


def switches(order: list[int]) -> int:
    return sum(one != other for one, other in pairwise(order))


def test_every_explorer_is_drawn():
    """What is in the folder and never drawn finds nothing. `deviating` is what shrinking leaves."""
    files = {module.name for module in pkgutil.iter_modules(explorers.__path__)}
    assert files == {kind.__module__.rpartition(".")[2] for kind in PORTFOLIO} | {"deviating"}


@pytest.mark.parametrize("kind", PORTFOLIO)
def test_the_same_seed_gives_the_same_order_and_every_task_runs_to_its_end(order_of, kind):
    """Also of tasks that are never the first choice."""
    orders = [order_of(kind, seed, 4, 10) for seed in (1, 1, 2, 3, 4, 5)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 2
    assert all(sorted(order) == sorted([0, 1, 2, 3] * 10) for order in orders)


@pytest.mark.parametrize("tasks", [2, 5, 40])
def test_uniform_picks_are_uniform(order_of, tasks):
    """One task at a time, among all: also the ones that became runnable since the last pick."""
    order = order_of(UniformPicks, 3, tasks, 300)
    first = order[: 200 * tasks]
    assert min(map(first.count, range(tasks))) > 130
    assert max(map(first.count, range(tasks))) < 280


def test_priorities_starve_a_task_in_many_weathers(order_of):
    """One of two waits for all thirty turns of the other: uniform picks never show that."""
    starved = sum(leads(order_of(Priorities, seed, 2, 30), 2) == 30 for seed in range(1, 41))
    assert starved > 10
    assert not any(leads(order_of(UniformPicks, seed, 2, 30), 2) == 30 for seed in range(1, 41))


def test_priorities_change_at_a_turn_of_a_task_however_late(order_of):
    """Not all orders are one task after the other: some switch in the middle."""
    orders = [order_of(Priorities, seed, 3, 30) for seed in range(1, 41)]
    assert any(switches(order) == 2 for order in orders)
    assert any(2 < switches(order) <= 8 for order in orders)


def test_bursts_switch_rarely(order_of):
    """A burst lasts several turns on average, and some last very long."""
    orders = [order_of(Bursts, seed, 3, 60) for seed in range(1, 21)]
    assert sum(map(switches, orders)) < 0.5 * sum(map(len, orders))
    assert max(leads(order, 3) for order in orders) > 30


def test_rounds_keep_all_tasks_near_each_other(order_of):
    """No task falls far behind, and the order within a round is any."""
    orders = [order_of(Rounds, seed, 4, 30) for seed in range(1, 21)]
    assert max(leads(order, 4) for order in orders) <= 12
    assert len({tuple(order[:4]) for order in orders}) > 5


def test_delays_leave_most_of_the_calm_order(order_of):
    """In front of and behind at most five delays everything goes in turn."""
    calm = [0, 1, 2] * 40
    orders = [order_of(Delays, seed, 3, 40) for seed in range(1, 31)]
    assert sum(order != calm for order in orders) > 20
    assert any(leads(order, 3) > 10 for order in orders)
    in_turn = [sum(a != b and b != c and a != c for a, b, c in zip(o, o[1:], o[2:], strict=False)) for o in orders]
    assert sum(in_turn) > 0.4 * sum(map(len, orders))


def test_a_laggard_is_far_behind_while_the_others_race(order_of):
    """Uniform picks let nobody fall behind, and priorities let nobody race."""
    orders = [order_of(Laggard, seed, 4, 100) for seed in range(1, 9)]
    assert min(leads(order, 4) for order in orders) > 16
    for order in orders:
        halfway = order[: len(order) // 2]
        assert switches(halfway) > 0.4 * len(halfway), "those that are not behind take turns"
    assert len({min(range(4), key=order[:50].count) for order in orders}) > 2, "it is any of them"
