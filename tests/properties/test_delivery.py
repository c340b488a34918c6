"""Delivery, on histories made by hand."""

import pytest

from properties.delivery import DELIVERY
from simulator import Kind
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site


def test_delivery_holds_when_each_reply_came_once_in_order() -> None:
    """Across a reconnection; what was refused needs no reply, what was unclear may have one."""
    made = Made().welcome("alice").ask("alice-1").reply("alice-1", 1).ask("alice-2").disconnected("alice")
    made.ask("alice-3", Kind.FAIL).ask("alice-4", Kind.INFO).welcome("alice", "s2").reply("alice-2", 2)
    made.reply("alice-4", 3).mark("heal", "quiet")
    for seq, message in enumerate(("alice-1", "alice-2", "alice-4"), 1):
        made.stored(message).stored_reply(message, seq)
    holds(made.inspected(), DELIVERY)


@pytest.mark.parametrize(
    ("replies", "says", "where"),
    [
        ([("alice-1", 1)], "the reply to alice-2 never reached alice", "missing"),
        (
            [("alice-1", 1), ("alice-1", 2)],
            "alice received the reply to alice-1 at 0.700 s and again at 0.800",
            "twice",
        ),
        ([("alice-1", 1), ("alice-2", 3)], "alice received the reply to alice-2 as number 3 at 0.800 s", "order"),
        ([("alice-1", 2), ("alice-2", 1)], "alice received the reply to alice-1 as number 2 at 0.700 s", "order"),
        ([("alice-2", 1), ("alice-1", 2)], "alice sent alice-2 after alice-1 was acknowledged", "overtaken"),
        ([("alice-1", 1), ("alice-7", 2)], "alice received a reply to alice-7, which nobody has sent", "not sent"),
    ],
)
def test_delivery_is_broken_by_loss_repetition_and_disorder(
    replies: list[tuple[str, int]], says: str, where: str
) -> None:
    """Whom it concerns, and which message."""
    made = Made().ask("alice-1").ask("alice-2")
    for message, seq in replies:
        made.reply(message, seq)
    said, found = evidence(made.mark("heal", "quiet"), DELIVERY)
    assert said.startswith(says)
    assert found == where


def test_delivery_lets_messages_that_were_under_way_together_be_answered_in_any_order() -> None:
    """Nobody knows which was accepted first."""
    made = Made()
    for message in ("alice-1", "alice-2"):
        made.observe("user:alice", "message_sent", message=message, context="alice/1", text="why?", workflow={})
    made.frame("alice", "ack", id="alice-1")
    holds(made.reply("alice-2", 1).reply("alice-1", 2).mark("heal", "quiet"), DELIVERY)


def test_delivery_to_somebody_else_is_no_delivery() -> None:
    """The right reply at the wrong user."""
    made = Made().ask("alice-1").reply("alice-1", 1, user="bob").mark("heal", "quiet")
    assert evidence(made, DELIVERY) == ("the reply to alice-1 never reached alice", "missing")


def test_delivery_is_broken_by_what_is_stored() -> None:
    """Numbers with a gap, two replies to one message, another text than was sent, and none at all."""

    def asked() -> Made:
        return Made().ask("alice-1").reply("alice-1", 1).mark("heal", "quiet").inspected()

    assert site(asked().stored_reply("alice-1", 2), DELIVERY) == "numbers"
    assert site(asked().stored_reply("alice-1").stored_reply("alice-1", 2), DELIVERY) == "stored twice"
    assert site(asked().stored_reply("alice-1", text="other"), DELIVERY) == "altered"
    assert site(asked(), DELIVERY) == "not stored"


def test_delivery_is_unknown_before_quiet() -> None:
    """It may still come."""
    verdict = Made().ask("alice-1").mark("heal").judged_by(DELIVERY)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the run ended before everything was quiet")


def test_delivery_of_what_was_acknowledged_after_the_device_had_given_up() -> None:
    """It counts, whether anybody still waited for it or not; so does what the agents found by themselves."""
    late = Made().ask("alice-1", Kind.INFO).frame("alice", "ack", id="alice-1")
    assert site(late.mark("heal", "quiet"), DELIVERY) == "missing"
    found = Made().ask("alice-1", Kind.INFO).observe("agents", "run_started", user="alice", message="alice-1")
    assert site(found.mark("heal", "quiet"), DELIVERY) == "missing"


def test_delivery_is_unknown_when_nothing_was_accepted() -> None:
    """A user who was only welcomed was delivered nothing; neither was one who was refused."""
    idle = Made().welcome("alice").mark("heal", "quiet").inspected()
    assert outcome(idle, DELIVERY) is Outcome.UNKNOWN
    refused = Made().welcome("alice").ask("alice-1", Kind.FAIL).error("alice", "try_later", "alice-1")
    assert outcome(refused.mark("heal", "quiet").inspected(), DELIVERY) is Outcome.UNKNOWN
