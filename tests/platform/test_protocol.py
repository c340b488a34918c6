"""Frames and tokens: what is accepted and what is not."""

import pytest
import time_machine

from models.protocol import (
    CHAT,
    AgentEvent,
    Cancel,
    ClientFrame,
    ErrorFrame,
    Hello,
    InvalidFrameError,
    Logout,
    Message,
    Refresh,
    Reply,
    ServerFrame,
    Welcome,
    decode_client,
    decode_server,
    encode,
)
from models.tokens import Claims, InvalidTokenError, issue_login, issue_token, verify

SECRET = "a secret that only the tests know"
OTHER_SECRET = "some other secret of the tests"


@pytest.mark.parametrize(
    "frame",
    [
        Hello("t"),
        Hello("t", user="alice", session="s", last_seen=17, last_event="17-0"),
        Message("m1", 'q "\u00fc"\n', "alice/1"),
        Message("m1", "q", "c", {"triage": (), "report": ("triage",)}),
        Cancel("m1"),
        Refresh(),
        Logout(),
    ],
)
def test_a_clients_frame_survives_the_wire(frame: ClientFrame) -> None:
    """Both ends share one definition."""
    assert decode_client(encode(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Welcome("alice", "s", "t", 300),
        Reply(to="m1", seq=1, status="partial", text="", nodes={"data": "failed"}),
        AgentEvent(id="1-0", event="agent_started", to="m1", node="data", attempt=1),
        ErrorFrame("bad_request"),
        ErrorFrame("overloaded", id="m1"),
    ],
)
def test_a_gateways_frame_survives_the_wire(frame: ServerFrame) -> None:
    """Optional fields among them."""
    assert decode_server(encode(frame)) == frame


def test_the_wire_form_is_plain_json() -> None:
    """Users' programs in other languages rely on the names."""
    reply = Reply(to="m1", seq=17, status="done", text="t", nodes={"triage": "completed"})
    assert encode(reply) == (
        '{"type":"reply","to":"m1","seq":17,"status":"done","text":"t","nodes":{"triage":"completed"}}'
    )


def test_a_message_without_a_workflow_is_a_chat() -> None:
    """Who only wants to ask something need not know of agents."""
    frame = decode_client('{"type":"message","id":"m1","text":"t","context":"c"}')
    assert frame == Message("m1", "t", "c", CHAT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"type":"hello"}',
        '{"type":"ack","id":"m1"}',
        '{"type":"message","id":1,"text":"t","context":"c"}',
        '{"type":"message","id":"m1","text":"t","context":"c","priority":1}',
        '{"type":"hello","token":"t","last_seen":-1}',
        '{"type":"hello","token":"t","last_seen":9007199254740993}',
        '{"type":"hello","token":"t","last_event":"$"}',
    ],
)
def test_what_is_no_client_frame_is_refused(text: str) -> None:
    """Among them `$`, which Redis would take for a position of its own."""
    with pytest.raises(InvalidFrameError):
        decode_client(text)


def test_a_client_refuses_what_is_no_server_frame() -> None:
    """The directions are separate."""
    with pytest.raises(InvalidFrameError):
        decode_server('{"type":"hello","token":"t"}')


def test_a_token_names_its_user_and_session_and_a_login_names_no_session() -> None:
    """By that the two are told apart."""
    with time_machine.travel(1000, tick=False):
        login, token = issue_login("alice", SECRET, lifetime_s=5), issue_token("alice", "s", SECRET, lifetime_s=7)
        assert verify(login, SECRET) == Claims("alice", None, 1005)
        assert verify(token, SECRET) == Claims("alice", "s", 1007)


def test_a_token_is_valid_until_just_before_it_expires() -> None:
    """The client is told for how long; it must not be shorter than that by a second."""
    with time_machine.travel(1000, tick=False) as wall:
        token = issue_token("alice", "s", SECRET, lifetime_s=10)
        wall.shift(9)
        verify(token, SECRET)
        wall.shift(1)
        with pytest.raises(InvalidTokenError) as raised:
            verify(token, SECRET)
        assert raised.value.expired


@pytest.mark.parametrize("token", ["", "a.b.c", "\u00fc", "forged", "nobody", "tampered"])
def test_a_token_that_proves_nothing_is_invalid_and_not_called_expired(token: str) -> None:
    """Only who was somebody once is told to log in again."""
    login = issue_login("alice", SECRET)
    body, other = login.split("."), issue_login("bob", SECRET).split(".")
    made = {
        "forged": issue_login("alice", OTHER_SECRET),
        "nobody": issue_login("", SECRET),
        "tampered": ".".join((body[0], other[1], body[2])),
    }
    with pytest.raises(InvalidTokenError) as raised:
        verify(made.get(token, token), SECRET)
    assert not raised.value.expired
