"""Degradation, on histories made by hand."""

import re
from pathlib import Path

import pytest

from properties.degradation import AS_EVER, DEGRADATION, DEPENDENCIES, TABLE, Promise
from simulator import Kind
from simulator.history import Value
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site

AWAY = {
    "nothing away": "",
    "ClickHouse away": "clickhouse",
    "LLM away": "llm",
    "Redis away": "redis",
    "PostgreSQL away": "postgres",
}
PLATFORM = Path(__file__).parents[2] / "docs" / "platform.md"


# The table


def shown() -> dict[tuple[str, str], Promise]:
    """Return the table of the document, by who is away ("" for nobody) and what is done. An empty cell is as ever."""
    rows = [line.split("|")[1:-1] for line in PLATFORM.read_text().splitlines() if line.startswith("| ")]
    head, *body = [row for row in rows if len(row) == 2 + len(DEPENDENCIES)]
    aways = [AWAY[cell.strip()] for cell in head[1:]]
    return {
        (away, re.findall("`(.+?)`", row[0])[0]): promise_in(cell)
        for row in body
        for away, cell in zip(aways, row[1:], strict=True)
        if cell.strip()
    }


def promise_in(cell: str) -> Promise:
    within = re.search(r"in ([\d.]+) s", cell)
    return Promise(tuple(re.findall("`(.+?)`", cell)), float(within[1]) if within else float("inf"))


def test_the_table_of_the_document_is_the_promise() -> None:
    """Cell by cell: what people read is what runs are judged by."""
    promised = {("", what): promise for what, promise in AS_EVER.items()} | dict(TABLE)
    assert shown() == {key: Promise(each.outcomes, each.within_s) for key, each in promised.items()}


def test_whatever_is_away_changes_something_and_is_in_the_table_for_it() -> None:
    """And nothing is in it that is as ever."""
    assert sorted({away for away, _ in TABLE}) == sorted(DEPENDENCIES)
    assert all(TABLE[away, what] != AS_EVER[what] for away, what in TABLE)


# What it judges


def without(*at: str, kind: str = "crash", for_s: float = 30.0) -> Made:
    """A connected user, and something that goes away."""
    return connected().fault(kind, *at, for_s=for_s)


def connected() -> Made:
    made = Made().mark("start", latency_s=0.001).observe("gateway-a", "connection_opened", user="alice")
    return made.welcome("alice").wait(20.0)


def judged(made: Made, what: str) -> int:
    """Return how many of what was done were judged; nothing may be wrong."""
    verdict = made.judged_by(DEGRADATION)
    assert verdict.violation is None, verdict
    return sum(count for key, count in verdict.examined.items() if key.startswith(f"{what} with"))


def asked(made: Made, after_s: float) -> Made:
    return made.ask("alice-1").wait(after_s).reply("alice-1", 1)


def worked(made: Made, node: str, ended: str, for_s: float = 0.3) -> Made:
    name = "agent_failed" if ended == "failed" else "agent_completed"
    return made.agent("alice-1", node, "agent_started").wait(for_s).agent("alice-1", node, name, detail=ended)


@pytest.mark.parametrize(("away", "limit_s"), [("clickhouse", 4.0), ("llm", 9.0), ("redis", 12.0)])
def test_questions_are_answered_in_time(away: str, limit_s: float) -> None:
    """Whoever is away, but the ledger; a late answer is broken, and so is none."""
    assert judged(asked(without(away), 2.0), "answer") == 1
    assert judged(asked(without("agents", away, kind="partition"), 2.0), "answer") == 1
    said, where = evidence(asked(without(away), limit_s + 1.0), DEGRADATION)
    assert said.startswith(f"with {away} away the answer to alice-1 did not come to reply within {limit_s:g} s")
    assert where == f"answer without {away}"
    never = without(away).ask("alice-1").wait(limit_s + 1.0).mark("quiet")
    assert site(never, DEGRADATION) == f"answer without {away}"


def test_an_answer_may_take_longer_behind_others() -> None:
    """One question after another, and one agent after another."""
    behind = without("llm").ask("alice-0").ask("alice-1").wait(10.0).reply("alice-0", 1).wait(4.0).reply("alice-1", 2)
    assert site(behind, DEGRADATION) == "answer without llm"
    behind = without("llm").ask("alice-0").ask("alice-1").wait(5.0).reply("alice-0", 1).wait(9.0).reply("alice-1", 2)
    assert judged(behind, "answer") == 2
    chain: dict[str, Value] = {"triage": [], "report": ["triage"]}
    assert judged(without("llm").ask("alice-1", workflow=chain).wait(14.0).reply("alice-1", 1), "answer") == 1


@pytest.mark.parametrize(
    ("away", "node", "comes_to"),
    [
        ("clickhouse", "data-1", "failed"),
        ("clickhouse", "triage", "completed"),
        ("llm", "triage", "degraded"),
        ("llm", "report-2", "degraded"),
        ("llm", "data", "completed"),
        ("redis", "triage", "completed"),
        ("postgres", "optimisation", "completed"),
        ("redis", "action", "completed"),
    ],
)
def test_agents_do_what_they_can(away: str, node: str, comes_to: str) -> None:
    """Without the LLM they do without its words; without ClickHouse there are no data; nothing else matters."""
    assert sum(judged(worked(without(away), node, comes_to), what) for what in ("think", "data", "action")) == 1
    wrong = {"completed": "failed", "degraded": "failed", "failed": "completed"}[comes_to]
    said, _ = evidence(worked(without(away), node, wrong), DEGRADATION)
    assert said.startswith(f"with {away} away {node} of alice-1 came to {wrong} instead of {comes_to}")


def test_an_agent_may_know_an_answer_and_may_be_asked_too_much() -> None:
    """From the cache; and what the LLM refuses is refused whoever is away."""
    assert judged(worked(without("llm"), "triage", "completed"), "think") == 1
    refused = without("redis").agent("alice-1", "triage", "agent_started")
    assert judged(refused.agent("alice-1", "triage", "agent_failed", detail="refused"), "think") == 0


@pytest.mark.parametrize("code", ["try_later", "unavailable"])
def test_questions_are_refused_clearly_without_a_ledger(code: str) -> None:
    """And soon."""
    made = without("postgres").ask("alice-1", Kind.FAIL).error("alice", code, "alice-1")
    assert judged(made, "ask") == 1
    late = without("postgres").ask("alice-1", Kind.INFO).wait(7.0).error("alice", code, "alice-1")
    assert site(late, DEGRADATION) == "ask without postgres"


def test_without_a_ledger_nothing_else_may_become_of_a_question() -> None:
    """No acknowledgement, no silence, and no other reason."""
    assert evidence(without("postgres").ask("alice-1"), DEGRADATION) == (
        "with postgres away alice-1 came to ack instead of try_later or unavailable",
        "ask without postgres",
    )
    refused = without("postgres").ask("alice-1", Kind.FAIL).error("alice", "bad_request", "alice-1")
    assert site(refused, DEGRADATION) == "ask without postgres"
    silent = without("postgres").ask("alice-1", Kind.INFO).wait(9.0).mark("quiet")
    assert site(silent, DEGRADATION) == "ask without postgres"
    assert site(without("redis").ask("alice-1", Kind.FAIL).error("alice", "try_later", "alice-1"), DEGRADATION)


def entered(made: Made, answer: str) -> Made:
    """Bob logs in, and is told that, or nothing."""
    number = made.begin("bob", "connect")
    if answer == "welcome":
        made.welcome("bob")
    elif answer:
        made.error("bob", answer)
    return made.wait(3.0).record(Kind.INFO, "user:bob", "connect", number, error="too slow")


@pytest.mark.parametrize(
    ("away", "right", "wrong"),
    [
        ("redis", "unavailable", ("welcome", "unauthorised", "")),
        ("postgres", "welcome", ("unavailable", "")),
        ("llm", "welcome", ("unavailable", "")),
        ("clickhouse", "welcome", ("unavailable", "")),
    ],
)
def test_nobody_comes_in_without_sessions_and_everybody_with_them(
    away: str, right: str, wrong: tuple[str, ...]
) -> None:
    """A session cannot be begun without Redis; whoever else is away does not matter. Silence is no answer."""
    assert judged(entered(without(away), right), "connect") == 1
    for answer in wrong:
        assert site(entered(without(away), answer), DEGRADATION) == f"connect without {away}"


def logged_out(made: Made, how: Kind, error: str = "") -> Made:
    number = made.begin("alice", "log_out")
    return made.wait(1.0).record(how, "user:alice", "log_out", number, error=error).wait(3.0).mark("quiet")


def test_log_outs_need_sessions_and_nothing_else() -> None:
    """Whoever logs out is told whether they are."""
    refused = "ConnectionError: no confirmation of the log-out: ErrorFrame(code='unavailable', id=None)"
    assert judged(logged_out(without("redis"), Kind.INFO, refused), "log_out") == 1
    assert judged(logged_out(without("postgres"), Kind.OK), "log_out") == 1
    assert evidence(logged_out(without("postgres"), Kind.INFO, refused), DEGRADATION)[0].startswith(
        "with postgres away alice's log-out at 20.700 s came to unavailable instead of logged_out"
    )
    assert site(logged_out(without("redis"), Kind.OK), DEGRADATION) == "log_out without redis"
    silent = logged_out(without("redis"), Kind.INFO, "ConnectionError: the gateway did not answer")
    assert site(silent, DEGRADATION) == "log_out without redis"


def test_tokens_are_refreshed_with_sessions_only() -> None:
    """A token without a look at its session would be believed too long."""
    assert judged(without("redis").wait(5.0).error("alice", "unavailable"), "refresh") == 1
    assert judged(without("postgres").wait(5.0).frame("alice", "token", token="...", expires_in=12), "refresh") == 1
    believed = without("redis").wait(5.0).frame("alice", "token", token="...", expires_in=12)
    assert site(believed, DEGRADATION) == "refresh without redis"
    assert site(without("llm").wait(5.0).error("alice", "unavailable"), DEGRADATION) == "refresh without llm"


def test_connections_stay() -> None:
    """Without Redis until their token expires; else until their users leave."""
    for away in DEPENDENCIES:
        assert judged(without(away).wait(40.0).mark("quiet"), "stay") == 1
        lost = without(away).wait(5.0).disconnected("alice").mark("quiet")
        assert site(lost, DEGRADATION) == f"stay without {away}"
        left = without(away).operation("alice", "leave").disconnected("alice").mark("quiet")
        assert judged(left.wait(40.0).mark("end"), "stay") == 0
    expired = without("redis").wait(5.0).error("alice", "expired").disconnected("alice").mark("quiet")
    assert judged(expired, "stay") == 1


def come_back(*at: str) -> Made:
    """A reply was stored while its user was not there; then something goes away, and the user comes."""
    made = connected().ask("alice-1").operation("alice", "leave").disconnected("alice").wait(5.0)
    return made.replied("alice-1").wait(20.0).fault("crash", *at, for_s=30.0).wait(1.0).welcome("alice")


def test_replies_that_are_in_redis_arrive_without_a_ledger() -> None:
    """Who comes back is sent what they missed."""
    assert judged(come_back("postgres").wait(2.0).reply("alice-1", 1), "catch_up") == 1
    said, where = evidence(come_back("postgres").wait(7.0).mark("quiet"), DEGRADATION)
    assert said.startswith("with postgres away what alice had missed at 47.500 s did not come to reply within 6 s")
    assert where == "catch_up without postgres"


# What it does not judge


def test_what_is_away_in_part_or_comes_back_may_also_be_as_ever() -> None:
    """Another gateway may have it; so may who asks after it is back."""
    assert judged(without("gateway-b", "postgres", kind="partition").ask("alice-1"), "ask") == 0
    assert site(without("gateway-a", "postgres", kind="partition").ask("alice-1"), DEGRADATION)
    assert judged(without("postgres", kind="postgres-slow-commits").ask("alice-1"), "ask") == 1
    back = without("postgres", for_s=0.25).ask("alice-1")
    assert judged(back, "ask") == 1
    assert judged(entered(without("gateway-a", "redis", kind="partition"), "welcome"), "connect") == 1


def test_what_may_have_another_cause_is_not_judged() -> None:
    """Two things at once, shortly before or meanwhile; something mild; a user who does something; a long way."""

    def late(made: Made) -> Made:
        return asked(made, 15.0)

    for other in (["llm"], ["agents"], ["gateway-a"], ["user:alice", "gateway-a"]):
        assert judged(late(without("redis").fault("freeze", *other, for_s=1.0)), "answer") == 0
    assert judged(late(without("agents", "redis", kind="slow")), "answer") == 0
    assert judged(late(without("agents")), "answer") == 0
    for name in ("stall", "leave"):
        busy = without("redis").ask("alice-1").operation("alice", name).wait(15.0).reply("alice-1", 1)
        assert judged(busy, "answer") == 0
    far = Made().mark("start", latency_s=0.02).welcome("alice").wait(20.0).fault("crash", "redis", for_s=30.0)
    assert outcome(late(far), DEGRADATION) is Outcome.UNKNOWN


def test_what_cannot_matter_excuses_nothing() -> None:
    """Somebody else's gateway, a service that it does not need, and what another user does."""
    struck = without("redis").fault("crash", "gateway-b", for_s=9.0).operation("bob", "leave")
    assert site(asked(struck, 15.0), DEGRADATION) == "answer without redis"
    both = entered(without("redis").fault("crash", "llm", for_s=30.0), "welcome")
    assert site(both, DEGRADATION) == "connect without redis"


def test_nothing_is_known_when_nothing_was_away() -> None:
    """Or when nobody did anything meanwhile, or nothing that is promised."""
    assert outcome(asked(connected(), 1.0), DEGRADATION) is Outcome.UNKNOWN
    idle = Made().mark("start", latency_s=0.001).fault("crash", "redis", for_s=30.0).wait(40.0).mark("quiet")
    assert outcome(idle, DEGRADATION) is Outcome.UNKNOWN
    holds(asked(without("clickhouse"), 1.0), DEGRADATION)


# Perseverance


def test_degradation_is_broken_by_an_agent_that_does_not_give_up() -> None:
    """Whoever is away."""
    said, where = evidence(worked(Made(), "triage", "failed", 7.0), DEGRADATION)
    assert said == "triage of alice-1 was worked on from 0.100 to 7.200 s instead of given up after 6 s"
    assert where == "agent"
    assert outcome(worked(Made(), "triage", "failed", 6.0), DEGRADATION) is Outcome.UNKNOWN


def test_degradation_counts_an_agents_work_anew_after_a_crash() -> None:
    """The next process begins again."""
    made = Made().agent("alice-1", "triage", "agent_started").fault("crash", "agents").wait(9.0)
    assert outcome(worked(made, "triage", "completed"), DEGRADATION) is Outcome.UNKNOWN
