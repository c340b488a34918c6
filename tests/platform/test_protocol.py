"""Frames and tokens: what is accepted and what is not."""

import pytest
import time_machine

from models.protocol import Hello, InvalidFrameError, Message, Reply, decode_client, decode_server, encode
from models.tokens import InvalidTokenError, issue, verify

SECRET = "a secret that only the tests know"


@pytest.mark.parametrize("frame", [Hello("t", None), Hello("t", "17-0"), Message("m1", 'q "ü"\n', "alice/1")])
def test_a_clients_frame_survives_the_wire(frame: Hello | Message) -> None:
    """Both ends share one definition."""
    assert decode_client(encode(frame)) == frame


def test_the_wire_form_is_plain_json() -> None:
    """Users' programs in other languages rely on the names."""
    assert encode(Reply(to="m1", seq="17-0", text="t")) == '{"type":"reply","to":"m1","seq":"17-0","text":"t"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"type":"hello"}',
        '{"type":"ack","id":"m1"}',
        '{"type":"message","id":1,"text":"t","context":"c"}',
        '{"type":"hello","token":"t","last_seen":"$"}',
    ],
)
def test_what_is_no_client_frame_is_refused(text: str) -> None:
    """Among them `$`, which Redis would take for a position of its own."""
    with pytest.raises(InvalidFrameError):
        decode_client(text)


def test_a_client_refuses_what_is_no_server_frame() -> None:
    """The directions are separate."""
    with pytest.raises(InvalidFrameError):
        decode_server('{"type":"hello","token":"t","last_seen":null}')


def test_a_token_names_its_user() -> None:
    """And nobody else."""
    assert verify(issue("alice", SECRET), SECRET) == "alice"


def test_forged_expired_and_malformed_tokens_are_invalid() -> None:
    """Each for its own reason, all alike to the caller."""
    expired = issue("alice", SECRET, lifetime_s=10)
    with time_machine.travel("2099-01-01"), pytest.raises(InvalidTokenError):
        verify(expired, SECRET)
    for token in ("", "a.b.c", "ü", issue("alice", "some other secret of the tests"), issue("", SECRET)):
        with pytest.raises(InvalidTokenError):
            verify(token, SECRET)
