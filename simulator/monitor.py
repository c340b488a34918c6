"""Watches a system by what it is seen to do: a history that grows for hours, judged again and again, and kept small."""

from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from simulator.errors import SystemFailedError
from simulator.history import Event, History, Kind
from simulator.property import Outcome, Property, Verdict, Violation
from simulator.redaction import redacted, redacted_value
from simulator.system import System

__all__ = ["EVENTS_MAX", "Monitor", "Sighting", "Standing"]

EVENTS_MAX = 20_000
"""How many events are kept at most, however short a time they fill."""
OVERHANG = 1.5
"""How many windows are kept before all but the last one is dropped: so that this is done now and then, not always, and
that whatever lies within one window is judged as a whole at least once."""


@attrs.define
class Standing:
    """What is known of one promise by now.

    `examined` counts, per kind, the most that was examined at once. `held` says whether it ever held, `violations`
    are those that were told; `missing` is why it was unknown when it was judged last.
    """

    promise: Property
    held: bool = False
    examined: Counter[str] = attrs.field(factory=Counter)
    violations: "list[Sighting]" = attrs.field(factory=list)
    missing: str = "nothing was seen"
    under_way: str | None = None  # the site at which it was violated when it was judged last

    @property
    def outcome(self) -> Outcome:
        """What it comes to."""
        if self.violations:
            return Outcome.VIOLATED
        return Outcome.HOLDS if self.held else Outcome.UNKNOWN

    def note(self, verdict: Verdict) -> Violation | None:
        """Take the next verdict, and return a violation that was not there at the last one."""
        self.examined |= Counter(verdict.examined)
        self.held |= verdict.outcome is Outcome.HOLDS
        self.missing = verdict.missing
        before, violation = self.under_way, verdict.violation
        self.under_way = violation.site if violation is not None else None
        return violation if self.under_way != before else None


@attrs.frozen
class Sighting:
    """A violation, and when it was noticed, in seconds since the beginning."""

    property: str
    violation: Violation
    at_s: float


class Monitor:
    """Judges *always* and *eventually* promises on events that are added as they come.

    The history is only a part, of which promises that are not declared `in_parts` are unknown, unless it begins with
    the start of a run and is judged at its end, before anything was dropped.
    """

    def __init__(self, system: System, properties: Iterable[Property], window_s: float) -> None:
        self.standings = [Standing(each) for each in properties]
        self.count = 0
        """How many events were added."""
        self.latest_s = 0.0
        """The time of the last of them."""
        self._declared = tuple(system.operations())
        self._window_s = window_s
        self._now_s = 0.0
        self._history = self._new_history()
        self._is_whole = False
        self._judged = 0

    def add(self, event: Event) -> Event:
        """Take an event, and return it as it is kept: without known secrets, and never before the last one."""
        if self.count == 0:
            self._is_whole = event.kind is Kind.MARK and event.name == "start"
        self.count += 1
        self.latest_s = max(self.latest_s, event.at_s)
        data = {redacted(key): redacted_value(value) for key, value in event.data.items()}
        return self._record(attrs.evolve(event, at_s=self.latest_s, data=data))

    @property
    def is_full(self) -> bool:
        """Whether more is kept than need be, so that `drop` should be called after the next judgement."""
        events = self._history.events
        is_long = bool(events) and self.latest_s - events[0].at_s > OVERHANG * self._window_s
        return is_long or len(events) >= EVENTS_MAX

    def judge(self, *, at_end: bool = False) -> list[Sighting]:
        """Judge what is kept, if there is anything new, and return what is violated and was not the last time."""
        if self._judged == self.count and not at_end:
            return []
        self._judged = self.count
        self._history.is_part = not (self._is_whole and at_end)
        return [*self._judge()]

    def drop(self) -> None:
        """Drop what is older than the window, and of too many events the older half."""
        events = self._history.events[-(EVENTS_MAX // 2) :]
        self._history, self._is_whole = self._new_history(), False
        for each in events:
            if each.at_s >= self.latest_s - self._window_s:
                self._record(each)

    def _judge(self) -> Iterator[Sighting]:
        for standing in self.standings:
            try:
                verdict = standing.promise.judge(self._history)
            except SystemFailedError as error:  # what hosts log is not always such as a check expects
                verdict = Verdict(Outcome.UNKNOWN, {}, missing=str(error))
            violation = standing.note(verdict)
            if violation is not None:
                sighting = Sighting(standing.promise.name, violation, self.latest_s)
                standing.violations.append(sighting)
                yield sighting

    def _record(self, event: Event) -> Event:
        self._now_s = event.at_s
        return self._history.record(event.kind, event.host, event.name, event.data, event.operation)

    def _new_history(self) -> History:
        history = History(lambda: self._now_s)
        history.declared = self._declared
        return history
