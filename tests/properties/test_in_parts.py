"""Promises on a part of what happened, as it is observed: neither users nor faults are seen, nor how it began."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.system import system
from properties import PROMISES
from simulator.history import Event, History, Kind
from simulator.property import Expectation, Outcome
from simulator.simulated_run import simulate
from simulator.trace import load_trace

TRACES = Path(__file__).parents[1] / "traces"
JUDGED = [each for each in PROMISES if each.expectation is not Expectation.SOMETIMES]


def told_by_hosts(name: str, *defects: str) -> list[Event]:
    """What the platform logs, and its stores hold, when users and faults do what is in a trace."""
    events = simulate(system.with_defects(defects), load_trace(TRACES / f"{name}.json").plan, ()).history.events
    return [
        each
        for each in events
        if each.kind is Kind.OBSERVE and each.name != "holdings" and each.host and not each.host.startswith("user:")
    ]


def part(events: Sequence[Event], *, is_part: bool = True) -> History:
    at_s = [0.0]
    history = History(lambda: at_s[0])
    history.is_part = is_part
    for each in events:
        at_s[0] = each.at_s
        history.record(each.kind, each.host, each.name, each.data)
    return history


def violated(history: History) -> list[str]:
    return [each.name for each in JUDGED if each.judge(history).outcome is Outcome.VIOLATED]


@pytest.mark.parametrize(
    "name",
    [
        "analytics-in-the-way",
        "completed-before-tool",
        "buffer-trimmed-by-count",
        "dependents-start-early",
        "resume-skips-missed",
        "unconfirmed-stored-anew",
    ],
)
def test_no_part_of_a_good_run_is_a_violation(name: str) -> None:
    """A monitor that cries wolf is switched off. As it is judged whole, most of these would be several violations."""
    events = told_by_hosts(name)
    chance = random.Random(name)
    assert violated(part(events, is_part=False))
    for _ in range(20):
        begin, end = sorted((chance.randrange(len(events)), chance.randrange(len(events) + 1)))
        assert violated(part(events[begin:end])) == []


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("answered-twice", "contract"),
        ("failed-probe-closes", "breaker"),
        ("half-open-stampede", "breaker"),
        ("refusals-count-as-failures", "breaker"),
    ],
)
def test_what_hosts_tell_shows_some_defects(name: str, promise: str) -> None:
    """Without users, faults and the beginning. The same steps without the defect break nothing."""
    assert violated(part(told_by_hosts(name, name))) == [promise]
    assert violated(part(told_by_hosts(name))) == []


def test_what_a_part_shows_is_a_violation() -> None:
    """In the logs alone: the session of one user in what is told of another; and a row that is none."""
    opened = [
        Event(0, 1.0, Kind.OBSERVE, "gateway-a", "session_begun", {"user": "alice", "session": "s-1"}),
        Event(0, 2.0, Kind.OBSERVE, "gateway-a", "message_accepted", {"user": "bob", "message": "bob-1"}),
    ]
    assert violated(part(opened)) == []
    leaked = Event(0, 3.0, Kind.OBSERVE, "gateway-a", "caught_up", {"user": "bob", "connection": "s-1"})
    row = Event(0, 3.0, Kind.OBSERVE, "agents", "analytics_written", {"event_id": 7, "path": "direct"})
    assert violated(part([*opened, leaked])) == ["isolation"]
    assert violated(part([*opened, row])) == ["contract"]
