"""Faults on a staging: real processes, real stores and proxies are struck and put back, and the platform bears it."""

from contextlib import closing
from pathlib import Path

import httpx
import trio

from models.system import system as chat
from simulator.fault import FAULT_KINDS, Fault
from simulator.history import Event
from simulator.live.anchors import anchors_of
from simulator.live.run import FAULT_SLACK_S, LiveResult, run_live
from simulator.live.target import Target
from simulator.plan import Do, Step, Strike
from simulator.simulated_run import simulate
from tests.live.stage import (
    QUESTION,
    WORKFLOW,
    control_of,
    hosts_up,
    plan,
    played,
    staging_of,
    struck,
    target_in,
    two_same_questions,
    wait_until,
)

ALICES = "gateway-b"  # where alice is led to first, in simulation too
CLIENTS = ("gateway-a", "gateway-b", "agents")
STORES = ("redis", "postgres", "clickhouse", "llm")


def strike(kind: str, host: str, for_s: float, after_s: float) -> Step:
    return Step(Strike(Fault(kind, (host,), for_s)), after_s)


def replies(result: LiveResult) -> list[tuple[object, object]]:
    frames = [event.data for event in result.history.observed("frame") if event.data["type"] == "reply"]
    return [(frame["to"], frame["status"]) for frame in frames]


def seen_on(result: LiveResult, host: str, name: str) -> list[Event]:
    return [event for event in result.history.observed(name) if event.host == host]


def test_a_healthy_platform_keeps_every_promise_and_does_what_it_does_in_simulation(healthy: Path) -> None:
    """Two gateways, agents, PostgreSQL, Redis, ClickHouse and an LLM, none of them simulated."""
    result = played(healthy, plan(Step(Do("ask", 0, QUESTION), 0.3), Step(Do("run_workflow", 1, WORKFLOW)), users=2))
    assert sorted(replies(result)) == [("alice-1", "done"), ("bob-1", "done")]
    assert result.strays == ()
    welcomed_by = {event.data["user"]: event.host for event in result.history.observed("connection_opened")}
    assert welcomed_by == {"alice": "gateway-b", "bob": "gateway-a"}
    assert {event.host for event in result.history.observed("llm_asked")} == {"llm"}
    assert {event.data["store"] for event in result.history.observed("inspected")} == {
        "postgres",
        "redis",
        "clickhouse",
    }


def test_every_replay_begins_with_empty_stores_and_fresh_processes(healthy: Path) -> None:
    """Or the second run of a replay would be another one than the first."""
    first, second = (played(healthy, two_same_questions()) for _ in range(2))
    for name in ("stored_message", "stored_reply", "stored_result", "cached", "row", "llm_asked", "session_key"):
        assert len(first.history.observed(name)) == len(second.history.observed(name)) == 2, name


def test_every_fault_is_done_and_undone(healthy: Path) -> None:
    """One run with all of them, after which the platform answers, and nothing of any promise is broken."""
    links = [("agents", "redis"), (ALICES, "postgres"), ("user:alice", ALICES)]
    faults = (
        *(Fault(kind.name, link, 0.1) for kind in FAULT_KINDS.values() if kind.strikes == 2 for link in links),
        *(Fault("freeze", (host,), 0.1) for host in (*STORES, *CLIENTS)),
        *(Fault("crash", (host,), 0.1) for host in (*STORES, *CLIENTS)),
        *(Fault("terminate", (host,), 0.1) for host in CLIENTS),
        Fault("llm-failing", ("llm",), 0.1),
        Fault("postgres-refusing", ("postgres",), 0.1),
    )
    steps, target = struck(*faults), target_in(healthy)
    anchors = anchors_of(steps, [])
    result = trio.run(run_live, chat, steps, lambda run: run.play(steps, anchors), target, chat.all_properties())
    for phase in ("begin", "end"):
        seen = {
            (event.name, str(event.data["at"])) for event in result.history.faults() if event.data["phase"] == phase
        }
        assert seen == {(each.kind, str(list(each.at))) for each in faults if phase == "begin" or each.kind != "reset"}
    assert not result.violated
    assert all(hosts_up(target).values())


def test_a_fault_lasts_a_little_longer_than_in_the_plan(healthy: Path) -> None:
    """The reducer leaves it as long as its failure needs; here, what runs into it begins later."""
    result = played(healthy, struck(Fault("freeze", ("llm",), 0.1), Fault("freeze", ("redis",), 0.1)))
    for host in ("llm", "redis"):
        begin, end = (event.at_s for event in result.history.faults("freeze") if event.host == host)
        assert end - begin >= 0.1 + FAULT_SLACK_S


def test_a_fault_strikes_after_what_hosts_had_done_before_it(healthy: Path) -> None:
    """A millisecond before it in simulation: here that is later than the fault would be by the clock alone."""
    ask = Do("ask", 0, QUESTION)
    seen = simulate(chat, plan(Step(ask, 3.0)), ()).history
    (asking,) = seen.operations("ask")
    (written,) = seen.observed("analytics_written")
    apart_s = written.at_s - asking.invoked.at_s + 0.001
    result = played(healthy, plan(Step(ask, apart_s), strike("freeze", "clickhouse", 0.2, 1.0)))
    (written,) = result.history.observed("analytics_written")
    assert written.index < result.history.faults("freeze")[0].index


def test_what_a_host_logged_before_it_crashed_is_recorded_before_the_crash(healthy: Path) -> None:
    """Else a breaker that moved just before would seem to be open in a platform that has forgotten it."""
    last_words = {"gateway-b": "connection_opened", "agents": "agent_event", "llm": "llm_asked"}
    result = played(healthy, struck(*(Fault("crash", (host,), 0.1) for host in last_words)))
    for host, word in last_words.items():
        names = [event.name for event in result.history.events if event.host == host]
        begun, ended = (index for index, name in enumerate(names) if name == "crash")
        assert word in names[:begun]
        assert ended == begun + 1, "the dead say nothing"
        assert {"listening", "working"} & set(names[ended:])


def test_a_gateway_that_is_told_to_end_sees_its_users_off_and_they_go_to_the_other(healthy: Path) -> None:
    """SIGTERM is what every deployment sends; what was acknowledged is answered all the same."""
    ask = Do("ask", 0, QUESTION)
    steps = plan(Step(ask, 0.3), Step(ask), strike("terminate", ALICES, 2.0, 1.0), Step(ask, 1.5))
    result = played(healthy, steps)
    assert [event.data for event in seen_on(result, ALICES, "gateway_stopping")] == [{"connections": 1}]
    assert "going_away" in [event.data.get("code") for event in result.history.observed("frame")]
    assert seen_on(result, "gateway-a", "connection_opened")
    acknowledged = [each.result for each in result.history.operations("ask") if each.ok]
    assert {"alice-1", "alice-3"} <= set(acknowledged) <= {to for to, _status in replies(result)}


def test_agents_that_crash_in_a_workflow_go_on_where_they_were(healthy: Path) -> None:
    """What the ledger holds is not done again, an action least of all."""
    slow = strike("llm-slow", "llm", 1.0, 0.1)  # so that the crash comes before the end
    crash = strike("crash", "agents", 0.5, 1.0)
    result = played(healthy, plan(slow, Step(Do("run_workflow", 0, WORKFLOW), 0.3), crash))
    assert len(seen_on(result, "agents", "run_started")) == 2
    assert replies(result) == [("alice-1", "done")]
    assert len(result.history.observed("stored_action")) == 1


def test_every_trouble_of_the_llm_is_had_and_over(healthy: Path) -> None:
    """The stand-in does on demand what a paid service does on its bad days."""
    target = target_in(healthy)
    with closing(control_of(target)) as control:
        control.order("reset")
        assert told_by_llm(target, "bob") == "why? -> for bob"
        for trouble in staging_of(target).troubles["llm"]:
            control.order("trouble", host="llm", name=trouble, on=True)
            assert told_by_llm(target, "alice") != "why? -> for alice", trouble
            control.order("trouble", host="llm", name=trouble, on=False)
            assert told_by_llm(target, "alice") == "why? -> for alice"
        control.order("trouble", host="llm", name="llm-failing", on=True)
    wait_until(lambda: told_by_llm(target, "alice") == "why? -> for alice")  # undone for who hung up


def told_by_llm(target: Target, user: str) -> str:
    """Ask the LLM by itself, and return what it says, or what went wrong."""
    messages = [{"role": "system", "content": f"for {user}"}, {"role": "user", "content": "why?"}]
    url = "http://{}:{}/v1/chat/completions".format(*target.address("llm"))
    try:
        answer = httpx.post(url, json={"model": "m", "messages": messages, "user": user}, trust_env=False, timeout=1.0)
        return str(answer.json()["choices"][0]["message"]["content"])
    except (httpx.HTTPError, KeyError, TypeError) as error:
        return repr(error)


def test_a_trouble_outlives_a_crash_and_ends_in_its_time(healthy: Path) -> None:
    """As in simulation: a crash does not cure a service."""
    steps = plan(
        strike("llm-failing", "llm", 60.0, 0.0),
        strike("crash", "llm", 0.1, 4.0),
        Step(Do("ask", 0, QUESTION), 1.0),
    )
    outcomes = [event.data["outcome"] for event in played(healthy, steps).history.observed("llm_answered")]
    assert "llm-failing" in outcomes


def test_a_crash_of_postgresql_loses_nothing_that_was_acknowledged(healthy: Path) -> None:
    """The ledger is what every promise stands on."""
    ask, crash = Do("ask", 0, QUESTION), strike("crash", "postgres", 1.0, 0.2)
    result = played(
        healthy, plan(Step(ask, 0.3), Step(ask), crash, Step(ask), Step(Do("ask", 1, QUESTION), 2.0), users=2)
    )
    stored = [event.data["message"] for event in result.history.observed("stored_message")]
    acknowledged = [each.result for each in result.history.operations("ask") if each.ok]
    assert set(acknowledged) <= set(stored)
    assert "alice-1" in acknowledged


def test_a_postgresql_that_is_full_refuses_the_platform_and_nobody_else(healthy: Path) -> None:
    """The error is the one that a real server gives for too many connections, and what is connected stays so."""
    links = [Step(Strike(Fault("reset", (gateway, "postgres")))) for gateway in ("gateway-a", "gateway-b")]
    steps = plan(
        strike("postgres-refusing", "postgres", 2.0, 0.1),
        *links,
        Step(Do("ask", 0, QUESTION), 3.0),
        Step(Do("ask", 0, QUESTION)),
    )
    result = played(healthy, steps)
    failed, asked = result.history.operations("ask")
    assert (failed.failed, asked.ok) == (True, True)
    (event,) = result.history.observed("message_not_stored")
    assert "too many connections" in str(event.data["error"])
