"""The nearest passing variant of a failing plan: the same but for one thing, and the moment at which the two part."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs
import msgspec

from simulator.candidates import calmer, nearer, with_step, without_steps
from simulator.history import Event, History, Kind
from simulator.plan import Plan, Strike
from simulator.run import Result
from simulator.story import tell_deviation

__all__ = ["Variant", "nearest_passing"]

_TOLD = (Kind.OBSERVE, Kind.OK, Kind.FAIL, Kind.INFO)
_SHOWN_MAX = 110


@attrs.frozen
class Variant:
    """A plan that passes: what it is without, and what both histories say where they first differ, if they do."""

    plan: Plan
    without: str
    failing: str
    passing: str


def nearest_passing(failing: Plan, history: History, run: Callable[[Plan], Result]) -> Variant | None:
    """Return the first variant that breaks no promise, in the order of how little is changed; None if all break one."""
    for plan, without in _variants(failing):
        result = run(plan)
        if not result.violated:
            return Variant(plan, without, *_first_difference(history, result.history))
    return None


def _variants(plan: Plan) -> Iterator[tuple[Plan, str]]:
    """Yield the plan without one thing: a deviation or a storm, else a host far away, else a fault; the last first.

    Without an operation it passes too, since none is left that is not needed, but that tells nothing.
    """
    steps = list(enumerate(plan.steps))[::-1]
    for index, step in steps:
        for place, each in enumerate(step.deviations):
            rest = (*step.deviations[:place], *step.deviations[place + 1 :])
            without = with_step(plan, index, msgspec.structs.replace(step, deviations=rest))
            yield without, f"unless {tell_deviation(each)}"
        if step.weather:
            yield next(calmer(plan, index)), f"in calm weather at step {index + 1}"
    for host, seconds in plan.setting.latencies.items():
        yield nearer(plan, host), f"unless {host} is {seconds * 1000:g} ms away"
    for index, step in steps:
        if isinstance(step.action, Strike):
            yield next(without_steps(plan, index, index + 1)), f"without step {index + 1}"


def _first_difference(failing: History, passing: History) -> tuple[str, str]:
    """Word what happens first in only one of them, or, when only the order differs, where it first does.

    Faults and the beginnings of operations are left out: those differ by design.
    """
    one, other = ([event for event in each.events if event.kind in _TOLD] for each in (failing, passing))
    only = _first_only(one, other), _first_only(other, one)
    if only == (None, None):
        only = next((both for both in zip(one, other, strict=True) if _key(both[0]) != _key(both[1])), only)
    return _worded(only[0]), _worded(only[1])


def _first_only(events: Sequence[Event], others: Sequence[Event]) -> Event | None:
    """Return the first event that is not among the others, at whatever time."""
    left = Counter(map(_key, others))
    for event in events:
        key = _key(event)
        if not left[key]:
            return event
        left[key] -= 1
    return None


def _key(event: Event) -> bytes:
    return msgspec.json.encode((event.kind.value, event.host, event.name, event.data))


def _worded(event: Event | None) -> str:
    if event is None:
        return "nothing more"
    said = ", ".join(f"{name}={value!r}" for name, value in event.data.items())
    return f"{event.at_s:8.3f} s  {event.host} {event.name} {said}"[:_SHOWN_MAX]
