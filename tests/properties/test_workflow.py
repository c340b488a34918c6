"""Workflow, on histories made by hand."""

import pytest

from properties.oracle import Question
from properties.workflow import WORKFLOW
from simulator.history import Value
from simulator.property import Outcome
from tests.properties.made import WHY, Made, evidence, holds, outcome, site

CHAIN: dict[str, Value] = {"action-2": ["triage-1"], "triage-1": []}
QUESTION = Question(WHY, "alice/1", {"action-2": ("triage-1",), "triage-1": ()})
TRIAGED = str(QUESTION.result("triage-1", "completed", ()))
DONE = str(QUESTION.result("action-2", "completed", (TRIAGED,)))
ANSWER: dict[str, Value] = {"text": DONE, "nodes": {"action-2": "completed", "triage-1": "completed"}}


def told(made: Made, node: str, *names: str, detail: str = "") -> Made:
    for name in names:
        made.agent("alice-1", f"{node}", f"agent_{name}", detail=detail)
    return made


def asked() -> Made:
    return Made().ask("alice-1", workflow=CHAIN)


def worked() -> Made:
    return told(told(asked(), "triage-1", "started", "completed"), "action-2", "started", "completed").replied(
        "alice-1"
    )


def stored(made: Made) -> Made:
    return made.result("alice-1", "triage-1", TRIAGED).result("alice-1", "action-2", DONE).action("alice-1", "action-2")


def inspected(made: Made) -> Made:
    return made.inspected("postgres")


def test_workflow_holds_when_everything_is_as_the_oracle_says() -> None:
    """Order, results, effects, reply."""
    holds(inspected(stored(worked()).stored_reply("alice-1", **ANSWER)), WORKFLOW)


def test_workflow_holds_across_a_crash() -> None:
    """What was done before is not done again, and what was begun is begun again."""
    made = told(told(asked(), "triage-1", "started", "completed"), "action-2", "started").fault("crash", "agents")
    told(made, "action-2", "started", "completed").replied("alice-1")
    holds(inspected(stored(made).stored_reply("alice-1", **ANSWER)), WORKFLOW)


def test_workflow_is_broken_by_an_early_start() -> None:
    """Before what it needs has a result."""
    made = told(told(asked(), "triage-1", "started"), "action-2", "started")
    assert evidence(made, WORKFLOW) == (
        "action-2 of run alice:alice-1 started at 0.500 s, and triage-1 had no result yet",
        "started early",
    )
    failed = told(told(asked(), "triage-1", "started", "failed"), "action-2", "started")
    assert site(failed, WORKFLOW) == "started early"


def test_workflow_is_broken_by_work_after_the_reply() -> None:
    """A run that is over is over."""
    said, where = evidence(told(worked(), "action-2", "started"), WORKFLOW)
    assert said.startswith("action-2 told agent_started of run alice:alice-1 at 0.900 s, after its reply was stored")
    assert where == "after the reply"


@pytest.mark.parametrize(
    ("changes", "says", "where"),
    [
        ({"text": "other"}, "the reply of run alice:alice-1 has text='other' instead of 'action-2 did", "reply"),
        ({"status": "partial"}, "the reply of run alice:alice-1 has status='partial' instead of 'done'", "reply"),
        ({"nodes": {"triage-1": "completed"}}, "the reply of run alice:alice-1 tells of triage-1", "nodes"),
        (
            {"nodes": {"triage-1": "degraded", "action-2": "completed"}},
            "the reply of run alice:alice-1 says that triage-1 is degraded, and it is completed",
            "nodes",
        ),
        (
            {"nodes": {"triage-1": "failed", "action-2": "completed"}},
            "the reply of run alice:alice-1 says that action-2 is completed, and it is skipped",
            "nodes",
        ),
        ({"status": "cancelled"}, "run alice:alice-1 was cancelled and answered 'action-2 did", "cancelled"),
    ],
)
def test_workflow_is_broken_by_a_wrong_reply(changes: dict[str, Value], says: str, where: str) -> None:
    """It says what the ledger does not, or what cannot be."""
    said, found = evidence(inspected(stored(worked()).stored_reply("alice-1", **(ANSWER | changes))), WORKFLOW)
    assert said.startswith(says)
    assert found == where


def test_workflow_is_broken_by_a_wrong_result() -> None:
    """Another context, or an input that was not there."""
    made = worked().result("alice-1", "triage-1", TRIAGED.replace("alice/1", "alice/2"))
    assert site(inspected(made.stored_reply("alice-1", **ANSWER)), WORKFLOW) == "result"
    made = worked().result("alice-1", "action-2", DONE).action("alice-1", "action-2")
    assert site(inspected(made.stored_reply("alice-1", **ANSWER)), WORKFLOW) == "worked without"


@pytest.mark.parametrize("effects", [0, 2])
def test_workflow_is_broken_by_an_effect_that_is_not_there_once(effects: int) -> None:
    """Acted in vain, or twice."""
    made = worked().result("alice-1", "triage-1", TRIAGED).result("alice-1", "action-2", DONE)
    for _ in range(effects):
        made.action("alice-1", "action-2")
    said, where = evidence(inspected(made.stored_reply("alice-1", **ANSWER)), WORKFLOW)
    assert said == f"the effect of action-2 in run alice:alice-1 is there {effects} times, and its result stored"
    assert where == "effect"


def test_workflow_is_broken_by_the_effect_of_a_cancelled_run_without_a_result() -> None:
    """Both or neither."""
    made = asked().replied("alice-1", status="cancelled").action("alice-1", "action-2")
    cancelled = made.stored_reply("alice-1", status="cancelled", text="", nodes={})
    assert site(inspected(cancelled), WORKFLOW) == "effect"


def partial(made: Made, reason: str, text: str = WHY) -> Made:
    """A run whose first agent failed."""
    told(made.ask("alice-1", text=text, workflow=CHAIN), "triage-1", "started", "failed", detail=reason)
    told(made, "action-2", "skipped").replied("alice-1", status="partial")
    made.result("alice-1", "triage-1", reason, status="failed")
    nodes: dict[str, Value] = {"triage-1": "failed", "action-2": "skipped"}
    return inspected(made.stored_reply("alice-1", status="partial", text="", nodes=nodes))


def test_workflow_forgives_failures_that_have_an_excuse() -> None:
    """The model was in trouble, or refuses what is too long."""
    holds(partial(Made().fault("llm-slow", "llm"), "timed out"), WORKFLOW)
    holds(partial(Made().fault("crash", "agents"), "timed out"), WORKFLOW)
    holds(partial(Made(), "refused", text="and then? " * 40), WORKFLOW)


def test_workflow_forgives_for_ever_what_leaves_dead_connections() -> None:
    """They are found dead when they are used. Of connections that were reset the agents know."""
    holds(partial(Made().fault("silence", "agents", "llm").wait(60.0), "timed out"), WORKFLOW)
    assert site(partial(Made().fault("reset", "agents", "llm").wait(60.0), "timed out"), WORKFLOW) == "excuse"


def test_workflow_is_broken_by_failures_without_an_excuse() -> None:
    """Nothing had happened to whom the agent asked; or it was not too long; or agents of its kind do not fail so."""
    said, where = evidence(partial(Made().fault("crash", "clickhouse"), "timed out"), WORKFLOW)
    assert said.startswith("triage-1 of run alice:alice-1 was failed (timed out) at 0.6")
    assert where == "excuse"
    assert site(partial(Made(), "refused"), WORKFLOW) == "refused"
    assert site(partial(Made().fault("llm-slow", "llm"), "no data"), WORKFLOW) == "reason"


def test_workflow_wants_an_excuse_for_a_degraded_answer() -> None:
    """It is worse than what was promised."""

    def degraded(made: Made) -> Made:
        told(made.ask("alice-1"), "triage", "started").agent("alice-1", "triage", "agent_completed", detail="degraded")
        text = str(Question(WHY, "alice/1", {"triage": ()}).result("triage", "degraded", ()))
        made.result("alice-1", "triage", text, status="degraded")
        return inspected(made.stored_reply("alice-1", text=text, nodes={"triage": "degraded"}))

    holds(degraded(Made().fault("partition", "agents", "llm")), WORKFLOW)
    assert site(degraded(Made()), WORKFLOW) == "excuse"


def test_workflow_takes_no_disturbance_of_long_ago_or_elsewhere_for_an_excuse() -> None:
    """After 10 s everything is as it was."""
    assert site(partial(Made().fault("llm-slow", "llm", for_s=5.0).wait(15.0), "timed out"), WORKFLOW) == "excuse"
    assert site(partial(Made().fault("partition", "agents", "redis"), "timed out"), WORKFLOW) == "excuse"
    holds(partial(Made().fault("llm-slow", "llm", for_s=5.0).wait(13.0), "timed out"), WORKFLOW)


@pytest.mark.parametrize(
    ("stray", "says", "where"),
    [
        (Made().agent("alice-1", "triage", "agent_started"), "agent_event at 0.1", "unknown run"),
        (Made().replied("alice-1"), "reply_stored at 0.1", "unknown run"),
        (Made().result("alice-1", "triage", "why?"), "stored_result at 0.1", "unknown run"),
        (Made().action("alice-1", "action-2"), "stored_action at 0.1", "unknown run"),
        (Made().stored_reply("alice-1"), "stored_reply at 0.1", "unknown run"),
        (asked().agent("alice-1", "report", "agent_started"), "agent_event at 0.4", "unknown node"),
        (worked().result("alice-1", "report", "why?"), "stored_result at 0.", "unknown node"),
        (worked().action("alice-1", "action-3"), "stored_action at 0.", "unknown node"),
    ],
)
def test_workflow_is_broken_by_what_nobody_asked_for(stray: Made, says: str, where: str) -> None:
    """A run without a message, or an agent that is not in its workflow."""
    said, found = evidence(inspected(stray), WORKFLOW)
    assert said.startswith(says)
    assert "of run alice:alice-1, and nobody asked" in said or "in run alice:alice-1, which has no such agent" in said
    assert found == where


def test_workflow_is_unknown_when_nothing_was_worked_on() -> None:
    """A connection is no question."""
    verdict = inspected(Made().welcome("alice").mark("heal", "quiet")).judged_by(WORKFLOW)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "nothing was worked on")


def test_workflow_does_not_judge_a_run_that_was_under_way_when_the_ledger_was_read() -> None:
    """Its reply may be stored after its results were read."""
    made = asked().mark("quiet").replied("alice-1").stored_reply("alice-1", **ANSWER)
    holds(inspected(made), WORKFLOW)


def test_workflow_is_unknown_until_the_ledger_was_inspected() -> None:
    """What agents tell is half of it."""
    assert outcome(worked(), WORKFLOW) is Outcome.UNKNOWN
