"""Latency, on histories made by hand."""

import pytest

from properties.latency import LATENCY
from simulator import Kind
from simulator.property import Outcome
from tests.properties.made import CHAT, Made, evidence, holds, outcome, site


def started(latency_s: float = 0.001) -> Made:
    return Made().mark("start", users=1, latency_s=latency_s).welcome("alice")


def test_latency_holds_when_a_question_is_answered_in_time() -> None:
    """Both times are short."""
    holds(started().ask("alice-1").reply("alice-1", 1), LATENCY)


def test_latency_is_broken_by_a_late_acknowledgement() -> None:
    """Which message, and by how much."""
    made = started()
    number = made.begin("alice", "ask")
    made.observe("user:alice", "message_sent", message="alice-1", context="alice/1", text="", workflow=CHAT)
    made.wait(1.0).record(Kind.OK, "user:alice", "ask", number, result="alice-1")
    assert evidence(made.reply("alice-1", 1), LATENCY) == (
        "alice-1 was acknowledged after 1.100 s instead of 0.6 s",
        "ack",
    )


def test_latency_is_broken_by_a_late_answer_whatever_others_do() -> None:
    """Another user's device may sleep."""
    made = started().ask("alice-1").operation("bob", "stall").wait(1.5).reply("alice-1", 1)
    assert site(made, LATENCY) == "answer"


@pytest.mark.parametrize("name", ["stall", "leave", "log_out", "cancel"])
def test_latency_takes_no_sample_of_a_user_who_does_something_meanwhile(name: str) -> None:
    """It would be their own fault."""
    made = started().ask("alice-1").operation("alice", name).wait(1.5).reply("alice-1", 1)
    assert outcome(made, LATENCY) is Outcome.UNKNOWN


def test_latency_takes_no_sample_of_what_else_may_be_late() -> None:
    """After a fault, behind another message, of several agents, without a connection, over a long way."""
    late = started().ask("alice-1").fault("reset", "user:alice", "gateway-a").wait(1.5).reply("alice-1", 1)
    assert outcome(late, LATENCY) is Outcome.UNKNOWN
    behind = started().ask("alice-1").ask("alice-2").wait(1.5).reply("alice-1", 1).reply("alice-2", 2)
    assert outcome(behind, LATENCY) is Outcome.UNKNOWN
    several = started().ask("alice-1", workflow=CHAT).wait(1.5).reply("alice-1", 1)
    assert outcome(several, LATENCY) is Outcome.UNKNOWN
    away = started().disconnected("alice").ask("alice-1").wait(1.5).reply("alice-1", 1)
    assert outcome(away, LATENCY) is Outcome.UNKNOWN
    assert outcome(started(0.02).ask("alice-1").wait(9.0).reply("alice-1", 1), LATENCY) is Outcome.UNKNOWN
