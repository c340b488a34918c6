"""What live runs come to: counts, intervals, what says nothing, and both sides of a step."""

import pytest

from simulator.history import Kind, Value
from simulator.live.beside import ROWS_MAX, beside, shown_after
from simulator.live.run import Stray
from simulator.live.verdict import Finding, LiveVerdict, RunVerdict
from wavetank.live import EXIT_CODES

STRAY = Stray(2, "before step 2 did not happen: frame ack of alice", 7)


def verdict(*findings: Finding) -> LiveVerdict:
    return LiveVerdict(
        tuple(RunVerdict(each, "", (STRAY,) if each is Finding.DIVERGED else (), 1.0) for each in findings)
    )


R, E, U, D, H = Finding.REPRODUCED, Finding.ELSEWHERE, Finding.UNKNOWN, Finding.DIVERGED, Finding.HELD


@pytest.mark.parametrize(
    ("findings", "finding", "reproduced", "of", "exit_code"),
    [
        ((R, R, R), R, 3, 3, 1),
        ((R, H, H), R, 1, 3, 1),
        ((R, D, U), R, 1, 1, 1),
        ((H, H), H, 0, 2, 0),
        ((H, E), E, 0, 2, 1),
        ((H, D, U), H, 0, 1, 0),
        ((D, D), D, 0, 0, 3),
        ((U, D), U, 0, 0, 2),
        ((U,), U, 0, 0, 2),
    ],
)
def test_runs_that_say_nothing_are_not_counted_as_passes(
    findings: tuple[Finding, ...], finding: Finding, reproduced: int, of: int, exit_code: int
) -> None:
    """Reproduced once is reproduced; a run that went its own way, or could not be judged, clears nobody."""
    found = verdict(*findings)
    assert found.finding is finding
    assert (found.reproduced.failed, found.reproduced.runs) == (reproduced, of)
    assert EXIT_CODES[found.finding] == exit_code


def test_where_runs_part_from_the_simulation_is_told_of_the_first() -> None:
    """It is there that the model is wrong."""
    assert verdict(H, D, D).diverged is STRAY
    assert verdict(H).diverged is None


def event(kind: Kind, host: str, name: str, **data: Value) -> dict[str, Value]:
    return {"at_s": 0.0, "kind": kind.value, "host": host, "name": name, "data": data}


def run(*seen: str, stream_id: str) -> list[dict[str, Value]]:
    return [
        event(Kind.INVOKE, "user:alice", "connect"),
        event(Kind.OBSERVE, "user:alice", "frame", type="welcome"),
        event(Kind.FAULT, "redis", "crash", phase="begin"),
        event(Kind.OBSERVE, "gateway-a", "drain_failed", error="ConnectionError"),
        event(Kind.FAULT, "redis", "crash", phase="end"),
        event(Kind.INVOKE, "user:alice", "ask", question="why?"),
        *(event(Kind.OBSERVE, "user:alice", "frame", type=each, id=stream_id) for each in seen),
        event(Kind.OK, "user:alice", "ask", result="alice-1"),
    ]


def test_what_users_saw_after_a_step_is_told_without_what_differs_by_the_time_of_day() -> None:
    """Of hosts' logs nothing: they come when they come. A stream's entry is the first in both, whatever its name."""
    events = run("ack", "reply", stream_id="1750000000123-0")
    assert shown_after(events, 1) == ["alice frame type=welcome"]
    assert shown_after(events, 2) == []
    assert shown_after(events) == [
        "alice frame type=ack, id=#1",
        "alice frame type=reply, id=#1",
        "alice ask ok result=alice-1",
    ]
    assert shown_after(events) == shown_after(run("ack", "reply", stream_id="1799999999999-1"))


def test_both_sides_are_told_line_by_line() -> None:
    """What only one of them shows has a gap beside it."""
    simulated = shown_after(run("ack", "reply", stream_id=""))
    live = shown_after(run("ack", "error", stream_id=""))
    assert beside(simulated, live) == [
        ("alice frame type=ack, id=", "alice frame type=ack, id="),
        ("alice frame type=reply, id=", ""),
        ("", "alice frame type=error, id="),
        ("alice ask ok result=alice-1", "alice ask ok result=alice-1"),
    ]


def test_of_many_lines_those_around_the_first_difference_are_told() -> None:
    """A long step fills more than a screen."""
    same = [f"line {number}" for number in range(200)]
    rows = beside([*same[:100], "only simulated", *same[100:]], same)
    assert len(rows) == ROWS_MAX
    assert ("only simulated", "") in rows
    assert len(beside(same, same)) == ROWS_MAX
