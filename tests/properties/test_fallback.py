"""Fallback, on histories made by hand."""

import pytest

from properties.fallback import FALLBACK
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, site


def quiet(made: Made) -> Made:
    return made.mark("heal", "quiet")


def test_fallback_holds_when_everything_arrived_once() -> None:
    """Written, and drained."""
    made = Made().replied("alice-1").replied("alice-2")
    made.analytics("buffered", "alice-1").analytics("drained", "alice-1").analytics("written", "alice-2")
    holds(quiet(made).row("alice-1").row("alice-2").inspected(), FALLBACK)


def given_up(made: Made) -> Made:
    return quiet(made.replied("alice-1").analytics("lost", "alice-1")).inspected()


def test_fallback_is_broken_by_what_was_given_up_without_need() -> None:
    """One of the places to write to was there, or both were for long."""
    said, where = evidence(given_up(Made()), FALLBACK)
    assert said == "the analytics of alice-1 were given up at 0.200 s, and for 10 s they could have been written"
    assert where == "lost"
    for host in ("clickhouse", "redis", "gateway-a", "llm"):
        assert site(given_up(Made().fault("crash", host, for_s=5.0)), FALLBACK) == "lost"
    elsewhere = Made().fault("crash", "clickhouse", for_s=5.0).fault("partition", "gateway-a", "redis", for_s=5.0)
    assert site(given_up(elsewhere), FALLBACK) == "lost"
    long_ago = Made().fault("crash", "clickhouse", for_s=5.0).fault("crash", "redis", for_s=5.0)
    assert site(given_up(long_ago.wait(16.0)), FALLBACK) == "lost"


def test_fallback_forgives_what_could_not_be_written() -> None:
    """Both places were away, or out of the agents' reach."""
    holds(given_up(Made().fault("crash", "clickhouse", for_s=5.0).fault("crash", "redis", for_s=5.0)), FALLBACK)
    apart = (
        Made().fault("partition", "agents", "clickhouse", for_s=5.0).fault("partition", "agents", "redis", for_s=5.0)
    )
    holds(given_up(apart.wait(12.0)), FALLBACK)
    holds(given_up(Made().fault("freeze", "agents", for_s=5.0)), FALLBACK)


@pytest.mark.parametrize("how", ["buffered", "written"])
def test_fallback_is_broken_by_what_is_gone(how: str) -> None:
    """How far it had come, and when; a crash since is no excuse."""
    made = quiet(Made().analytics(how, "alice-1").fault("crash", "agents")).inspected()
    assert evidence(made, FALLBACK) == (f"the analytics of alice-1 were {how} at 0.100 s and are gone", "lost")


def test_fallback_is_broken_by_what_never_came() -> None:
    """Nothing happened to the agents since they answered."""
    made = quiet(Made().replied("alice-1")).inspected()
    assert evidence(made, FALLBACK) == ("the analytics of alice-1 were due at 0.100 s and are gone", "lost")


@pytest.mark.parametrize("kind", ["crash", "vanish"])
def test_fallback_forgives_what_died_with_a_process(kind: str) -> None:
    """Neither written nor buffered yet."""
    holds(quiet(Made().replied("alice-1").fault(kind, "agents")).inspected(), FALLBACK)


def terminated(made: Made, after_s: float = 3.0) -> Made:
    """The agents are told to end just after a reply, and come back."""
    made.wait(20.0).replied("alice-1").fault("terminate", "agents").wait(after_s)
    return quiet(made.fault("terminate", "agents", phase="end")).inspected()


def test_fallback_is_broken_by_a_graceful_end_that_loses_something() -> None:
    """There was time enough."""
    said, where = evidence(terminated(Made()), FALLBACK)
    assert said.startswith("the analytics of alice-1 were due at 20.100 s, before the agents were told to end at 20.2")
    assert where == "lost"
    assert site(terminated(Made().fault("llm-slow", "llm", for_s=60.0)), FALLBACK) == "lost"
    assert site(terminated(Made().fault("crash", "clickhouse", for_s=60.0)), FALLBACK) == "lost"
    assert site(terminated(Made().fault("partition", "agents", "redis", for_s=12.0)), FALLBACK) == "lost"
    assert site(terminated(Made().fault("crash", "agents", for_s=12.0)), FALLBACK) == "lost"


def test_fallback_forgives_a_graceful_end_that_could_not_write() -> None:
    """Too short, or with the agents in trouble shortly before or meanwhile, or both of the places where they write."""
    holds(terminated(Made(), after_s=0.5), FALLBACK)
    holds(terminated(Made().fault("crash", "clickhouse", for_s=60.0), after_s=1.8), FALLBACK)
    away = Made().fault("crash", "clickhouse", for_s=60.0)
    holds(terminated(away.fault("partition", "agents", "redis", for_s=12.0)), FALLBACK)
    holds(terminated(Made().fault("freeze", "agents", for_s=12.0)), FALLBACK)
    twice = Made().wait(20.0).replied("alice-1").fault("terminate", "agents").fault("terminate", "agents")
    twice.fault("terminate", "agents", phase="end").wait(3.0).fault("terminate", "agents", phase="end")
    holds(quiet(twice).inspected(), FALLBACK)


def test_fallback_is_broken_by_what_is_there_twice() -> None:
    """Exactly once."""
    made = quiet(Made()).row("alice-1", event_id="1").row("alice-1", event_id="2").inspected()
    assert evidence(made, FALLBACK) == ("the analytics of alice-1 are there 2 times", "twice")


def test_fallback_is_broken_by_a_row_of_nothing() -> None:
    """A row says that a message was answered."""
    made = quiet(Made()).row("alice-1").inspected()
    assert evidence(made, FALLBACK) == ("there is an analytics row of alice-1, which was never answered", "unanswered")
    holds(quiet(Made()).stored_reply("alice-1").row("alice-1").inspected(), FALLBACK)


def test_fallback_does_not_judge_what_comes_after_quiet() -> None:
    """It may have come after the look into the table, or before."""
    holds(quiet(Made()).replied("alice-1").analytics("written", "alice-1").inspected(), FALLBACK)
    holds(quiet(Made()).replied("alice-1").row("alice-1").inspected(), FALLBACK)


def test_fallback_is_unknown_until_the_table_was_inspected() -> None:
    """Rows alone may be half of them."""
    verdict = Made().analytics("buffered", "alice-1").inspected("redis", "postgres").judged_by(FALLBACK)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "the analytics table was not inspected")


def test_fallback_is_broken_by_what_left_the_buffer_and_was_never_written() -> None:
    """That an insert of unknown outcome had brought it there before is luck."""
    made = Made().replied("alice-1").analytics("buffered", "alice-1").row("alice-1")
    assert site(quiet(made).inspected(), FALLBACK) == "not drained"


def test_fallback_is_unknown_when_nothing_was_answered() -> None:
    """A connection is no answer."""
    verdict = quiet(Made().welcome("alice")).inspected().judged_by(FALLBACK)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "no message was answered")


def test_fallback_counts_what_was_drained_at_the_moment_in_which_all_became_quiet() -> None:
    """All is quiet because of it."""
    made = Made().ask("alice-1").replied("alice-1").analytics("buffered", "alice-1").analytics("drained", "alice-1")
    made.wait(-0.1).mark("quiet").row("alice-1").inspected()
    holds(made, FALLBACK)
