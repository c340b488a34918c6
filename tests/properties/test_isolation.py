"""Isolation, on histories made by hand."""

import pytest

from properties.isolation import ISOLATION
from simulator.history import Value
from simulator.property import Outcome
from tests.properties.made import Made, context_of, evidence, holds, outcome, site


def two_users() -> Made:
    return Made().ask("alice-1").ask("bob-1")


def test_isolation_holds_while_everyone_sees_their_own() -> None:
    """Every place in which data of two users may be."""
    made = two_users()
    for message in ("alice-1", "bob-1"):
        user = message.partition("-")[0]
        made.observe("llm", "llm_asked", user=user, system=f"triage for {user}/1", question="why?")
        made.frame(user, "event", id="1-0", event="agent_started", to=message, node="triage", attempt=1, detail="")
        made.reply(message, 1).stored(message).stored_reply(message).row(message).action(message, "action")
        made.result(message, "triage", f"why? -> triage for {user}/1")
        made.observe("observer", "cached", key=f"cache:{user}:1:2", value=f"why? -> triage for {user}/1")
        made.observe("observer", "stream_entry", stream="replies", user=user, id="1-0", body=f'{{"to":"{message}"}}')
        made.observe("observer", "buffered_row", body=f'{{"event_id":"{user}:{message}","user":"{user}"}}')
        made.observe("gateway-a", "session_begun", user=user, session=f"session-of-{user}")
        made.observe("gateway-a", "session_ended", session=f"session-of-{user}")
        made.observe("agents", "result_not_stored", message=message, node="triage", error="away")
        made.frame(user, "ack", id=message).frame(user, "cancelling", id=message).error(user, "too_late", message)
        made.error(user, "bad_request", "m-17").error(user, "unavailable")
    made.observe("llm", "llm_asked", user="platform", system="", question="ping")
    holds(made, ISOLATION)


def test_isolation_is_broken_by_a_foreign_frame() -> None:
    """Who received what, and whose it is."""
    made = two_users().reply("bob-1", 1, text="on alice/1: fine")
    assert evidence(made, ISOLATION) == (
        "bob received 'on alice/1: fine' at 0.700 s, and the context in it is alice's",
        "frame",
    )


def test_isolation_is_broken_by_a_context_in_any_field() -> None:
    """Data hide."""
    assert site(two_users().reply("bob-1", 1, nodes={"triage": {"of": "alice/1"}}), ISOLATION) == "frame"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("llm_asked", {"user": "bob", "system": "triage for alice/1", "question": "why?"}, "prompt"),
        ("stored_message", {"user": "bob", "context": "alice/1"}, "message"),
        ("stored_result", {"run": "bob:bob-1", "result": "for alice/1"}, "result"),
        ("stored_reply", {"user": "bob", "text": "for alice/1"}, "reply"),
        ("cached", {"key": "cache:bob:1:2", "value": "for alice/1"}, "cache"),
        ("cached", {"key": "cache:0123456789", "value": "for alice/1"}, "cache"),
        ("llm_exchanged", {"request": {"user": "bob", "messages": [{"content": "for alice/1"}]}}, "prompt"),
        ("stream_entry", {"stream": "replies", "user": "bob", "body": '{"text":"for alice/1"}'}, "stream"),
        ("buffered_row", {"body": '{"user":"bob","at":"alice/1"}'}, "row"),
        ("analytics_written", {"user": "bob", "message": "bob-1", "of": "alice/1"}, "log"),
        ("agent_event", {"user": "bob", "message": "bob-1", "detail": "alice/1"}, "log"),
        ("refused", {"reason": "no reason", "request": {"context": "alice/1"}}, "log"),
        ("result_not_stored", {"message": "bob-1", "error": "alice/1"}, "log"),
        ("connection_failed", {"errors": ["alice/1"]}, "log"),
    ],
)
def test_isolation_is_broken_where_nobody_has_seen_it_yet(name: str, data: dict[str, Value], expected: str) -> None:
    """It is there to be seen."""
    said, where = evidence(two_users().observe("observer", name, **data), ISOLATION)
    assert said.endswith("and the context in it is alice's")
    assert where == expected


def test_isolation_is_broken_by_news_of_anothers_message() -> None:
    """Even where it says nothing of the conversation."""
    made = two_users().frame("bob", "event", id="1-0", event="agent_started", to="alice-1", node="triage")
    assert evidence(made, ISOLATION) == (
        "bob received news of alice-1 at 0.700 s in a frame of type event, and it is another's",
        "news",
    )


@pytest.mark.parametrize("kind", ["ack", "cancelling", "error"])
def test_isolation_is_broken_by_an_answer_to_another(kind: str) -> None:
    """That somebody has asked is nobody else's business."""
    assert site(two_users().frame("bob", kind, id="alice-1", code="too_late"), ISOLATION) == "news"


def test_isolation_is_broken_by_a_session_of_another() -> None:
    """Also where it is only a part of what a token claims."""
    made = two_users().observe("gateway-a", "session_begun", user="alice", session="5f2b9c1e")
    made.frame("bob", "token", token='{"sub":"alice","sid":"5f2b9c1e"}', expires_in=12)
    said, where = evidence(made, ISOLATION)
    assert said.endswith("and the session in it is alice's")
    assert where == "frame"


def test_isolation_is_broken_by_a_message_that_the_log_tells_of_another() -> None:
    """Who reads the log of one user must not learn of others."""
    made = two_users().observe("gateway-a", "message_accepted", user="bob", message="alice-1")
    assert evidence(made, ISOLATION) == (
        "gateway-a told of bob {'user': 'bob', 'message': 'alice-1'} at 0.700 s, and the message in it is alice's",
        "log",
    )


def test_isolation_is_broken_by_a_question_that_another_has_asked() -> None:
    """Words are known for whose they are when nobody else has said them."""
    own = Made().ask("alice-1", text="am I ill?").ask("bob-1")
    prompt: dict[str, Value] = {"user": "bob", "system": "triage for bob/1", "question": "am I ill?"}
    assert evidence(own.observe("llm", "llm_asked", **prompt), ISOLATION) == (
        "the LLM was asked 'am I ill?' for bob, and the question in it is alice's",
        "prompt",
    )
    own = Made().ask("alice-1", text="am I ill?").ask("bob-1")
    cached = own.observe("observer", "cached", key="cache:bob:1:2", value="am I ill? -> triage for bob/1")
    assert site(cached, ISOLATION) == "cache"
    for text in ("am I ill?", "but am I ill?"):
        both = Made().ask("alice-1", text="am I ill?").ask("bob-1", text=text)
        holds(both.observe("llm", "llm_asked", **(prompt | {"question": text})), ISOLATION)


def test_isolation_is_not_broken_by_what_only_looks_alike() -> None:
    """A part of a word is no mark; what the LLM mixes up is its own mistake; and a trespass is judged by auth."""
    made = Made().ask("alice-1", text="data").ask("bob-1")
    made.agent("bob-1", "data2", "agent_started").welcome("alice", "s1").welcome("bob", "s1")
    response: Value = [{"content": "triage for alice/1"}]
    made.observe("agents", "llm_exchanged", request={"user": "bob"}, response=response)
    made.observe("user:bob", "trespassed", how="stolen session", session="alice/1", frame={"type": "error"})
    holds(made, ISOLATION)


def test_isolation_knows_nothing_where_nobody_asked() -> None:
    """There was nothing to mix up."""
    made = Made().welcome("alice").mark("quiet").inspected()
    assert outcome(made, ISOLATION) is Outcome.UNKNOWN


def test_isolation_is_broken_by_records_under_another_name() -> None:
    """Effects and analytics are data of a user too."""
    assert site(two_users().action("alice-1", "action", user="bob"), ISOLATION) == "action"
    assert evidence(two_users().row("alice-1", user="bob"), ISOLATION) == (
        "the analytics row of alice-1 names bob",
        "row",
    )


def test_isolation_is_broken_by_another_conversation_of_the_same_user() -> None:
    """What was said in one thread has no business in another."""
    holds(two_users().reply("alice-1", 1, text="on alice/1"), ISOLATION)
    two = two_users().ask("alice-2")
    assert site(two.reply("alice-1", 1, text=f"on {context_of('alice-2')}"), ISOLATION) == "conversation"
