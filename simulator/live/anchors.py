"""Anchors: what must have been seen before a step is taken, so that real time need not resemble simulated time."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
import trio

from simulator.history import Event, History, Kind, Value
from simulator.plan import Do, Plan, Strike, Wait
from simulator.redaction import redacted, redacted_value
from simulator.user import user_name

__all__ = ["Anchors", "Seen", "WatchedHistory", "anchors_of", "begins_step"]

Seen = Counter[tuple[str, str]]
"""How often each user, or host, saw or completed something of each sort."""

_SEEN = (Kind.OK.value, Kind.FAIL.value, Kind.INFO.value, Kind.OBSERVE.value)


@attrs.frozen
class Anchors:
    """By what each step of a plan is held in its place, in the order of the steps.

    `before` is what users had seen and completed before it began in simulation; None if it never began there, as a
    question of a user who is not connected. `told` is what hosts had told before it, of a fault: what they have just
    done is not to be struck by it. `during` is what was seen on any host while its fault lasted: a fault that ends
    before it has had its effect is none, and how long that takes is not the same in reality.
    """

    before: tuple[Seen | None, ...]
    told: tuple[Seen, ...]
    during: tuple[Seen, ...]


def anchors_of(plan: Plan, events: Sequence[Mapping[str, Value]]) -> Anchors:
    """Return the anchors that follow from a simulation; its events are such as a trace keeps.

    Without any events, nothing is waited for.
    """
    begun = [(place, event) for place, event in enumerate(events) if begins_step(event)]
    before: list[Seen | None] = []
    told: list[Seen] = []
    during: list[Seen] = []
    for step in plan.steps:
        before.append(Counter() if isinstance(step.action, Wait) or not events else None)
        told.append(Counter())
        during.append(Counter())
        if not isinstance(step.action, Wait) and begun and _is_of(begun[0][1], step.action):
            place, _ = begun.pop(0)
            before[-1] = _seen(events[:place], of_users=True)
            if isinstance(step.action, Strike):
                told[-1] = _seen(events[:place], of_users=False)
                during[-1] = _seen(_while_lasting(events[place:]), of_users=False)
    return Anchors(tuple(before), tuple(told), tuple(during))


def _seen(events: Iterable[Mapping[str, Value]], *, of_users: bool) -> Seen:
    seen: Seen = Counter()
    for event in events:
        host, kind = str(event["host"]), str(event["kind"])
        if kind in _SEEN and (host.startswith("user:") or not of_users):
            seen[host, _sort_of(str(event["name"]), event.get("data"))] += 1
    return seen


def _while_lasting(events: Sequence[Mapping[str, Value]]) -> Iterator[Mapping[str, Value]]:
    """Yield what follows the beginning of a fault, the first of these, until its end."""
    begin = events[0]
    for event in events[1:]:
        if _ends(event, begin):
            return
        yield event


def _ends(event: Mapping[str, Value], begin: Mapping[str, Value]) -> bool:
    """Say whether an event ends the fault that another began: it tells the same of it, or everything is healed."""
    if event["kind"] == Kind.MARK.value:
        return event["name"] == "heal"
    data, begun = event.get("data"), begin.get("data")
    if event["kind"] != Kind.FAULT.value or event["name"] != begin["name"]:
        return False
    return isinstance(data, Mapping) and isinstance(begun, Mapping) and {**begun, "phase": "end"} == dict(data)


def begins_step(event: Mapping[str, Value]) -> bool:
    """Say whether an event of a trace is the beginning of a step. One in which time only passes has none."""
    data = event.get("data")
    begins = isinstance(data, dict) and data.get("phase") == "begin"
    return event["kind"] == Kind.INVOKE.value or (event["kind"] == Kind.FAULT.value and begins)


def _is_of(event: Mapping[str, Value], action: Do | Strike) -> bool:
    if isinstance(action, Do):
        return (event["name"], event["host"]) == (action.operation, f"user:{user_name(action.user)}")
    return (event["name"], event["host"]) == (action.fault.kind, action.fault.at[0])


def _sort_of(name: str, data: object) -> str:
    """Return the name and, where what was observed has one, its `type`: a frame in place of another is none."""
    kind = data.get("type") if isinstance(data, Mapping) else None
    return f"{name} {kind}" if isinstance(kind, str) else name


class WatchedHistory(History):
    """A history that wakes whoever waits for users to have seen something: at that moment, without polling."""

    def __init__(self) -> None:
        self._begun_s = trio.current_time()
        self._begun_at_s = time.time()
        self.present_s: float | None = None
        """The moment that is taken for the present, in seconds since the run began; None for that of the clock."""
        super().__init__(self._now_s)
        self._seen: Seen = Counter()
        self._changed = trio.lowlevel.ParkingLot()

    def record(
        self, kind: Kind, host: str, name: str, data: Mapping[str, Value] | None = None, operation: int | None = None
    ) -> Event:
        """Append one event, without the secrets that are known."""
        if kind.value in _SEEN:
            self._seen[host, _sort_of(name, data)] += 1
            self._changed.unpark_all()
        kept = {redacted(key): redacted_value(value) for key, value in (data or {}).items()}
        return super().record(kind, host, name, kept, operation)

    def since_epoch(self, epoch_s: float) -> float:
        """Return which moment of the run a time in seconds since the epoch is."""
        return epoch_s - self._begun_at_s

    def record_at(self, event: Event) -> None:
        """Append what happened at its time, but never at one before the last event's or after now."""
        present_s = self.present_s
        self.present_s = max(self.events[-1].at_s if self.events else 0.0, min(event.at_s, self.clock_s))
        try:
            self.record(event.kind, event.host, event.name, event.data, event.operation)
        finally:
            self.present_s = present_s

    def _now_s(self) -> float:
        return self.clock_s if self.present_s is None else self.present_s

    @property
    def clock_s(self) -> float:
        """The present moment by the clock, in seconds since the run began."""
        return trio.current_time() - self._begun_s

    def further(self, seen: Seen) -> Seen:
        """Return what will have been seen when all this has been seen once more, from now on."""
        return Counter({key: self._seen[key] + count for key, count in seen.items()})

    def missing(self, anchor: Seen) -> Seen:
        """Return what of an anchor was not seen yet."""
        return anchor - self._seen

    async def wait_seen(self, anchor: Seen) -> None:
        """Wait until all of an anchor was seen."""
        while self.missing(anchor):
            await self._changed.park()
