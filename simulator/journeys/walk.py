"""Walks: journeys by many users at once for a while, as a plan, and what came of each."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import count, pairwise
from operator import itemgetter

import attrs

from simulator.history import Operation
from simulator.journeys.journey import Journey, Leg
from simulator.load.arrivals import numbered
from simulator.load.measured import LoadResult, Met, judge_objectives, tallies_of
from simulator.load.objective import parse_objective
from simulator.load.sample import SUCCESSES, Sample
from simulator.plan import Action, Do, Plan, Setting, Step, Wait
from simulator.user import user_name

__all__ = ["Walk", "Walked", "judge_walks", "walks_of"]


REST_S = 1.0
"""About how long a user rests between two journeys, and all take to come."""


@attrs.frozen
class Walk:
    """One user's way through a journey: when it begins, and which step of the plan each leg is."""

    journey: str
    user: int
    begins_s: float
    steps: tuple[int, ...]


@attrs.frozen
class Walked:
    """What came of a walk: nothing is wrong, or it says at which leg, and what."""

    walk: Walk
    wrong: str = ""


def walks_of(
    journeys: Mapping[str, Journey], users: int, duration_s: float, seed: int, *, latency_s: float
) -> tuple[Plan, list[Walk]]:
    """Return the plan in which so many users walk journeys until the time is over, and their walks.

    Each user has an order of their own, in which every journey comes before one comes again; the first of user n is
    the n-th. Whoever has begun goes on to the end.
    """
    each = (_of_user(journeys, user, users, duration_s, random.Random(f"{seed} {user}")) for user in range(users))
    deeds = list(merge(*each, key=itemgetter(0)))
    walks: dict[tuple[int, int], list[int]] = {}
    begun: dict[tuple[int, int], tuple[str, float]] = {}
    for place, (at_s, user, number, name, _leg) in enumerate(deeds, 1):  # the first step waits for the first user
        begun.setdefault((user, number), (name, at_s))
        walks.setdefault((user, number), []).append(place)
    times = [0.0, *(at_s for at_s, *_ in deeds)]
    gaps = [later - now for now, later in pairwise(times)] + [deeds[-1][4].pause_s]
    does = (Do(leg.operation, user, numbered(leg.arguments, number)) for _, user, number, _, leg in deeds)
    actions: list[Action] = [Wait(), *does]
    steps = tuple(Step(action, gap) for action, gap in zip(actions, gaps, strict=True))
    made = [Walk(*begun[key][:1], key[0], begun[key][1], tuple(places)) for key, places in walks.items()]
    return Plan(Setting(users, latency_s, seed), steps), made


def _of_user(
    journeys: Mapping[str, Journey], user: int, users: int, duration_s: float, draw: random.Random
) -> Iterator[tuple[float, int, int, str, Leg]]:
    """Yield what one user does: when, who, in which of their journeys, its name, and the leg."""
    names = list(journeys)
    names = names[user % len(names) :] + names[: user % len(names)]
    at_s = min(REST_S, duration_s / 10) * (user + draw.random()) / users
    for number in count():
        name = names[number % len(names)]
        for leg in journeys[name].legs:
            yield at_s, user, number, name, leg
            at_s += leg.pause_s
        at_s += REST_S * (0.5 + draw.random())
        if at_s >= duration_s:
            return
        if number % len(names) == len(names) - 1:
            draw.shuffle(names)


def judge_walks(journeys: Mapping[str, Journey], walks: Iterable[Walk], loaded: LoadResult) -> list[Walked]:
    """Say of each walk what came of it. Those that an interrupt has cut short are left out."""
    operations = {each.number: each for each in loaded.result.history.operations()}
    samples: defaultdict[int | None, list[Sample]] = defaultdict(list)
    for each in loaded.samples:
        samples[each.operation].append(each)
    judged = []
    for walk in walks:
        if walk.steps[-1] < len(loaded.invoked):
            legs = journeys[walk.journey].legs
            numbers = [loaded.invoked[place] for place in walk.steps]
            judged.append(Walked(walk, _wrong(legs, numbers, operations, samples)))
    return judged


def _wrong(
    legs: Sequence[Leg],
    numbers: Sequence[int | None],
    operations: Mapping[int, Operation],
    samples: Mapping[int | None, Sequence[Sample]],
) -> str:
    for place, (leg, number) in enumerate(zip(legs, numbers, strict=True), 1):
        told = f"leg {place}, {leg.operation}"
        if number is None:
            return f"{told}: could not be done"
        done = operations[number]
        if leg.expect == "ok" and not done.ok:
            error = done.completed.data.get("error") if done.completed is not None else "did not return"
            return f"{told}: {error}"
        if leg.expect == "ok" and any(each.measure == SUCCESSES and not each.value for each in samples[number]):
            return f"{told}: was never answered"
        if leg.expect == "refused" and not done.failed:
            return f"{told}: was not refused"
        if leg.result is not None and done.result != leg.result:
            return f"{told}: returned {done.result!r}, not {leg.result!r}"
        objectives = [parse_objective(*each) for each in leg.objectives.items()]
        for judged in judge_objectives(objectives, tallies_of(samples[number])):
            if judged.met is not Met.MET:
                return f"{told}: {judged.objective.measure} {judged.objective} is {judged.met.value}"
    return ""


def worded(walk: Walk) -> str:
    """Say whose walk it is, and when."""
    return f"{user_name(walk.user)} from {walk.begins_s:.1f} s on"
