"""Agents' events: what each agent tells is in the order that the contract states, and users see nothing else.

Not judged: events that were lost.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import attrs

from properties.exchange import user_of
from properties.observed import are_logged
from properties.places import AGENTS
from properties.schema import DOCUMENT
from properties.storm import ends_life
from simulator.history import Event, Reading, Value
from simulator.property import Violation

__all__ = ["check_order", "check_seen"]

_INITIAL: str = DOCUMENT["x-order"]["initial"]
_STATES: Mapping[str, Mapping[str, str]] = DOCUMENT["x-order"]["states"]
_ATTEMPTS: Mapping[str, str] = DOCUMENT["x-order"]["attempts"]


# What agents tell


@attrs.define
class _Agent:
    """How far an agent of a message is, by what it told in one life (0, 1, 2, ...) of its host."""

    life: int = 0
    state: str = _INITIAL
    last: str = "nothing"
    attempt: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)

    def follow(self, event: Event) -> Violation | None:
        """Take the next event."""
        name, attempt = str(event.data["name"]), event.data["attempt"]
        if name not in _STATES[self.state]:
            return Violation(f"{_told(event)}, which cannot follow {self.last}", site="order")
        if not isinstance(attempt, int) or attempt not in self._attempts(name):
            return Violation(f"{_told(event)} as attempt {attempt} after attempt {self.attempt}", site="attempt")
        self.state, self.last, self.attempt = _STATES[self.state][name], name, attempt
        self.counts[name] = attempt
        return None

    def _attempts(self, name: str) -> tuple[int, ...]:
        match _ATTEMPTS[name]:
            case "counted":
                return (1, self.counts[name] + 1)
            case "same":
                return (self.attempt,)
            case _:
                return (1,)


def check_order(history: Reading) -> Iterator[Violation]:
    """Follow every agent of every message through its events."""
    history.observed("agent_event")
    lives: Counter[str] = Counter()
    agents: defaultdict[tuple[Value, ...], _Agent] = defaultdict(_Agent)
    for event in history.events:
        if ends_life(event):
            lives[event.host] += 1
        elif event.name == "agent_event":
            key = (event.data["user"], event.data["message"], event.data["node"])
            if agents[key].life < lives[event.host] and event.data["name"] in _STATES[_INITIAL]:
                # It may begin anew, and need not: a host that is told to end finishes what it can.
                agents[key] = _Agent(lives[event.host])
            violation = agents[key].follow(event)
            if violation is not None:
                yield violation


def _told(event: Event) -> str:
    data = event.data
    return f"{event.host} told {data['name']} of {data['node']} for {data['message']} at {event.at_s:.3f} s"


# What users see of it


class _Told:
    """What agents told for one user, to be compared with what arrives."""

    def __init__(self, *, is_complete: bool) -> None:
        self._is_complete = is_complete
        self._told: list[Event] = []
        self._left: defaultdict[tuple[Value, ...], list[int]] = defaultdict(list)
        self._last = -1
        self._last_id = (-1, -1)

    def add(self, event: Event) -> None:
        """Take what an agent told."""
        data = event.data
        key = (data["message"], data["node"], data["name"], data["attempt"], data["detail"])
        self._left[key].append(len(self._told))
        self._told.append(event)

    def see(self, frame: Event, upsets_s: list[float]) -> Violation | None:
        """Take what arrived. What was under way at an upset may arrive late."""
        data = frame.data
        key = (data["to"], data["node"], data["event"], data["attempt"], data.get("detail", ""))
        seen = f"{user_of(frame)} saw {data['event']} of {data['node']} for {data['to']} at {frame.at_s:.3f} s"
        major, _, minor = str(data["id"]).partition("-")
        if (int(major), int(minor)) <= self._last_id:
            return Violation(f"{seen} as {data['id']}, which is not greater than the id before", site="event id")
        self._last_id = (int(major), int(minor))
        if not self._is_complete:
            return None
        if key not in self._left:
            return Violation(f"{seen}, and no agent told so", site="event")
        left = self._left[key]
        if not left:
            return Violation(f"{seen} more often than agents told so", site="event twice")
        place = bisect_right(left, self._last)
        if place < len(left):
            self._last = left.pop(place)
            return None
        told = self._told[left.pop(0)]
        if any(told.at_s <= upset_s <= frame.at_s for upset_s in upsets_s):
            return None
        return Violation(f"{seen} after what agents told later than that", site="event order")


def check_seen(history: Reading) -> Iterator[Violation]:
    """Compare what each user saw of their agents with what these told: some may be missing, and nothing else.

    Where it is not known what agents told, only that the ids grow.
    """
    is_complete = are_logged(history, AGENTS)
    told: defaultdict[str, _Told] = defaultdict(lambda: _Told(is_complete=is_complete))
    for event in history.observed("agent_event"):
        told[str(event.data["user"])].add(event)
    # An event is passed on once. If that was given up half-way, it may happen later, by what was still on its way.
    upsets_s = [each.at_s for each in history.events if each.name == "events_dropped" or ends_life(each)]
    for frame in history.observed("frame"):
        if frame.data["type"] == "event":
            violation = told[user_of(frame)].see(frame, upsets_s)
            if violation is not None:
                yield violation
