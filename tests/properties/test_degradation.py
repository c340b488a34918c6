"""Degradation, on histories made by hand."""

import pytest

from properties.degradation import DEGRADATION
from simulator import Kind
from simulator.history import Value
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site


def without(*at: str, kind: str = "crash") -> Made:
    """A connected user, and something that goes away."""
    return Made().mark("start", latency_s=0.001).welcome("alice").wait(20.0).fault(kind, *at, for_s=30.0)


def answered(made: Made, after_s: float, status: str = "completed") -> Made:
    nodes: dict[str, Value] = {"triage": status}
    return made.ask("alice-1").wait(after_s).reply("alice-1", 1, nodes=nodes)


@pytest.mark.parametrize("away", ["clickhouse", "llm", "redis"])
def test_degradation_holds_when_questions_are_answered(away: str) -> None:
    """In time, and as well as can be."""
    holds(answered(without(away), 2.0), DEGRADATION)
    holds(answered(without("agents", away, kind="partition"), 2.0), DEGRADATION)


@pytest.mark.parametrize(("away", "limit_s"), [("clickhouse", 4.0), ("llm", 9.0), ("redis", 12.0)])
def test_degradation_is_broken_by_a_late_answer(away: str, limit_s: float) -> None:
    """Or by none."""
    said, where = evidence(answered(without(away), limit_s + 1.0), DEGRADATION)
    assert said.startswith(f"with {away} away alice-1 was not answered within {limit_s:g} s")
    assert where == away
    assert site(without(away).ask("alice-1").wait(limit_s + 1.0).mark("quiet"), DEGRADATION) == away


def test_degradation_is_broken_by_an_agent_that_could_have_done_it() -> None:
    """An answer needs neither Redis nor ClickHouse; it does need the LLM."""
    assert evidence(answered(without("redis"), 2.0, "failed"), DEGRADATION) == (
        "with redis away triage of alice-1 was failed, and it does not need it",
        "redis",
    )
    assert site(answered(without("clickhouse"), 2.0, "degraded"), DEGRADATION) == "clickhouse"
    holds(answered(without("llm"), 2.0, "degraded"), DEGRADATION)


@pytest.mark.parametrize("code", ["try_later", "unavailable"])
def test_degradation_holds_when_questions_are_refused_without_a_ledger(code: str) -> None:
    """Clearly, and soon."""
    holds(without("postgres").ask("alice-1", Kind.FAIL).error("alice", code, "alice-1").wait(9.0), DEGRADATION)


def test_degradation_is_broken_by_silence_without_a_ledger() -> None:
    """Or by a connection that ends for no reason."""
    silent = without("postgres").ask("alice-1", Kind.INFO).wait(9.0).mark("quiet")
    assert site(silent, DEGRADATION) == "postgres"
    lost = without("postgres").ask("alice-1", Kind.INFO).disconnected("alice").wait(9.0).mark("quiet")
    assert evidence(lost, DEGRADATION)[0].startswith("with postgres away alice lost the connection at 20.9")


def late(made: Made) -> Made:
    return answered(made, 15.0)


def test_degradation_does_not_judge_what_has_another_cause() -> None:
    """Two things at once, shortly before or meanwhile; something mild; a user who does something; a long way."""
    holds(late(without("redis").fault("crash", "llm", for_s=1.0)), DEGRADATION)
    holds(late(without("redis").fault("freeze", "user:alice", "gateway-a", for_s=1.0)), DEGRADATION)
    holds(late(without("agents", "redis", kind="slow")), DEGRADATION)
    holds(late(without("agents")), DEGRADATION)
    busy = without("redis").ask("alice-1").operation("alice", "stall").wait(15.0).reply("alice-1", 1)
    holds(busy, DEGRADATION)
    second = without("redis").ask("alice-0").ask("alice-1").wait(15.0).reply("alice-0", 1).reply("alice-1", 2)
    assert site(second, DEGRADATION) == "redis"
    unclear = Made().mark("start", latency_s=0.001).welcome("alice").ask("alice-0", Kind.INFO).wait(20.0)
    holds(late(unclear.fault("crash", "redis", for_s=30.0)), DEGRADATION)
    far = Made().mark("start", latency_s=0.02).welcome("alice").wait(20.0).fault("crash", "redis", for_s=30.0)
    assert outcome(late(far), DEGRADATION) is Outcome.UNKNOWN


def worked(made: Made, for_s: float, last: str = "agent_failed") -> Made:
    return made.agent("alice-1", "triage", "agent_started").wait(for_s).agent("alice-1", "triage", last)


def test_degradation_is_broken_by_an_agent_that_does_not_give_up() -> None:
    """Whoever is away."""
    said, where = evidence(worked(Made(), 7.0), DEGRADATION)
    assert said == "triage worked on alice-1 from 0.100 to 7.200 s instead of giving up after 6 s"
    assert where == "agent"
    holds(worked(Made(), 6.0), DEGRADATION)


def test_degradation_counts_an_agents_work_anew_after_a_crash() -> None:
    """The next process begins again."""
    made = Made().agent("alice-1", "triage", "agent_started").fault("crash", "agents").wait(9.0)
    holds(worked(made, 1.0, "agent_completed"), DEGRADATION)
