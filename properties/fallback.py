"""Fallback: the analytics of every answered message arrive exactly once, also while ClickHouse is away.

Lost may be only what a process that died had neither written nor buffered yet, and what it gave up when it could write
neither to ClickHouse nor to Redis. A process that is told to end is no excuse, as long as it was well and could write.
"""

from collections import Counter
from collections.abc import Sequence

import attrs

from properties.observed import leave_unjudged
from properties.places import AGENTS
from properties.storm import ENDS_OF_LIFE, FELT_S, Disturbance, Storm, ends_life
from simulator.history import Event, Kind, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["FALLBACK"]

LAUNCHED_S = 2.0
"""How long after its launch a process has its connections."""
ENOUGH_S = 1.5
ENOUGH_WITHOUT_CLICKHOUSE_S = 2.5
"""How long a process needs to write what it has begun. Without ClickHouse two requests of it time out before."""
AT_ONCE = 4
"""How many rows are written at once; others wait, and are not promised."""
NEEDED = {"lost": (AGENTS,), "not drained": (AGENTS,), "unanswered": ("postgres",)}
NEWS = ("reply_stored", "analytics_written", "analytics_buffered", "analytics_lost")


def check_fallback(history: Reading) -> Violation | Unknown | None:
    """Compare what was answered, written or buffered with the rows that were there when all was quiet."""
    if not any(event.data["store"] == "clickhouse" for event in history.observed("inspected")):
        return Unknown("the analytics table was not inspected")
    leave_unjudged(history, NEEDED)
    rows = Counter(str(event.data["message"]) for event in history.observed("row"))
    for message, count in sorted(rows.items()):
        if count > 1:
            return Violation(f"the analytics of {message} are there {count} times", "twice")
    if not history.observed(*NEWS) and not rows:
        return Unknown("no message was answered")
    account = _account(history)
    if account.given_up:
        return account.given_up[0]
    for message, what in account.due().items():
        if not rows[message]:
            return Violation(f"the analytics of {message} {what} and are gone", "lost")
    for message, at_s in account.buffered.items():
        return Violation(f"the analytics of {message} were buffered at {at_s:.3f} s and never drained", "not drained")
    return _unanswered(history, rows)


def _account(history: Reading) -> "_Account":
    """Return what was said of the analytics until all was quiet."""
    account = _Account(Storm.of(history))
    for event in history.events:
        if event.kind is Kind.MARK and event.name == "quiet":
            break  # what comes now the look into the stores may have missed
        if event.kind is Kind.OBSERVE and event.name in NEWS:
            account.note(event)
        elif event.kind is Kind.FAULT and event.host == AGENTS:
            account.strike(event)
    return account


@attrs.define
class _Account:
    """What is known of the analytics so far."""

    storm: Storm
    open: dict[str, float] = attrs.field(factory=dict)  # answered, not yet written or buffered: since when
    owed: dict[str, str] = attrs.field(factory=dict)
    buffered: dict[str, float] = attrs.field(factory=dict)  # and not yet written: since when
    given_up: list[Violation] = attrs.field(factory=list)

    def due(self) -> dict[str, str]:
        """Return the messages whose analytics must be there, each with the reason."""
        answered = {message: f"were due at {at_s:.3f} s" for message, at_s in self.open.items()}
        return {**answered, **self.owed}

    def note(self, event: Event) -> None:
        """Take in what the agents say of a message."""
        message = str(event.data["message"])
        if event.name == "reply_stored":
            self.open.setdefault(message, event.at_s)
            return
        self.open.pop(message, None)
        if event.name == "analytics_buffered":
            self.buffered.setdefault(message, event.at_s)
        elif event.name == "analytics_written":
            self.buffered.pop(message, None)
        if event.name == "analytics_lost":
            self._give_up(message, event.at_s)
        else:
            self.owed[message] = f"were {event.name.removeprefix('analytics_')} at {event.at_s:.3f} s"

    def strike(self, fault: Event) -> None:
        """Take in that the agents' process ends, or is told to."""
        if fault.name == "terminate" and fault.data["phase"] == "begin" and self._is_graceful(fault.at_s):
            for message, at_s in self.open.items():
                self.owed.setdefault(
                    message, f"were due at {at_s:.3f} s, before the agents were told to end at {fault.at_s:.3f} s,"
                )
        if ends_life(fault):
            self.open.clear()

    def _is_graceful(self, at_s: float) -> bool:
        """Whether a process that is told to end now can write everything."""
        told_to_end = [
            each
            for each in self.storm.disturbances
            if each.kind == "terminate" and each.places == (AGENTS,) and each.began_s >= at_s
        ]
        ended_s = min(each.ended_s for each in told_to_end)  # to be told again only hastens it
        others = [each for each in self._before(at_s, ended_s) if each not in told_to_end]
        enough_s = ENOUGH_WITHOUT_CLICKHOUSE_S if any(map(_is_of_clickhouse, others)) else ENOUGH_S
        return not _hinder(others) and ended_s - at_s >= enough_s and len(self.open) <= AT_ONCE

    def _give_up(self, message: str, at_s: float) -> None:
        """Take in that the analytics of a message were given up: after that nobody owes them, if there was a reason."""
        if not _hinder(self._before(at_s, at_s)):
            said = f"the analytics of {message} were given up at {at_s:.3f} s"
            self.given_up.append(Violation(f"{said}, and for {FELT_S:g} s they could have been written", "lost"))

    def _before(self, from_s: float, to_s: float) -> list[Disturbance]:
        """Return what may have hindered the agents. What ended their process hinders nobody who was launched since."""
        felt = self.storm.felt(from_s, to_s)
        return [each for each in felt if not (_ends_agents(each) and each.ended_s < from_s - LAUNCHED_S)]


def _hinder(disturbances: Sequence[Disturbance]) -> bool:
    """Whether these keep the agents from writing: they struck them, or both of the places where they write."""
    is_away = [any(map(test, disturbances)) for test in (_is_of_clickhouse, _is_of_redis)]
    return all(is_away) or any(each.places == (AGENTS,) for each in disturbances)


def _ends_agents(each: Disturbance) -> bool:
    return each.places == (AGENTS,) and each.kind in (*ENDS_OF_LIFE, "terminate")


def _is_of_clickhouse(each: Disturbance) -> bool:
    return each.touches("clickhouse")


def _is_of_redis(each: Disturbance) -> bool:
    return each.touches("redis") and each.is_among("redis", AGENTS)


def _unanswered(history: Reading, rows: Counter[str]) -> Violation | None:
    """A row is about an answered message, whether that was told (a crash comes between) or seen (it may be recent)."""
    if not any(event.data["store"] == "postgres" for event in history.observed("inspected")):
        return None
    answered = {str(event.data["to"]) for event in history.observed("stored_reply")}
    answered.update(str(event.data["message"]) for event in history.observed("reply_stored"))
    for message in sorted(rows):
        if message not in answered:
            return Violation(f"there is an analytics row of {message}, which was never answered", "unanswered")
    return None


FALLBACK = Property(
    "fallback",
    Expectation.EVENTUALLY,
    check_fallback,
    "the analytics of every answered message arrive exactly once, also while ClickHouse is away",
)
