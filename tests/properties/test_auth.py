"""Auth, on histories made by hand."""

import pytest

from properties.auth import AUTH
from tests.properties.made import Made, evidence, holds, site


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
    late = Made().welcome("alice").wait(13.0).frame("alice", "token", token="...", expires_in=12)
    holds(late, AUTH)
    assert site(refreshed(late, 1), AUTH) == "expired"


def test_auth_allows_the_refusal_that_ends_an_expired_connection() -> None:
    """However late it comes, it is no data."""
    holds(Made().welcome("alice").wait(20.0).error("alice", "expired").disconnected("alice"), AUTH)


@pytest.mark.parametrize("at", [("user:alice", "gateway-a"), ("gateway-a",)])
def test_auth_forgives_what_was_held_up_on_its_way(at: tuple[str, ...]) -> None:
    """It had been sent in time."""
    kind = "partition" if len(at) == 2 else "freeze"
    made = Made().welcome("alice").fault(kind, *at).wait(20.0).fault(kind, *at, phase="end")
    holds(event(made), AUTH)


def test_auth_is_not_excused_by_trouble_elsewhere() -> None:
    """A gateway needs no Redis to know what time it is."""
    made = Made().welcome("alice").fault("crash", "redis").wait(20.0).fault("crash", "redis", phase="end")
    assert site(event(made), AUTH) == "expired"


def test_auth_is_broken_by_data_in_an_ended_session() -> None:
    """Soon, when all is well; when it is not, as soon as its token has expired."""
    calm = Made().welcome("alice").operation("alice", "log_out", "s1").wait(2.0)
    said, where = evidence(event(calm), AUTH)
    assert said == "alice received a frame of type event at 2.600 s in a session that was ended at 0.500 s"
    assert where == "ended session"
    stormy = refreshed(Made().welcome("alice").fault("crash", "redis"), 1).operation("alice", "log_out", "s1")
    holds(event(stormy.wait(2.0)), AUTH)
    assert site(event(refreshed(stormy, 4).wait(1.0)), AUTH) == "ended session"


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


def trespass(made: Made, how: str, session: str, frame_session: str = "s9") -> Made:
    """A trespass that is welcomed."""
    made.begin("alice", "trespass", how=how)
    made.observe(
        "user:alice", "trespassed", how=how, session=session, frame={"type": "welcome", "session": frame_session}
    )
    return made


def test_auth_is_broken_by_every_trespass_that_is_welcomed() -> None:
    """In another's name, in a session of one's own idea, in one that was ended."""
    assert site(trespass(Made(), "claimed user", ""), AUTH) == "claimed user"
    assert site(trespass(Made(), "proposed session", "mine", "mine"), AUTH) == "proposed session"
    ended = Made().welcome("alice").operation("alice", "log_out", "s1")
    assert site(trespass(ended, "ended session", "s1", "s1"), AUTH) == "ended session welcomed"


def test_auth_allows_what_is_refused_or_no_trespass() -> None:
    """A session of the gateway's choice, and one that was ended only later."""
    holds(trespass(Made().welcome("alice"), "proposed session", "mine", "s9"), AUTH)
    made = trespass(Made().welcome("alice"), "ended session", "s1", "s1").operation("alice", "log_out", "s1")
    holds(made, AUTH)
    refused = Made().welcome("alice")
    refused.observe("user:alice", "trespassed", how="claimed user", session="", frame={"type": "error", "code": "x"})
    holds(refused, AUTH)
