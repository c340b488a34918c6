"""Auth, on histories made by hand."""

import json

import pytest

from properties.auth import AUTH, BY
from simulator.history import Value
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site

TOKEN_S = 12.0


def refreshed(made: Made, times: int) -> Made:
    for _ in range(times):
        made.wait(4.0).frame("alice", "token", token="...", expires_in=12)
    return made


def event(made: Made) -> Made:
    return made.frame("alice", "event", id="1-0", event="agent_started", to="alice-1", node="triage", attempt=1)


def test_auth_holds_while_tokens_are_renewed_and_sessions_end() -> None:
    """An ended session is served for a moment; the next is another."""
    made = event(refreshed(Made().welcome("alice"), 5)).operation("alice", "log_out", "s1")
    event(made).error("alice", "unauthorised").disconnected("alice")
    holds(event(made.welcome("alice", "s2").wait(5.0)), AUTH)


def test_auth_is_broken_by_data_after_the_token() -> None:
    """A connection for days; a token that comes too late renews nothing."""
    said, where = evidence(event(Made().welcome("alice").wait(20.0)), AUTH)
    assert said.startswith("alice received a frame of type event at 20.4")
    assert where == "expired"
    in_time = Made().welcome("alice").wait(11.9).frame("alice", "token", token="...", expires_in=12)
    holds(event(in_time.wait(11.9)), AUTH)
    late = Made().welcome("alice").wait(13.0).frame("alice", "token", token="...", expires_in=12)
    assert evidence(late, AUTH) == (
        "alice received a frame of type token at 13.400 s on a connection whose token had come at 0.200 s and was "
        "valid for 12 s",
        "expired",
    )


@pytest.mark.parametrize(("kind", "grace_s"), [("event", 0.5), ("reply", 0.5), ("ack", 4.0), ("cancelling", 4.0)])
def test_auth_lets_a_connection_with_an_expired_token_answer_and_nothing_else(kind: str, grace_s: float) -> None:
    """What is just being stored is stored to the end; what is pushed needs a right to be."""
    for over_s, is_legal in ((-0.3, True), (0.3, False)):
        made = Made().welcome("alice").wait(TOKEN_S + grace_s + over_s - 0.2).frame("alice", kind, id="alice-1")
        assert (outcome(made, AUTH) is Outcome.HOLDS) is is_legal


def test_auth_allows_the_refusal_that_ends_an_expired_connection() -> None:
    """However late it comes, it is no data."""
    holds(Made().welcome("alice").wait(20.0).error("alice", "expired").disconnected("alice"), AUTH)


@pytest.mark.parametrize("at", [("user:alice", "gateway-a"), ("gateway-a",)])
def test_auth_forgives_what_was_held_up_on_its_way(at: tuple[str, ...]) -> None:
    """It had been sent in time."""
    kind = "partition" if len(at) == 2 else "freeze"
    made = Made().welcome("alice").fault(kind, *at).wait(20.0).fault(kind, *at, phase="end")
    holds(event(made), AUTH)


@pytest.mark.parametrize("at", [("redis",), ("postgres", "gateway-a"), ("agents", "llm"), ("user:bob", "gateway-a")])
def test_auth_is_not_excused_by_trouble_elsewhere(at: tuple[str, ...]) -> None:
    """A gateway needs nobody to know what time it is."""
    made = Made().welcome("alice").fault("hold", *at).wait(20.0).fault("hold", *at, phase="end")
    assert site(event(made), AUTH) == "expired"


def test_auth_is_not_excused_by_trouble_that_was_over_before() -> None:
    """What a device did not read in the token's first seconds holds nothing up after its last."""
    assert site(event(Made().welcome("alice").operation("alice", "stall", for_s=9.0).wait(15.0)), AUTH) == "expired"
    holds(event(Made().welcome("alice").wait(8.0).operation("alice", "stall", for_s=9.0).wait(8.7)), AUTH)


def test_auth_is_broken_by_data_in_an_ended_session() -> None:
    """Soon, when all is well; when it is not, as soon as its token has expired."""
    calm = Made().welcome("alice").operation("alice", "log_out", "s1").wait(2.0)
    said, where = evidence(event(calm), AUTH)
    assert said == "alice received a frame of type event at 2.600 s in a session that was ended at 0.500 s"
    assert where == "ended session"
    stormy = refreshed(Made().welcome("alice").fault("crash", "redis"), 1).operation("alice", "log_out", "s1")
    holds(event(stormy.wait(2.0)), AUTH)
    assert site(event(refreshed(stormy, 4).wait(1.0)), AUTH) == "ended session"


@pytest.mark.parametrize("at", [("agents", "llm"), ("agents", "redis"), ("postgres",), ("user:bob", "gateway-b")])
def test_auth_lets_only_what_news_of_ends_must_pass_excuse_an_ended_session(at: tuple[str, ...]) -> None:
    """Redis, the gateways, and the way between them; that an LLM is slow does not keep a connection."""
    made = Made().welcome("alice").fault("slow", *at, for_s=60.0).operation("alice", "log_out", "s1")
    assert site(event(made.wait(11.0)), AUTH) == "ended session"
    heard_not = (
        Made().welcome("alice").fault("slow", "gateway-a", "redis", for_s=60.0).operation("alice", "log_out", "s1")
    )
    holds(event(heard_not.wait(11.0)), AUTH)


def test_auth_is_broken_by_anything_but_refusals_in_an_ended_session() -> None:
    """A token least of all: it would prove what is over."""
    made = Made().welcome("alice").operation("alice", "log_out", "s1")
    for _ in range(10):
        made.wait(4.0).frame("alice", "token", token="...", expires_in=12).frame("alice", "ack", id="alice-1")
    said, where = evidence(made, AUTH)
    assert said == "alice received a frame of type token at 4.600 s in a session that was ended at 0.500 s"
    assert where == "ended session"
    stored = Made().welcome("alice").operation("alice", "log_out", "s1").wait(4.0).frame("alice", "ack", id="alice-1")
    holds(stored.error("alice", "unauthorised"), AUTH)


def test_auth_is_broken_by_what_reaches_who_is_not_welcomed() -> None:
    """Before any welcome, and after the connection's end, there are refusals only."""
    assert evidence(Made().reply("alice-1", 1), AUTH) == (
        "alice received a frame of type reply at 0.100 s on a connection that was not welcomed",
        "uninvited",
    )
    left = Made().welcome("alice").disconnected("alice")
    holds(left.error("alice", "unavailable"), AUTH)
    assert site(event(left), AUTH) == "uninvited"


def test_auth_knows_nothing_where_nobody_was_welcomed() -> None:
    """That who was refused got nothing says little."""
    assert outcome(Made().error("alice", "unavailable").mark("quiet"), AUTH) is Outcome.UNKNOWN
    holds(Made().welcome("alice").mark("quiet").inspected(), AUTH)


def test_auth_forgives_what_a_stalled_device_reads_late() -> None:
    """It was there before."""
    made = Made().welcome("alice").operation("alice", "stall", for_s=3.0)
    holds(event(made.operation("alice", "log_out", "s1").wait(2.5)), AUTH)


def test_auth_is_broken_by_a_session_that_is_back() -> None:
    """Somebody wrote it anew."""
    made = Made().welcome("alice").operation("alice", "log_out", "s1")
    made.observe("observer", "session_key", session="s1", user="alice", ttl_s=3600)
    assert site(made, AUTH) == "revived"


def test_auth_is_broken_by_a_session_that_nobody_began_for_the_user() -> None:
    """Begun for another, say."""
    made = Made().frame("alice", "welcome", user="alice", session="s1", token="...", expires_in=12)
    assert site(made, AUTH) == "foreign session"


def test_auth_is_broken_by_a_welcome_in_anothers_name() -> None:
    """Whoever the session was begun for."""
    made = Made().observe("gateway-a", "session_begun", user="alice", session="s1")
    made.frame("alice", "welcome", user="bob", session="s1", token="...", expires_in=12)
    assert evidence(made, AUTH) == ("alice was welcomed at 0.200 s as bob", "another user")


def token(user: str, session: str) -> str:
    return json.dumps({"sub": user, "sid": session, "exp": 1750000012})


def test_auth_is_broken_by_a_token_of_another() -> None:
    """It would be welcomed elsewhere."""
    made = Made().welcome("alice").frame("alice", "token", token=token("alice", "s1"), expires_in=12)
    holds(made, AUTH)
    for foreign in (token("bob", "s1"), token("alice", "s2")):
        made = Made().welcome("alice").frame("alice", "token", token=foreign, expires_in=12)
        assert site(made, AUTH) == "foreign token"


def test_auth_is_broken_by_an_expired_token_that_is_believed() -> None:
    """Who comes back after its end has to log in again, into another session."""
    soon = refreshed(Made().welcome("alice"), 1).disconnected("alice").wait(11.0).welcome("alice")
    holds(soon, AUTH)
    said, where = evidence(soon.disconnected("alice").wait(100.0).welcome("alice"), AUTH)
    assert said == (
        "alice was welcomed at 116.100 s with the token of a session whose last had come at 15.700 s and was valid for "
        "12 s"
    )
    assert where == "expired token"
    holds(Made().welcome("alice").disconnected("alice").wait(100.0).welcome("alice", "s2"), AUTH)


def trespass(made: Made, how: str, session: str, frame_session: str = "s9", *, token: str = "") -> Made:
    """A trespass that is welcomed."""
    made.begin("alice", "trespass", how=how)
    welcome: dict[str, Value] = {"type": "welcome", "session": frame_session}
    return made.observe("user:alice", "trespassed", how=how, session=session, token=token, frame=welcome)


@pytest.mark.parametrize("how", BY)
def test_auth_is_broken_by_every_trespass_that_is_welcomed(how: str) -> None:
    """In another's name, in a session of one's own idea, in one that was ended, with a token that proves nothing."""
    made = Made().welcome("alice").operation("alice", "log_out", "s1")
    made.welcome("alice", "s2").frame("alice", "token", token=token("alice", "s2"), expires_in=12)
    session = "s1" if how == "ended session" else "mine"
    said, where = evidence(trespass(made.wait(TOKEN_S), how, session, session, token=token("alice", "s2")), AUTH)
    assert said == f"alice was welcomed at 13.100 s {BY[how]}"
    assert where == f"{how} welcomed"


def test_auth_is_broken_by_any_answer_to_a_trespass_but_a_refusal() -> None:
    """Who has not said who they are gets no token."""
    made = Made()
    made.begin("alice", "trespass", how="no hello")
    made.observe("user:alice", "trespassed", how="no hello", session="", frame={"type": "token", "token": "..."})
    assert evidence(made, AUTH) == (
        "alice received a frame of type token at 0.200 s without having said who they are",
        "no hello welcomed",
    )


def test_auth_allows_what_is_refused_or_no_trespass() -> None:
    """A session of the gateway's choice, a token that was still valid, and a session that was ended only later."""
    holds(trespass(Made().welcome("alice"), "proposed session", "mine", "s9"), AUTH)
    holds(trespass(Made().welcome("alice"), "stolen session", "bobs", "s9"), AUTH)
    young = Made().welcome("alice").frame("alice", "token", token=token("alice", "s1"), expires_in=12).wait(11.0)
    holds(trespass(young, "expired token", "", token=token("alice", "s1")), AUTH)
    made = trespass(Made().welcome("alice"), "ended session", "s1", "s1").operation("alice", "log_out", "s1")
    holds(made, AUTH)
    refused = Made().welcome("alice")
    refused.observe("user:alice", "trespassed", how="claimed user", session="", frame={"type": "error", "code": "x"})
    holds(refused, AUTH)
