"""The scenarios that the platform is for, each as a plan: what happens, and what its history must then show.

One plan runs in simulation and on real services, and the same function judges both.
"""

import statistics
from collections.abc import Sequence

from simulator.fault import Fault
from simulator.history import Event, History
from simulator.plan import Do, Plan, Setting, Step, Strike, as_kept

USERS = 10
MESSAGES = 5
QUESTION = "why is it slow?"
WORKFLOW: dict[str, list[str]] = {
    "triage": [],
    "data": ["triage"],
    "optimisation": ["triage"],
    "action": ["data", "optimisation"],
    "report": ["action", "data"],
}


def connect(user: int = 0, *, after_s: float = 0.2) -> Step:
    return Step(Do("connect", user, {}), after_s)


def ask(user: int = 0, *, question: str = QUESTION, after_s: float) -> Step:
    return Step(Do("ask", user, {"question": question, "thread": 1}), after_s)


OUTAGE = Plan(
    Setting(users=1),
    (
        connect(),
        ask(after_s=1.0),
        Step(Strike(Fault("crash", ("clickhouse",), 6.0)), 0.2),
        *(ask(after_s=0.5) for _ in range(4)),
        Step(Do("ask", 0, {"question": QUESTION, "thread": 2}), 12.0),
        ask(after_s=1.0),
    ),
)

CROWD = Plan(
    Setting(users=USERS),
    (
        *(connect(user, after_s=0.0) for user in range(USERS - 1)),
        connect(USERS - 1, after_s=1.0),
        *(ask(user, after_s=0.0 if user < USERS - 1 else 0.3) for _ in range(MESSAGES) for user in range(USERS)),
    ),
)

STORM = Plan(
    Setting(users=USERS),
    (
        *CROWD.steps[:USERS],
        *(ask(user, after_s=0.0 if user < USERS - 1 else 0.2) for user in range(USERS)),
        Step(Strike(Fault("crash", ("gateway-a",), 6.0)), 5.0),
        *(ask(user, after_s=0.0 if user < USERS - 1 else 3.0) for user in range(USERS)),
    ),
)

TEAM = Plan(
    Setting(users=1),
    (
        connect(),
        Step(Do("run_workflow", 0, as_kept({"question": QUESTION, "thread": 1, "workflow": WORKFLOW})), 3.0),
    ),
)

RECOVERY = Plan(
    Setting(users=1, left_broken=("clickhouse",)),
    (
        connect(),
        Step(Strike(Fault("crash", ("clickhouse",), 5.0))),
        Step(Strike(Fault("crash", ("agents",), 60.0)), 0.1),
        ask(after_s=1.0),
    ),
)


def check_outage(history: History) -> None:
    """ClickHouse fails, the breaker opens, the fallback works; it returns, the breaker closes, all is normal."""
    moves = [
        (event.data["old"], event.data["new"])
        for event in history.observed("breaker_moved")
        if event.data["breaker"] == "clickhouse"
    ]
    assert moves[0] == ("closed", "open")
    assert moves[-1] == ("half-open", "closed")
    asked = [each.result for each in history.operations("ask")]
    assert len(asked) == 7
    assert [event.data["to"] for event in frames(history, "reply")] == asked
    buffered = [event.data["message"] for event in history.observed("analytics_buffered")]
    assert buffered
    paths = {event.data["message"]: event.data["path"] for event in history.observed("analytics_written")}
    assert {paths[message] for message in buffered} == {"drain"}
    assert paths[asked[0]] == paths[asked[-1]] == "direct"
    assert sorted(str(event.data["message"]) for event in history.observed("row")) == sorted(map(str, asked))


def check_crowd(history: History) -> str:
    """Ten users with five messages each, all routed, none crossed. Returns what the delivery took."""
    sent = {str(event.data["message"]): event for event in history.observed("message_sent")}
    replies = frames(history, "reply")
    assert len(sent) == len(replies) == USERS * MESSAGES
    taken_s = []
    for reply in replies:
        question = sent[str(reply.data["to"])]
        assert reply.host == question.host
        assert str(question.data["context"]) in str(reply.data["text"])
        taken_s.append(reply.at_s - question.at_s)
    return f"{len(taken_s)} replies: median {statistics.median(taken_s):.3f} s, slowest {max(taken_s):.3f} s"


def check_storm(history: History) -> str:
    """A gateway dies under its users with questions open: all go on at the other, and nobody is held against it.

    Returns how long the last of them was away.
    """
    lost = [event for event in history.observed("client_state") if event.data["state"] == "disconnected"]
    (died_s,) = (event.at_s for event in history.faults() if event.data["phase"] == "begin")
    away = {event.host for event in lost if died_s <= event.at_s < died_s + 3.0}
    assert len(away) > 1
    back = {
        event.host: event.at_s
        for event in reversed(history.observed("client_state"))
        if event.data["state"] == "connected" and event.host in away and event.at_s > died_s
    }
    assert back.keys() == away
    replies: dict[str, list[object]] = {}
    for event in frames(history, "reply"):
        replies.setdefault(event.host, []).append(event.data["seq"])
    assert list(replies.values()) == [[1, 2]] * USERS
    assert not [event for event in history.observed("frame") if event.data["type"] == "error"]
    assert not history.observed("breaker_moved")
    return f"{len(away)} users were away for {max(back.values()) - died_s:.3f} s at most"


def check_team(history: History) -> None:
    """A workflow's dependencies are resolved, its context is passed on, its events are sent, its results are exact."""
    events = frames(history, "event")
    started = {str(event.data["node"]): at for at, event in enumerate(events) if event.data["event"] == "agent_started"}
    completed = {
        str(event.data["node"]): at for at, event in enumerate(events) if event.data["event"] == "agent_completed"
    }
    assert sorted(started) == sorted(completed) == sorted(WORKFLOW)
    for node, needed in WORKFLOW.items():
        assert all(completed[each] < started[node] for each in needed)
    kinds = {str(event.data["event"]) for event in events}
    assert kinds == {"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"}
    results = {str(event.data["node"]): str(event.data["result"]) for event in history.observed("stored_result")}
    assert all("alice/1" in result for result in results.values())
    # "why is it slow?" has 15 characters, which asks for the first fact; the digests are of the results before.
    assert results["triage"] == "why is it slow? -> triage for alice/1"
    assert results["data"].startswith("data found uptime=99 given ")
    (reply,) = frames(history, "reply")
    assert reply.data["status"] == "done"
    assert reply.data["text"] == results["report"]


def check_recovery(history: History) -> None:
    """All but ClickHouse is healed: what was asked is answered without it, and only the analytics wait for it."""
    core_s, heal_s = history.marked_at("heal_core"), history.marked_at("heal")
    assert core_s is not None
    assert heal_s is not None
    ended_s = {event.host: event.at_s for event in history.faults() if event.data["phase"] == "end"}
    assert core_s <= ended_s["agents"] < ended_s["clickhouse"]
    assert heal_s <= ended_s["clickhouse"]
    (reply,) = frames(history, "reply")
    assert core_s < reply.at_s < heal_s
    waiting = "the analytics of alice-1 are not written yet (analytics_buffered)"
    why = "it needs agents, and so clickhouse, and the fault 'crash' at clickhouse is not over"
    assert (waiting, why) in [(event.data["what"], event.data["why"]) for event in history.observed("excused")]
    assert [(event.data["path"], event.at_s > heal_s) for event in history.observed("analytics_written")] == [
        ("drain", True)
    ]


def frames(history: History, kind: str) -> Sequence[Event]:
    """Return the frames of a type that users received."""
    return [event for event in history.observed("frame") if event.data["type"] == kind]
