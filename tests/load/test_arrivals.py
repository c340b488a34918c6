"""Arrivals: an open model, the same for the same seed."""

import statistics
from itertools import pairwise

import pytest

from simulator.errors import InputError
from simulator.load.arrivals import plan_of
from simulator.load.profile import PROFILES, Load, Mixed
from simulator.plan import Do, Plan

MIX = (Mixed("ask", 3.0, {"question": "why?"}), Mixed("leave"))


def deeds(plan: Plan) -> list[tuple[float, Do]]:
    found = []
    at_s = 0.0
    for step in plan.steps:
        if isinstance(step.action, Do):
            found.append((at_s, step.action))
        at_s += step.after_s
    return found


def test_the_same_seed_gives_the_same_plan_and_another_gives_another() -> None:
    load = PROFILES["steady"]
    first, again, other = (plan_of(load, MIX, "connect", seed, latency_s=0.001) for seed in (1, 1, 2))
    assert first == again
    assert first.steps != other.steps


def test_more_users_leave_those_alone_who_were_there() -> None:
    """Each user has random numbers of their own, so that a load can be grown, and sharded, without becoming another."""
    few, many = (
        plan_of(Load(users=users, per_minute=6, duration=300, arrive_within=users * 1.0), MIX, "", 3, latency_s=0.001)
        for users in (5, 50)
    )
    for user in range(5):
        one, other = ([do for _, do in deeds(plan) if do.user == user] for plan in (few, many))
        assert one == other


def test_rates_mix_and_arrivals_are_as_declared() -> None:
    """Exponential times between: their mean and their deviation are alike."""
    load = Load(users=20, per_minute=30, duration="10m", arrive_within=20)
    made = deeds(plan_of(load, MIX, "connect", 5, latency_s=0.001))
    arrivals = [at_s for at_s, do in made if do.operation == "connect"]
    assert len(arrivals) == 20
    assert max(arrivals) < 20
    asked = [do for _, do in made if do.operation == "ask"]
    left = [do for _, do in made if do.operation == "leave"]
    assert len(asked) + len(left) == pytest.approx(20 * 30 * 10, rel=0.05)
    assert len(asked) / len(left) == pytest.approx(3, rel=0.1)
    assert asked[0].arguments == {"question": "why?"}
    gaps = [
        later - now
        for user in range(20)
        for now, later in pairwise([at_s for at_s, do in made if do.user == user and do.operation != "connect"])
    ]
    assert statistics.mean(gaps) == pytest.approx(2.0, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(2.0, rel=0.1)


def test_what_is_asked_can_be_another_thing_each_time() -> None:
    """Of each user on their own, so that two may ask the same: that is what a cache could mix up."""
    mix = (Mixed("ask", 1.0, {"question": "how was minute {number}?", "thread": 1}),)
    made = deeds(plan_of(Load(users=2, per_minute=60, duration=30), mix, "", 1, latency_s=0.001))
    asked = [[do.arguments for _, do in made if do.user == user] for user in (0, 1)]
    for each in asked:
        assert each == [{"question": f"how was minute {number}?", "thread": 1} for number in range(len(each))]
        assert len(each) > 5


def test_a_load_of_nothing_is_refused() -> None:
    load = Load(users=1, per_minute=0.001, duration=1)
    with pytest.raises(InputError, match="there is nothing that users do"):
        plan_of(load, (), "connect", 1, latency_s=0.001)
    with pytest.raises(InputError, match="in 1 s nobody does anything"):
        plan_of(load, MIX, "", 1, latency_s=0.001)
