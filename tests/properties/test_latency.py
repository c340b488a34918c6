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
    made.observe("user:alice", "message_sent", message="alice-1", context="alice/1", text="", workflow=CHAT)
    made.wait(0.9).frame("alice", "ack", id="alice-1")
    assert evidence(made.reply("alice-1", 1), LATENCY) == (
        "alice-1 was acknowledged after 1.000 s instead of 0.6 s",
        "ack",
    )


def test_latency_is_broken_by_a_late_answer_whatever_others_do() -> None:
    """Another user's device may sleep."""
    made = started().ask("alice-1").operation("bob", "stall").wait(2.0).reply("alice-1", 1)
    assert site(made, LATENCY) == "answer"


def test_latency_is_broken_by_an_answer_that_never_comes() -> None:
    """An acknowledgement alone is no answer; at the end of a run one may still be under way."""
    assert evidence(started().ask("alice-1").wait(2.0).mark("end"), LATENCY) == (
        "alice-1 was not answered within 1.7 s of its acknowledgement",
        "answer",
    )
    holds(started().ask("alice-1").wait(0.5).mark("end"), LATENCY)


@pytest.mark.parametrize("name", ["stall", "leave", "log_out", "cancel"])
def test_latency_takes_no_sample_of_a_user_who_does_something_meanwhile(name: str) -> None:
    """It would be their own fault."""
    assert sampled(started().ask("alice-1").operation("alice", name).wait(1.5).reply("alice-1", 1)) == 0


def test_latency_takes_no_sample_of_what_else_may_be_late() -> None:
    """After a fault, behind another message, of several agents, without a connection, over a long way."""
    assert (
        sampled(started().ask("alice-1").fault("reset", "user:alice", "gateway-a").wait(1.5).reply("alice-1", 1)) == 0
    )
    behind = started().ask("alice-1").ask("alice-2").wait(1.5).reply("alice-1", 1).reply("alice-2", 2)
    assert sampled(behind) == 0
    assert sampled(started().ask("alice-1", workflow={"data": []}).wait(1.5).reply("alice-1", 1)) == 0
    away = started().operation("alice", "leave").disconnected("alice").ask("alice-1").wait(1.5).reply("alice-1", 1)
    assert sampled(away) == 0
    assert outcome(started(0.02).ask("alice-1").wait(9.0).reply("alice-1", 1), LATENCY) is Outcome.UNKNOWN


def sampled(made: Made) -> int:
    """Return how many questions were timed; nothing may be wrong."""
    verdict = made.judged_by(LATENCY)
    assert verdict.violation is None, verdict
    return verdict.examined.get("sample", 0)


# Whether anything is served at all


def test_latency_is_broken_by_silence_and_by_refusals() -> None:
    """While all is well nothing but what a user did themselves explains either."""
    silent = started().ask("alice-1", Kind.INFO).wait(4.0).mark("end")
    assert evidence(silent, LATENCY) == ("alice heard nothing of alice-1 for 3 s although all was well", "silence")
    refused = started().ask("alice-1", Kind.FAIL).error("alice", "try_later", "alice-1")
    assert evidence(refused, LATENCY) == (
        "alice was told try_later of alice-1 at 0.800 s although all was well",
        "refused",
    )
    answered = refused.ask("alice-2").reply("alice-2", 1)
    assert site(answered, LATENCY) == "refused"
    holds(started().ask("alice-1").reply("alice-1", 1).fault("crash", "redis").error("alice", "unavailable"), LATENCY)


def test_latency_lets_nobody_ask_more_than_so_much_at_once() -> None:
    """Eight questions may be open."""

    def asked(count: int) -> Made:
        made = started()
        for number in range(count):
            made.ask(f"alice-{number}")
        return made.ask("alice-9", Kind.FAIL).error("alice", "overloaded", "alice-9")

    holds(asked(8), LATENCY)
    assert site(asked(7), LATENCY) == "refused"


@pytest.mark.parametrize(
    ("code", "explained_by"),
    [
        ("bad_request", "send_malformed"),
        ("too_late", "cancel"),
        ("unauthorised", "log_out"),
        ("expired", "stall"),
        ("expired", "leave"),
    ],
)
def test_latency_is_broken_by_a_refusal_that_the_user_has_not_caused(code: str, explained_by: str) -> None:
    """Since they were last welcomed: what was done in an earlier session explains nothing in this one."""
    holds(started().operation("alice", "connect").operation("alice", explained_by).error("alice", code), LATENCY)
    assert site(started().operation("bob", explained_by).error("alice", code), LATENCY) == "refused"
    again = started().operation("alice", explained_by).wait(5.0).welcome("alice", "s2")
    assert site(again.error("alice", code), LATENCY) == "refused"


def test_latency_is_broken_by_a_connection_that_ends_without_a_word() -> None:
    """Unless its user left, slept, or was told why."""
    lost = started().disconnected("alice")
    assert evidence(lost, LATENCY) == ("alice lost the connection at 0.500 s although all was well", "cut off")
    for name in ("leave", "stall"):
        holds(started().operation("alice", "connect").operation("alice", name).disconnected("alice"), LATENCY)
    told = started().operation("alice", "connect").operation("alice", "log_out").error("alice", "unauthorised")
    holds(told.disconnected("alice"), LATENCY)


def test_latency_lets_of_two_log_outs_at_once_one_be_in_vain() -> None:
    """The first ends the session, and with it the connection on which the second was to be said."""
    told = started().operation("alice", "connect")
    second = told.begin("alice", "log_out")
    told.operation("alice", "log_out").record(Kind.INFO, "user:alice", "log_out", second)
    holds(told, LATENCY)


@pytest.mark.parametrize("name", ["connect", "log_out"])
def test_latency_is_broken_by_a_log_in_or_log_out_in_vain(name: str) -> None:
    """Nobody needs to try twice; nobody comes back into a session that they have ended."""
    holds(Made().mark("start", latency_s=0.001).operation("alice", name), LATENCY)
    said, where = evidence(Made().mark("start", latency_s=0.001).operation("alice", name, how=Kind.INFO), LATENCY)
    assert said.startswith(f"alice could not {name.replace('_', ' ')} from 0.200 to 0.300 s")
    assert where == "in vain"
    refused = Made().mark("start", latency_s=0.001).error("alice", "unavailable")
    assert site(refused.operation("alice", name, how=Kind.INFO), LATENCY) == "refused"
    ended = started().operation("alice", "log_out").operation("alice", "connect", how=Kind.INFO)
    holds(ended, LATENCY)
    struck = Made().mark("start", latency_s=0.001).fault("crash", "redis").operation("alice", name, how=Kind.INFO)
    assert outcome(struck, LATENCY) is Outcome.UNKNOWN
