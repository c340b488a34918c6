"""Live runs of which only what users see is known: no host's log is read, and no store looked into."""

import pytest

from models.system import ChatSystem
from properties import PROMISES
from properties.auth import AUTH
from properties.contract import CONTRACT
from properties.delivery import DELIVERY
from properties.isolation import ISOLATION
from properties.latency import LATENCY
from properties.places import PROCESSES
from properties.resources import RESOURCES
from simulator import Kind, Property
from simulator.history import Value
from simulator.live.run import LiveResult
from simulator.live.verdict import Finding, judged
from simulator.property import Expectation, Outcome
from simulator.trace import Broken
from tests.properties.made import Made, outcome, site

UNLOGGED: list[Value] = [*PROCESSES, "redis", "postgres", "clickhouse", "llm"]
SEEN = [ISOLATION, AUTH, CONTRACT, DELIVERY, LATENCY]
"""What can be judged by what users see."""


def seen_only(*untold: Value) -> Made:
    """A user of a healthy platform, none of whose hosts tells anything, asks twice, late the second time."""
    made = Made().mark("start", users=1, latency_s=0.001, unlogged=UNLOGGED, untold=[*untold])
    number = made.begin("alice", "connect")
    made.frame("alice", "welcome", user="alice", session="alice", token="...", expires_in=10**9)
    made.observe("user:alice", "client_state", state="connected")
    made.record(Kind.OK, "user:alice", "connect", number, result=None)
    made.ask("alice-1").reply("alice-1", 1)
    made.wait(20.0).ask("alice-2")
    made.frame("alice", "event", id="1-0", event="agent_started", to="alice-2", node="triage", attempt=1)
    return made.reply("alice-2", 2)


def ended(made: Made) -> Made:
    return made.mark("heal").wait(1.0).mark("quiet", "end")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
def test_what_is_not_observed_breaks_no_promise_and_keeps_none(promise: Property) -> None:
    """A platform of which less is known is no worse for that, and a promise of what nobody saw is not kept."""
    if promise.expectation is not Expectation.SOMETIMES:
        assert outcome(ended(seen_only()), promise) is (Outcome.HOLDS if promise in SEEN else Outcome.UNKNOWN)


@pytest.mark.parametrize(("promise", "site"), [(ISOLATION, "cache"), (AUTH, "revived"), (CONTRACT, "event order")])
def test_a_failure_at_a_place_that_nobody_looks_at_is_not_cleared(promise: Property, site: str) -> None:
    """The promise held wherever it was judged: of the failure that is to be reproduced that says nothing."""
    made = ended(seen_only())
    result = LiveResult(made.history, {promise.name: made.judged_by(promise)}, 1.0, strays=())
    assert judged(Broken(promise.name, site, ""), result).finding is Finding.UNKNOWN
    assert judged(Broken(promise.name, "frame", ""), result).finding is Finding.HELD


def test_a_session_that_a_gateway_began_unheard_is_none_too_many() -> None:
    """The stores may be looked into where logs are not read."""
    made = seen_only().mark("heal", "quiet").observe("observer", "session_key", session="s", user="alice", ttl_s=9)
    verdict = made.inspected().judged_by(RESOURCES)
    assert verdict.outcome is Outcome.HOLDS
    assert "session" in verdict.unjudged


def test_what_users_see_breaks_promises_all_the_same() -> None:
    """Less is known, and not nothing."""
    assert site(ended(seen_only().reply("alice-2", 3)), DELIVERY) == "twice"
    assert site(ended(seen_only().reply("alice-2", 3, user="bob")), ISOLATION) == "news"
    assert site(ended(seen_only().disconnected("alice").frame("alice", "ack", id="alice-2")), AUTH) == "uninvited"


@pytest.mark.parametrize("promise", [DELIVERY, LATENCY], ids=lambda each: each.name)
def test_what_an_adapter_never_tells_of_is_not_missed(promise: Property) -> None:
    """A platform without bots answers nobody."""
    assert outcome(ended(seen_only("reply").ask("alice-3")), promise) is Outcome.UNKNOWN


def test_who_was_told_that_a_message_is_accepted_is_waited_for() -> None:
    """No log says that it was. Without that a run would end before a slow answer, and find it missing."""
    system, waiting = ChatSystem(), "alice waits for the reply to alice-3"
    assert [each.what for each in system.pending(seen_only().ask("alice-3").history)] == [waiting]
    assert not list(system.pending(seen_only("reply").ask("alice-3").history))
    assert not list(system.pending(seen_only().history))
