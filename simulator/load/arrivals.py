"""Arrivals: the plan of a load, its operations at the times that the arrival rates give.

An open model: when somebody does something does not depend on how long what went before takes (Schroeder, Wierman,
Harchol-Balter: Open Versus Closed: A Cautionary Tale, NSDI 2006).
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import count, pairwise
from operator import itemgetter

from simulator.errors import InputError
from simulator.fault import Fault
from simulator.history import Value
from simulator.load.profile import Load, Mixed
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait

__all__ = ["numbered", "plan_of"]


def plan_of(
    load: Load,
    mix: Sequence[Mixed],
    arrival: str,
    seed: int,
    *,
    latency_s: float,
    faults: Iterable[tuple[float, Fault]] = (),
) -> Plan:
    """Return the plan of a load. `arrival` is the operation by which a user comes, if the system needs one.

    `faults` strike meanwhile, each at its time in seconds, in order.
    """
    mix = [each for each in load.mix or mix if each.weight]
    if not mix:
        raise InputError("there is nothing that users do. Add a [[mix]] to the load profile, or System.mix.")
    users = (_deeds(load, mix, arrival, user, random.Random(f"{seed} {user}")) for user in range(load.users))
    deeds: list[tuple[float, Do | Strike | Wait]] = [*merge(*users, key=itemgetter(0))]
    if not deeds:
        raise InputError(f"in {load.duration_s:g} s nobody does anything. Give more time, or a higher per_minute.")
    deeds = [(0.0, Wait()), *merge(deeds, ((at_s, Strike(fault)) for at_s, fault in faults), key=itemgetter(0))]
    after_s = [later - now for (now, _), (later, _) in pairwise(deeds)]
    after_s.append(max(0.0, load.duration_s - deeds[-1][0]))
    steps = tuple(Step(action, gap) for (_, action), gap in zip(deeds, after_s, strict=True))
    return Plan(Setting(load.users, latency_s, seed), steps)


def _deeds(
    load: Load, mix: Sequence[Mixed], arrival: str, user: int, draw: random.Random
) -> Iterator[tuple[float, Do]]:
    """Yield what one user does, each with its time in seconds, in order."""
    # Everybody has a part of the time for arriving, so that it is a ramp and not a crowd.
    at_s = load.arrive_within_s * (user + draw.random()) / load.users
    if arrival:
        yield at_s, Do(arrival, user)
    weights = [each.weight for each in mix]
    for number in count():
        at_s += draw.expovariate(load.per_minute / 60.0)
        if at_s > load.duration_s:
            return
        chosen = draw.choices(mix, weights)[0]
        yield at_s, Do(chosen.operation, user, numbered(chosen.arguments, number))


def numbered(arguments: Mapping[str, Value], number: int) -> dict[str, Value]:
    """Return arguments with a number in place of each `{number}` in a text."""
    return {
        name: value.replace("{number}", str(number)) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
