"""What a gateway reads is anybody's: whatever comes, it is a frame, or refused as none."""

import json
from contextlib import suppress

import pytest
from hypothesis import example, find, given, settings
from hypothesis import strategies as st

from models.malformed import malformed_frames, malformed_texts
from models.protocol import Hello, InvalidFrameError, Message, decode_client
from models.workflow import InvalidWorkflowError, Workflow

DEEP = 100_000
HOSTILE = {
    "deep arrays": "[" * DEEP,
    "deep arrays before the type": '{"id":' + "[" * DEEP + "]" * DEEP + ',"type":"message"}',
    "deep objects before the type": '{"id":' + '{"a":' * DEEP + "1" + "}" * DEEP + ',"type":"message"}',
    "deep arrays as the type": '{"type":' + "[" * DEEP + "]" * DEEP + "}",
    "deep arrays in a field": '{"type":"message","id":' + "[" * DEEP + "]" * DEEP + "}",
    "a huge number": '{"type":"hello","token":"t","last_seen":' + "9" * DEEP + "}",
    "a huge exponent": '{"type":"hello","token":"t","last_seen":1e999999999}',
    "a negative number": '{"type":"hello","token":"t","last_seen":-1}',
    "not a number": '{"type":"hello","token":"t","last_seen":NaN}',
    "digits of another script": '{"type":"hello","token":"t","last_event":"\u0661-\u0661"}',
    "a lone surrogate": "\ud800",
    "a lone surrogate in a field": '{"type":"cancel","id":"\ud800"}',
    "an escaped lone surrogate": '{"type":"cancel","id":"\\ud800"}',
    "an escaped lone low surrogate": '{"type":"cancel","id":"\\udc00"}',
    "a byte order mark": '\ufeff{"type":"refresh"}',
    "a character NUL": '{"type":"refresh"}\0',
    "two frames": '{"type":"refresh"}{"type":"refresh"}',
    "no UTF-8": b"\xff",
    "no UTF-8 in a field": b'{"type":"cancel","id":"\xff"}',
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "token", "text", "context", "workflow", "user", "session", "last_seen", "last_event"])
TYPES = st.sampled_from(["hello", "message", "cancel", "refresh", "logout", "ack", "reply"])


def refused(text: str | bytes) -> bool:
    """Whether a gateway answers bad_request, on a connection that has said hello before."""
    try:
        frame = decode_client(text)
        if isinstance(frame, Message):
            Workflow(frame.workflow)
    except (InvalidFrameError, InvalidWorkflowError):
        return True
    return isinstance(frame, Hello)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in HOSTILE.items()])
def test_hostile_input_is_refused_as_any_other(text: str | bytes) -> None:
    """Another error than that would end the connection without a word, or more than the connection."""
    with pytest.raises(InvalidFrameError):
        decode_client(text)


@settings(deadline=None, database=None)
@given(st.text() | st.binary())
@example("\ud800")
@example(b"\xff")
def test_text_of_any_kind_is_a_frame_or_refused_as_none(text: str | bytes) -> None:
    """Nothing is assumed of a peer."""
    with suppress(InvalidFrameError):
        decode_client(text)


@settings(deadline=None, database=None)
@given(st.builds(lambda kind, fields: {"type": kind, **fields}, TYPES, st.dictionaries(FIELDS, JSON)))
def test_objects_with_the_right_names_are_frames_or_refused_as_none(fields: dict[str, object]) -> None:
    """Nearer to frames than text at random."""
    with suppress(InvalidFrameError):
        decode_client(json.dumps(fields))


@pytest.mark.parametrize("wrong", malformed_texts())
def test_every_malformed_text_is_refused(wrong: str) -> None:
    """A legal message among them would be stored, and nobody would know that they had sent it."""
    texts = malformed_texts()[wrong]
    assert texts
    assert [text for text in texts if not refused(text)] == []


def test_legal_frames_are_not_refused() -> None:
    """Or the test above would show nothing."""
    assert not refused('{"type":"message","id":"m-1","text":"","context":""}')
    assert not refused('{"type":"cancel","id":"m-1"}')


def test_a_malformed_text_shrinks_to_the_simplest() -> None:
    """A report should not show a long text where none at all would do."""
    for wanted, simplest in ((lambda _text: True, ""), (lambda text: len(text) > 0, "{}")):
        assert find(malformed_frames(), wanted, settings=settings(deadline=None, database=None)) == simplest


def test_a_malformed_text_can_be_sent_and_recorded() -> None:
    """A lone surrogate can neither travel nor be kept in a trace."""
    for texts in malformed_texts().values():
        assert all(json.loads(json.dumps(text).encode()) == text for text in texts)
        assert all(len(text.encode()) < 1000 for text in texts)
