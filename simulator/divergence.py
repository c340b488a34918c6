"""A divergence: two runs of one plan that differ. Where they part, and what in the system may have parted them."""

import contextlib
from collections.abc import Sequence

import attrs
import msgspec

from simulator.errors import DivergenceError, WavetankError
from simulator.history import History, Unseen, Value
from simulator.plan import Plan
from simulator.repetition import Cause, cause_of
from simulator.simulated_run import simulate
from simulator.system import System
from simulator.trace import Trace, event_record
from simulator.watch import Reach, Watch

__all__ = [
    "DIFFERENT",
    "Difference",
    "Record",
    "divergence",
    "first_difference",
    "kept_in",
    "likely_cause",
    "record_of",
]

DIFFERENT = "two runs of one plan differ"
CALLS_MAX = 3
TEXT_MAX = 300
UNSEEN = {
    "now_s": "the exact time",
    "choices": "the weather's choices",
    "turns": "the number of turns that tasks had",
    "drawn": "the bytes drawn from os.urandom",
    "random": "the state of the random module",
}

CAUSES = {
    Cause.OUTSIDE: (
        "Likely cause: a thread, a file, another process or the like, since runs differ also from one state of the "
        "process, and with a counter in place of the real clock."
    ),
    Cause.CLOCK: "Likely cause: the real clock, since runs with a counter in its place are equal.",
    Cause.ENTROPY: "Likely cause: randomness that no world seeds, since runs with a seed in its place are equal.",
    Cause.ADDRESSES: (
        "Likely cause: the order of a set, or id(), since runs differ with the places of objects in memory. "
        "Sort, or use a dict, which keeps its order."
    ),
    Cause.KEPT: (
        "Likely cause: what one run leaves behind for the next (a global, an attribute of a class, a cache), since "
        "runs from one state of the process are equal. Make it in hosts() or in a main, which each run calls anew."
    ),
    Cause.UNKNOWN: "The cause cannot be known: the plan was repeated, and all runs were equal.",
}


@attrs.frozen
class Record:
    """A history as it is compared: plain values, from this process, another one (pickled), or a trace."""

    events: Sequence[dict[str, Value]]
    unseen: Sequence[Unseen]  # none, where it was not kept
    hash: str


@attrs.frozen
class Difference:
    """Where two runs part: the index of the first event at which they do, or how many there are; and in words."""

    index: int
    text: str


def record_of(history: History) -> Record:
    """Return what is compared of a history."""
    return Record(_plain(list(map(event_record, history.events))), tuple(history.unseen), history.hash)


def kept_in(trace: Trace) -> Record:
    """Return what a trace keeps of its history."""
    return Record(_plain(trace.events), (), trace.hash)


def _plain(events: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    """As JSON has them: a trace gives a tuple back as a list."""
    return msgspec.json.decode(msgspec.json.encode(events), type=list[dict[str, Value]])


def first_difference(one: Record, other: Record) -> Difference | None:
    """Say where two runs of one plan differ first, both sides of it; None when they do not."""
    if one.hash == other.hash:
        return None
    seen = _first(one.events, other.events)
    unseen = _first(one.unseen, other.unseen) if one.unseen and other.unseen else None
    told = []
    if unseen is not None and (seen is None or unseen < seen):
        left, right = one.unseen[unseen], other.unseen[unseen]
        differing = [UNSEEN[name] for name in UNSEEN if getattr(left, name) != getattr(right, name)]
        told.append(
            f"No event shows it, but at index={unseen}, {_moment(one.events[unseen])}, and not before, "
            f"there is a difference in {' and '.join(differing)}."
        )
    if seen is not None:
        told.append(
            f"First differing event: index={seen}\n"
            f"  once  {_words(one.events, other.events, seen)}\n"
            f"  then  {_words(other.events, one.events, seen)}"
        )
    if not told:
        told.append("Their events are equal; what differs is a step, or what a trace does not keep.")
    parted = [each for each in (seen, unseen) if each is not None]
    return Difference(min(parted, default=len(one.events)), "\n".join(told))


def _first(one: Sequence[object], other: Sequence[object]) -> int | None:
    shorter = min(len(one), len(other))
    differing = (index for index in range(shorter) if one[index] != other[index])
    return next(differing, None if len(one) == len(other) else shorter)


def _moment(event: dict[str, Value]) -> str:
    return f"{event['kind']} {event['name']} on {event['host'] or 'no host'} at {event['at_s']} s"


def _words(events: Sequence[dict[str, Value]], others: Sequence[dict[str, Value]], index: int) -> str:
    """Tell an event, of its data first what the other one has otherwise."""
    if index >= len(events):
        return "nothing: the run has ended"
    data = events[index].get("data", {})
    there = others[index].get("data", {}) if index < len(others) else {}
    assert isinstance(data, dict)
    assert isinstance(there, dict)
    ordered = sorted(data, key=lambda key: key in there and there[key] == data[key])
    told = ", ".join(f"{key}={data[key]!r}" for key in ordered)
    text = _moment(events[index]) + (f" with {told}" if told else "")
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + " ..."


def divergence(system: System, plan: Plan, one: Record, other: Record) -> DivergenceError:
    """Return the error that says where two runs of one plan differ, and why.

    To find out why, the plan is run again, a dozen times.
    """
    difference = first_difference(one, other)
    assert difference is not None
    return DivergenceError(
        f"{DIFFERENT}, so something in the system or in wavetank is not deterministic.\n"
        f"{difference.text}\n{likely_cause(system, plan, difference.index)}"
    )


def likely_cause(system: System, plan: Plan, index: int) -> str:
    """Say what may make the runs of a plan differ at the event of this index, as far as it can be known."""

    def run() -> str:
        return simulate(system, plan, ()).history.hash

    cause = cause_of(run)
    with Watch(index) as watch, contextlib.suppress(WavetankError):
        run()
    calls = [each for each in watch.calls if (each.reach is Reach.ADDRESS) == (cause is Cause.ADDRESSES)]
    calls = [each for each in calls if each.reach.name == cause.name] or calls
    told = [CAUSES[cause]]
    if watch.event_place is not None:
        told.append(f"What differs was recorded at {watch.event_place}.")
    if calls and cause is not Cause.KEPT:
        told.append("Called before that, and controlled by no world:")
        told += [
            f"  {each.function}() at {each.place}" + (f", through {each.library}" if each.library else "")
            for each in calls[:CALLS_MAX]
        ]
        told += [f"  and {len(calls) - CALLS_MAX} more"] if len(calls) > CALLS_MAX else []
        told += dict.fromkeys(each.reach.value for each in calls[:CALLS_MAX])
    elif cause in (Cause.OUTSIDE, Cause.CLOCK, Cause.ENTROPY):
        told.append("No call of such a thing was seen: where it is cannot be known.")
    return "\n".join(told)
