"""Durability, on histories made by hand."""

import pytest

from properties.durability import DURABILITY
from simulator import Kind
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome


def test_durability_holds_when_what_was_acknowledged_is_stored_once() -> None:
    """What was unclear may be there or not; what was refused is not."""
    made = Made().ask("alice-1").ask("alice-2", Kind.INFO).ask("alice-3", Kind.FAIL).ask("alice-4", None)
    made.operation("alice", "cancel", "alice-1").stored("alice-1").stored("alice-2")
    holds(made.stored_reply("alice-1", status="cancelled").inspected("postgres"), DURABILITY)


@pytest.mark.parametrize(
    ("copies", "says", "site"),
    [
        ([], "alice-1 was acknowledged to alice and is not stored", "lost"),
        ([{}, {}], "alice-1 of alice is stored 2 times", "twice"),
        ([{"text": "what?"}], "alice-1 was stored with text='what?' instead of 'why?'", "altered"),
        ([{"context": "bob/1"}], "alice-1 was stored with context='bob/1' instead of 'alice/1'", "altered"),
        ([{"workflow": {"data": []}}], "alice-1 was stored with workflow={'data': []} instead of ", "altered"),
        ([{"user": "bob"}], "alice-1, which alice sent, is stored for bob", "user"),
        ([{}, {"message": "alice-1+"}], "the message alice-1+ is stored for alice, and nobody has sent it", "not sent"),
    ],
)
def test_durability_is_broken_by_loss_repetition_and_change(
    copies: list[dict[str, object]], says: str, site: str
) -> None:
    """All the ways not to keep a message."""
    made = Made().ask("alice-1")
    for changes in copies:
        made.stored("alice-1", **changes)  # type: ignore[arg-type]
    said, where = evidence(made.inspected("postgres"), DURABILITY)
    assert said.startswith(says)
    assert where == site


def test_durability_is_broken_by_a_refusal_that_was_none() -> None:
    """Told as a failure, and stored: a user would send it again."""
    made = Made().ask("alice-1", Kind.FAIL).stored("alice-1").inspected("postgres")
    assert evidence(made, DURABILITY) == ("alice-1 was refused to alice and is stored all the same", "refused")


def test_durability_goes_by_what_the_user_was_told_however_late() -> None:
    """A device that has given up waiting is told all the same."""
    acknowledged = Made().ask("alice-1", Kind.INFO).frame("alice", "ack", id="alice-1")
    assert evidence(acknowledged.inspected("postgres"), DURABILITY)[1] == "lost"
    refused = Made().ask("alice-1", Kind.INFO).error("alice", "try_later", "alice-1").stored("alice-1")
    assert evidence(refused.inspected("postgres"), DURABILITY)[1] == "refused"
    unclear = Made().ask("alice-1", Kind.INFO).error("alice", "unavailable", "alice-1").stored("alice-1")
    holds(unclear.inspected("postgres"), DURABILITY)


def test_durability_tells_a_message_from_its_cancellation() -> None:
    """Errors about both carry the message's id: first comes what became of the message, or it comes never."""
    made = Made().welcome("alice").ask("alice-1").error("alice", "try_later", "alice-1").stored("alice-1")
    holds(made.inspected("postgres"), DURABILITY)
    made = Made().welcome("alice").ask("alice-1", Kind.INFO).disconnected("alice").welcome("alice")
    holds(made.error("alice", "try_later", "alice-1").stored("alice-1").inspected("postgres"), DURABILITY)


def test_durability_is_unknown_when_no_message_was_stored_or_decided() -> None:
    """Nobody asked anything, or nobody knows what became of it."""
    idle = Made().welcome("alice").mark("quiet").inspected()
    assert outcome(idle, DURABILITY) is Outcome.UNKNOWN
    assert outcome(Made().ask("alice-1", Kind.INFO).inspected(), DURABILITY) is Outcome.UNKNOWN


def test_durability_is_broken_by_a_cancellation_that_was_none() -> None:
    """Confirmed, and answered nevertheless."""
    made = Made().ask("alice-1").operation("alice", "cancel", "alice-1").stored("alice-1").stored_reply("alice-1")
    assert evidence(made.inspected("postgres"), DURABILITY) == (
        "alice was told that alice-1 would be cancelled, and it was answered as done",
        "cancelled",
    )


def test_durability_is_unknown_until_the_ledger_was_inspected() -> None:
    """A look into another store says nothing, and half a look is no look."""
    verdict = Made().ask("alice-1").inspected("clickhouse", "redis").judged_by(DURABILITY)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the ledger was not inspected")
