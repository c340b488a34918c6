"""Anchors: what must have been seen before a step is taken, so that real time need not resemble simulated time."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import trio

from simulator.history import Event, History, Kind, Value
from simulator.plan import Do, Plan, Strike, Wait
from simulator.redaction import redacted, redacted_value
from simulator.user import user_name

__all__ = ["Seen", "WatchedHistory", "anchors_of", "begins_step"]

Seen = Counter[tuple[str, str]]
"""How often each user saw or completed something of each sort."""


def anchors_of(plan: Plan, events: Sequence[Mapping[str, Value]]) -> list[Seen | None]:
    """Return, per step, what users had seen and completed before it began in simulation; None if it never began.

    `events` are a trace's; without any, nothing is waited for. A step does not begin when it makes no sense, such as
    a question of a user who is not connected.
    """
    begun: list[tuple[Mapping[str, Value], Seen]] = []
    seen: Seen = Counter()
    for event in events:
        if begins_step(event):
            begun.append((event, seen.copy()))
        elif _is_users(str(event["host"]), str(event["kind"])):
            seen[str(event["host"]), _sort_of(str(event["name"]), event.get("data"))] += 1
    anchors: list[Seen | None] = []
    for step in plan.steps:
        if isinstance(step.action, Wait) or not events:
            anchors.append(Counter())
        elif begun and _is_of(begun[0][0], step.action):
            anchors.append(begun.pop(0)[1])
        else:
            anchors.append(None)
    return anchors


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


def _is_users(host: str, kind: str) -> bool:
    return host.startswith("user:") and kind in (Kind.OK.value, Kind.FAIL.value, Kind.INFO.value, Kind.OBSERVE.value)


class WatchedHistory(History):
    """A history that wakes whoever waits for users to have seen something: at that moment, without polling."""

    def __init__(self) -> None:
        self._begun_s = trio.current_time()
        self._begun_at_s = time.time()
        self._logged_s: float | None = None
        super().__init__(self._now_s)
        self._seen: Seen = Counter()
        self._changed = trio.lowlevel.ParkingLot()

    def record(
        self, kind: Kind, host: str, name: str, data: Mapping[str, Value] | None = None, operation: int | None = None
    ) -> Event:
        """Append one event, without the secrets that are known."""
        if _is_users(host, kind.value):
            self._seen[host, _sort_of(name, data)] += 1
            self._changed.unpark_all()
        kept = {redacted(key): redacted_value(value) for key, value in (data or {}).items()}
        return super().record(kind, host, name, kept, operation)

    def record_logged(self, host: str, name: str, data: Mapping[str, Value], logged_at_s: float) -> None:
        """Append what a host logged a moment ago, with the time of that, but never one before the last event's.

        `logged_at_s` is in seconds since the epoch.
        """
        latest_s = self.events[-1].at_s if self.events else 0.0
        self._logged_s = max(latest_s, min(logged_at_s - self._begun_at_s, self._now_s()))
        try:
            self.record(Kind.OBSERVE, host, name, data)
        finally:
            self._logged_s = None

    def _now_s(self) -> float:
        return trio.current_time() - self._begun_s if self._logged_s is None else self._logged_s

    def missing(self, anchor: Seen) -> Seen:
        """Return what of an anchor was not seen yet."""
        return anchor - self._seen

    async def wait_seen(self, anchor: Seen) -> None:
        """Wait until all of an anchor was seen."""
        while self.missing(anchor):
            await self._changed.park()
