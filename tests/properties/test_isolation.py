"""Isolation, on histories made by hand."""

import pytest

from properties.isolation import ISOLATION
from tests.properties.made import Made, context_of, evidence, holds, site


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
    ],
)
def test_isolation_is_broken_where_nobody_has_seen_it_yet(name: str, data: dict[str, str], expected: str) -> None:
    """It is there to be seen."""
    said, where = evidence(two_users().observe("observer", name, **data), ISOLATION)
    assert said.endswith("and the context in it is alice's")
    assert where == expected


def test_isolation_is_broken_by_news_of_anothers_message() -> None:
    """Even where it says nothing of the conversation."""
    made = two_users().frame("bob", "event", id="1-0", event="agent_started", to="alice-1", node="triage")
    assert evidence(made, ISOLATION) == ("bob received news of alice-1 at 0.700 s, which is another's", "news")


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
