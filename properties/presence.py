"""Presence: when each user's device was connected, in which session, what came in, and what the user did meanwhile."""

from collections import defaultdict
from math import inf
from typing import Self

import attrs

from properties.exchange import user_of
from simulator.history import Event, Operation, Reading

__all__ = ["Connection", "Interludes", "connections", "ended_s_of", "is_refused_refresh"]


@attrs.define
class Connection:
    """One connection of a user's device: welcomed in a session, and lost at `ended_s` (inf: never)."""

    user: str
    session: str
    began_s: float
    frames: list[Event] = attrs.field(factory=list)
    ended_s: float = inf

    def lasted(self, from_s: float, to_s: float) -> bool:
        """Whether it was there all the time."""
        return self.began_s <= from_s and self.ended_s >= to_s


def connections(history: Reading) -> dict[str, list[Connection]]:
    """Return each user's connections, one after another: a device has one at a time."""
    found: defaultdict[str, list[Connection]] = defaultdict(list)
    for event in history.observed("frame", "client_state"):
        user = user_of(event)
        latest = found[user][-1] if found[user] else None
        is_welcome = event.name == "frame" and event.data["type"] == "welcome"
        is_end = event.name == "client_state" and event.data["state"] != "connected"
        if latest is not None and latest.ended_s == inf and (is_welcome or is_end):
            latest.ended_s = event.at_s
        if is_welcome:
            latest = Connection(user, str(event.data["session"]), event.at_s)
            found[user].append(latest)
        if event.name == "frame" and latest is not None and latest.ended_s == inf:
            latest.frames.append(event)
    return found


def is_refused_refresh(frame: Event) -> bool:
    """Whether a device that is connected is told that it gets no new token."""
    return frame.data["type"] == "error" and frame.data["code"] == "unavailable" and not frame.data.get("id")


def ended_s_of(operation: Operation) -> float:
    """Return when an operation ended; inf while it is open."""
    return operation.completed.at_s if operation.completed is not None else inf


@attrs.frozen
class Interludes:
    """When each user was at some operations of theirs: logging out, say, or not reading for the time that was named."""

    spans: dict[str, list[tuple[float, float]]]

    @classmethod
    def of(cls, history: Reading, *names: str) -> Self:
        """Collect the operations of these names."""
        found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for each in history.operations(*names):
            for_s = float(each.arguments.get("for_s") or 0.0)  # type: ignore[arg-type]
            began_s = each.invoked.at_s
            found[each.user].append((began_s, max(ended_s_of(each), began_s + for_s)))
        return cls(found)

    def during(self, user: str, from_s: float, to_s: float) -> bool:
        """Whether a user was at one at some moment of a span."""
        return self.count(user, from_s, to_s) > 0

    def count(self, user: str, from_s: float, to_s: float) -> int:
        """Return how many of them a user was at in a span."""
        return sum(began_s <= to_s and ended_s >= from_s for began_s, ended_s in self.spans.get(user, ()))

    def next_s(self, user: str, from_s: float) -> float:
        """Return when a user was at one for the first time, from a moment on; inf if never."""
        begun = (max(began_s, from_s) for began_s, ended_s in self.spans.get(user, ()) if ended_s >= from_s)
        return min(begun, default=inf)

    def time_s(self, user: str, from_s: float, to_s: float) -> float:
        """Return how much of a span a user was at them, each counted on its own."""
        return sum(max(0.0, min(ended, to_s) - max(began, from_s)) for began, ended in self.spans.get(user, ()))
