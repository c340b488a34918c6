"""Agents' events over WebSocket: each kind reaches its user, in its order, and nobody else.

By pytest, or as a script with the options of `wavetank contract`, which holds every message to the contract:
python tests/mission_critical/test_websocket_agent_events_suite.py --target target.toml
"""

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest

from models.system import system
from simulator.fault import Fault
from simulator.history import History, Value
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.property import Outcome
from simulator.run import Result
from simulator.simulated_run import simulate
from tests.thin import become

EVENTS = (
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
    "agent_failed",
)
WORKFLOW: dict[str, Value] = {"triage-1": [], "data-2": ["triage-1"], "report-3": ["data-2"]}
ASKED: dict[str, Value] = {"question": "why is it slow?", "thread": 1, "workflow": WORKFLOW}


@pytest.fixture(scope="module")
def result() -> Result:
    """Two users ask while all is well, and again while what agents ask is away."""
    steps = [
        *(Step(Do("connect", user), 0.5) for user in (0, 1)),
        *(Step(Do("run_workflow", user, ASKED), 4.0) for user in (0, 1)),
        Step(Strike(Fault("llm-malformed", ("llm",), 6.0)), 0.0),
        Step(Strike(Fault("crash", ("clickhouse",), 6.0)), 0.1),
        *(Step(Do("run_workflow", user, ASKED | {"question": "and now?"}), 4.0) for user in (0, 1)),
    ]
    made = simulate(system, Plan(Setting(users=2), tuple(steps)), system.all_properties())
    assert not made.violated
    return made


def seen_by(history: History, user: str) -> list[Mapping[str, Value]]:
    return [
        event.data
        for event in history.observed("frame")
        if event.host == f"user:{user}" and event.data["type"] == "event"
    ]


@pytest.mark.parametrize("name", EVENTS[:-1])
def test_each_kind_of_event_reaches_both_users(result: Result, name: str) -> None:
    for user in ("alice", "bob"):
        assert name in [each["event"] for each in seen_by(result.history, user)]


def test_events_come_in_their_order(result: Result) -> None:
    """Of each agent of each message: it starts first, thinks or uses tools, and ends once."""
    for user in ("alice", "bob"):
        by_agent: dict[tuple[Value, Value], list[Value]] = {}
        for each in seen_by(result.history, user):
            by_agent.setdefault((each["to"], each["node"]), []).append(each["event"])
        assert len(by_agent) >= 3
        for names in by_agent.values():
            if names == ["agent_skipped"]:  # what it needs failed
                continue
            assert names[0] == "agent_started"
            assert names[-1] in ("agent_completed", "agent_failed")
            assert sum(name in ("agent_completed", "agent_failed") for name in names) == 1
            for begun in [place for place, name in enumerate(names) if name == "tool_executing"]:
                assert "tool_completed" in names[begun + 1 :] or names[-1] == "agent_failed"


def test_nobody_sees_events_of_others(result: Result) -> None:
    for user in ("alice", "bob"):
        assert {str(each["to"]).partition("-")[0] for each in seen_by(result.history, user)} == {user}
    assert result.verdicts["isolation"].outcome is Outcome.HOLDS


def test_events_are_as_the_contract_says(result: Result) -> None:
    assert result.verdicts["contract"].outcome is Outcome.HOLDS
    assert result.verdicts["contract"].examined["agent_event"] > 20


def test_every_message_is_answered_in_the_end(result: Result) -> None:
    for user in ("alice", "bob"):
        replies = [
            event.data
            for event in result.history.observed("frame")
            if event.host == f"user:{user}" and event.data["type"] == "reply"
        ]
        assert [each["seq"] for each in replies] == [1, 2]
        assert replies[0]["status"] == "done"


@pytest.mark.parametrize("defect", ["completed-before-tool", "dependents-start-early", "context-logged"])
def test_a_broken_agent_is_noticed(defect: str) -> None:
    planted = system.with_defects([defect])
    steps = [Step(Do("connect", user), 0.5) for user in (0, 1)]
    fan: dict[str, Value] = {"triage-1": [], "data-2": [], "report-3": ["triage-1", "data-2"]}
    steps += [Step(Do("run_workflow", user, ASKED | {"workflow": fan}), 0.1) for user in (0, 1)]
    assert simulate(planted, Plan(Setting(users=2), tuple(steps)), planted.all_properties()).violated


if __name__ == "__main__":
    become("contract", *sys.argv[1:])
