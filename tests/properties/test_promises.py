"""Each promise on histories made by hand: a good one, bad ones with their evidence, and none at all."""

import pytest

from properties import PROMISES
from properties.breaker import BREAKER
from properties.coverage import COVERAGE
from properties.delivery import DELIVERY
from properties.durability import DURABILITY
from properties.fallback import FALLBACK
from properties.isolation import ISOLATION
from simulator import Expectation, Kind, Property
from simulator.property import Outcome
from tests.properties.made import Made, evidence, outcome

BY_NAME = {each.name: each for each in PROMISES}


def test_no_two_promises_share_a_name() -> None:
    """A trace names the promise it broke."""
    assert len(BY_NAME) == len(PROMISES)
    assert all(each.summary for each in PROMISES)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
@pytest.mark.parametrize("marks", [(), ("heal", "quiet", "end")])
def test_without_observations_nothing_is_known(promise: Property, marks: tuple[str, ...]) -> None:
    """A run in which nothing happened keeps no promise and reaches no state."""
    assert outcome(Made().mark(*marks), promise) is Outcome.UNKNOWN


# Isolation


def test_isolation_holds_while_everyone_sees_their_own() -> None:
    """Frames, stored replies and rows of two users."""
    made = Made().ask("alice-1").ask("bob-1")
    made.reply("alice", "alice-1", "1-0", "on alice/1: fine").reply("bob", "bob-1", "1-0", "on bob/1: fine")
    made.observe("observer", "stored_reply", key="replies:alice", to="alice-1", text="on alice/1: fine")
    made.observe("observer", "row", event_id="e", user="alice", message="alice-1")
    assert outcome(made, ISOLATION) is Outcome.HOLDS


def test_isolation_is_broken_by_a_foreign_frame() -> None:
    """Who received what, and whose it is."""
    made = Made().ask("alice-1").ask("bob-1").reply("bob", "bob-1", "1-0", "on alice/1: fine")
    said, site = evidence(made, ISOLATION)
    assert said == "bob received 'on alice/1: fine' at 0.700 s, and the context in it is alice's"
    assert site == "frame"


def test_isolation_is_broken_by_a_foreign_key() -> None:
    """Nobody has seen it yet, but it is there to be seen."""
    made = Made().ask("alice-1").ask("bob-1")
    made.observe("observer", "stored_reply", key="replies:bob", to="bob-1", text="on alice/1: fine")
    assert evidence(made, ISOLATION) == ("replies:bob holds 'on alice/1: fine', which is alice's", "key")


def test_isolation_is_broken_by_a_row_under_another_name() -> None:
    """Analytics are data of a user too."""
    made = Made().ask("alice-1").observe("observer", "row", event_id="e", user="bob", message="alice-1")
    assert evidence(made, ISOLATION) == ("the analytics row of alice-1 names bob", "row")


# Durability


def test_durability_holds_when_what_was_acknowledged_is_stored_once() -> None:
    """What was refused or unclear may be there or not."""
    made = Made().ask("alice-1").ask("alice-2", Kind.INFO).ask("alice-3", Kind.FAIL).ask("alice-4", None)
    made.stored("alice-1").stored("alice-2").stored("alice-2").inspected("redis")
    assert outcome(made, DURABILITY) is Outcome.HOLDS


@pytest.mark.parametrize(
    ("copies", "says"),
    [
        ([], "alice-1 was acknowledged to alice and is not stored"),
        ([{}, {}], "alice-1 was acknowledged to alice and is stored 2 times"),
        ([{"text": "what?"}], "alice-1 was stored with text='what?' instead of 'why?'"),
        ([{"context": "bob/1"}], "alice-1 was stored with context='bob/1' instead of 'alice/1'"),
    ],
)
def test_durability_is_broken_by_loss_repetition_and_change(copies: list[dict[str, str]], says: str) -> None:
    """Three ways not to keep a message."""
    made = Made().ask("alice-1")
    for changes in copies:
        made.stored("alice-1", **changes)
    assert evidence(made.inspected("redis"), DURABILITY) == (says, "stored message")


def test_durability_is_unknown_until_the_store_was_inspected() -> None:
    """A look into another store says nothing, and half a look is no look."""
    made = Made().ask("alice-1").inspected("clickhouse")
    verdict = made.judged_by(DURABILITY)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the message store was not inspected")


# Delivery


def test_delivery_holds_when_each_reply_came_once_in_order() -> None:
    """Sequence numbers are ordered as numbers: 9 before 10, counters within a millisecond."""
    made = Made().ask("alice-1").ask("alice-2").ask("alice-3").ask("alice-4", Kind.INFO)
    made.reply("alice", "alice-1", "9-0").reply("alice", "alice-2", "10-0").reply("alice", "alice-3", "10-1")
    assert outcome(made.mark("heal", "quiet"), DELIVERY) is Outcome.HOLDS


@pytest.mark.parametrize(
    ("replies", "says", "site"),
    [
        ([("alice-1", "1-0")], "the reply to alice-2 never reached alice", "missing"),
        (
            [("alice-1", "1-0"), ("alice-1", "2-0")],
            "alice received the reply to alice-1 at 0.700 s and again at 0.800 s",
            "twice",
        ),
        (
            [("alice-2", "10-0"), ("alice-1", "9-0")],
            "alice received the reply to alice-1 after one with a later number",
            "order",
        ),
    ],
)
def test_delivery_is_broken_by_loss_repetition_and_disorder(
    replies: list[tuple[str, str]], says: str, site: str
) -> None:
    """Whom it concerns, and which message."""
    made = Made().ask("alice-1").ask("alice-2")
    for to, seq in replies:
        made.reply("alice", to, seq)
    assert evidence(made.mark("heal", "quiet"), DELIVERY) == (says, site)


def test_delivery_to_somebody_else_is_no_delivery() -> None:
    """The right reply at the wrong user."""
    made = Made().ask("alice-1").reply("bob", "alice-1", "1-0").mark("heal", "quiet")
    assert evidence(made, DELIVERY) == ("the reply to alice-1 never reached alice", "missing")


def test_delivery_is_unknown_before_quiet() -> None:
    """It may still come."""
    verdict = Made().ask("alice-1").mark("heal").judged_by(DELIVERY)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the run ended before everything was quiet")


# Breaker


def call(made: Made, number: int, outcome_: str | None = None) -> Made:
    made.observe("platform", "breaker_admitted", breaker="clickhouse", call=number)
    return answer(made, number, outcome_) if outcome_ is not None else made


def answer(made: Made, number: int, outcome_: str) -> Made:
    return made.observe("platform", "breaker_result", breaker="clickhouse", call=number, outcome=outcome_)


def move(made: Made, old: str, new: str) -> Made:
    return made.observe("platform", "breaker_moved", breaker="clickhouse", old=old, new=new)


def opened() -> Made:
    made = Made()
    for number in (1, 2, 3):
        call(made, number, "failure")
    return move(made, "closed", "open")


def test_breaker_holds_when_it_opens_probes_once_and_recloses() -> None:
    """The whole life of it; an old call's late result counts no more."""
    made = call(Made(), 0)
    for number in (1, 2, 3):
        call(made, number, "failure")
    move(made, "closed", "open")
    answer(made, 0, "failure")
    move(made, "open", "half-open")
    call(made, 4, "success")
    move(made, "half-open", "closed")
    call(made, 5, "failure")
    assert outcome(made.mark("heal", "quiet"), BREAKER) is Outcome.HOLDS


def test_breaker_counts_failures_in_a_row_only() -> None:
    """A success between them begins the count anew."""
    made = Made()
    for number, how in enumerate(("failure", "failure", "success", "failure", "failure", "success")):
        call(made, number, how)
    assert outcome(made.mark("heal", "quiet"), BREAKER) is Outcome.HOLDS


def test_breaker_is_broken_when_it_stays_closed() -> None:
    """Three failures in a row, and a fourth call."""
    made = Made()
    for number in (1, 2, 3):
        call(made, number, "failure")
    call(made, 4)
    said, site = evidence(made.mark("heal", "quiet"), BREAKER)
    assert said.startswith("the breaker stayed closed after 3 failures in a row at 0.7")
    assert site == "opens"


def test_breaker_is_broken_when_open_admits() -> None:
    """Open means nobody."""
    said, site = evidence(call(opened(), 9).mark("heal", "quiet"), BREAKER)
    assert said == "the open breaker admitted call 9 at 0.800 s"
    assert site == "open"


def test_breaker_is_broken_when_half_open_admits_two() -> None:
    """One probe at a time; a second after its end is another probe."""
    made = move(opened(), "open", "half-open")
    said, site = evidence(call(call(made, 8), 9).mark("heal", "quiet"), BREAKER)
    assert said == "the half-open breaker admitted call 9 at 1.000 s while call 8 was still its probe"
    assert site == "half-open"


def test_breaker_is_broken_when_it_never_recloses() -> None:
    """Its dependency has been back since heal."""
    made = move(opened(), "open", "half-open").mark("heal", "quiet")
    assert evidence(made, BREAKER) == (
        "platform's breaker of clickhouse is still half-open although clickhouse has been back since 0.900 s",
        "recloses",
    )


@pytest.mark.parametrize("kind", ["crash", "vanish"])
def test_a_breaker_begins_anew_after_a_crash(kind: str) -> None:
    """It lives in memory; the new process's breaker is closed."""
    made = opened().fault(kind, "platform")
    assert outcome(call(made, 1, "success").mark("heal", "quiet"), BREAKER) is Outcome.HOLDS
    other = opened().fault(kind, "clickhouse").mark("heal", "quiet")
    assert outcome(other, BREAKER) is Outcome.VIOLATED


# Fallback


def test_fallback_holds_when_what_was_buffered_arrived_once() -> None:
    """Directly written and drained."""
    made = Made().observe("platform", "analytics_buffered", message="alice-1")
    made.observe("platform", "analytics_written", message="alice-1", path="drain")
    made.observe("platform", "analytics_written", message="alice-2", path="direct")
    for message in ("alice-1", "alice-2"):
        made.observe("observer", "row", event_id=message, user="alice", message=message)
    assert outcome(made.inspected("clickhouse"), FALLBACK) is Outcome.HOLDS


@pytest.mark.parametrize("how", ["buffered", "written"])
def test_fallback_is_broken_by_what_is_gone(how: str) -> None:
    """How far it had come, and when."""
    made = Made().observe("platform", f"analytics_{how}", message="alice-1", path="direct").inspected("clickhouse")
    assert evidence(made, FALLBACK) == (f"the analytics of alice-1 were {how} at 0.100 s and are gone", "lost")


def test_fallback_is_broken_by_what_is_there_twice() -> None:
    """Exactly once."""
    made = Made()
    for event_id in ("1", "2"):
        made.observe("observer", "row", event_id=event_id, user="alice", message="alice-1")
    assert evidence(made.inspected("clickhouse"), FALLBACK) == ("the analytics of alice-1 are there 2 times", "twice")


def test_fallback_is_unknown_until_the_table_was_inspected() -> None:
    """Rows alone may be half of them."""
    made = Made().observe("platform", "analytics_buffered", message="alice-1").inspected("redis")
    verdict = made.judged_by(FALLBACK)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the analytics table was not inspected")


# Coverage


def reached(name: str) -> Made:
    """Return a history in which the state was reached."""
    made = Made()
    if name == "breaker-opened":
        return opened()
    if name == "fallback-drained":
        made.observe("platform", "analytics_buffered", message="alice-1")
        return made.observe("platform", "analytics_written", message="alice-1", path="drain")
    if name == "resumed-with-missed":
        return made.observe("platform", "resumed", user="alice", missed=2)
    return made.ask("alice-1", None).fault("crash", "platform")


def missed(name: str) -> Made:
    """Return one that came near."""
    made = Made()
    if name == "breaker-opened":
        return move(made, "half-open", "closed")
    if name == "fallback-drained":
        made.observe("platform", "analytics_buffered", message="alice-1")
        return made.observe("platform", "analytics_written", message="alice-2", path="drain")
    if name == "resumed-with-missed":
        return made.observe("platform", "resumed", user="alice", missed=0)
    return made.ask("alice-1").fault("crash", "platform").ask("alice-2", None).fault("crash", "platform", "end")


@pytest.mark.parametrize("state", COVERAGE, ids=lambda each: each.name)
def test_coverage_tells_reached_from_nearly_reached(state: Property) -> None:
    """A *sometimes* that is always reached would hide a search that goes nowhere."""
    assert state.expectation is Expectation.SOMETIMES
    assert outcome(reached(state.name), state) is Outcome.HOLDS
    assert outcome(missed(state.name), state) is Outcome.UNKNOWN
