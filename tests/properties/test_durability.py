"""Durability, on histories made by hand."""

import pytest

from properties.durability import DURABILITY
from simulator import Kind
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds


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
