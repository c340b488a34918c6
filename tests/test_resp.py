"""RESP: requests out of bytes in any pieces, and replies as Redis writes them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.services.redis.resp import (
    NULL_ARRAY,
    Failure,
    Members,
    Pairs,
    ProtocolError,
    Push,
    Reply,
    RequestParser,
    Status,
    write_reply,
)

requests = st.lists(st.lists(st.binary(max_size=12), min_size=1, max_size=4), max_size=5)


def parsed(pieces: list[bytes]) -> tuple[list[list[bytes]], str | None]:
    """The requests, and the protocol error that ended them, if one did."""
    parser, found = RequestParser(), []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := parser.next_request()) is not None:
                found.append(request)
    except ProtocolError as error:
        return found, str(error)
    return found, None


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def encoded(request: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in request)


@settings(derandomize=True, deadline=None, database=None)
@given(requests, st.lists(st.integers(min_value=0), max_size=6))
def test_requests_are_the_same_however_the_bytes_arrive(sent: list[list[bytes]], cuts: list[int]) -> None:
    """A network may cut anywhere; a server that notices has a defect."""
    assert parsed(split(b"".join(encoded(request) for request in sent), cuts)) == (sent, None)


@settings(derandomize=True, deadline=None, database=None)
@given(st.text("*$0123-x\r\n PING", max_size=40), st.lists(st.integers(min_value=0), max_size=6))
def test_any_bytes_mean_the_same_however_they_arrive(text: str, cuts: list[int]) -> None:
    """Also what is no request must be found out at the same place."""
    data = text.encode()
    assert parsed(split(data, cuts)) == parsed([data])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*" + b"1" * 70_000, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70_000, "too big bulk count string"),
        (b"x" * 70_000, "too big inline request"),
    ],
)
def test_what_is_no_request_is_named_as_redis_names_it(data: bytes, error: str) -> None:
    """The text reaches logs, where people look it up."""
    assert parsed([data]) == ([], error)


def test_inline_requests_and_empty_arrays_are_read() -> None:
    """People type inline requests, and monitors send them."""
    assert parsed([b"PING  hello\r\n\r\n*0\r\n*-1\r\nGET k\n"]) == ([[b"PING", b"hello"], [b"GET", b"k"]], None)


@pytest.mark.parametrize(
    ("reply", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (1, b":1\r\n", b":1\r\n"),
        (3.2, b"$18\r\n3.2000000000000002\r\n", b",3.2000000000000002\r\n"),
        (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        (Status(b"OK"), b"+OK\r\n", b"+OK\r\n"),
        (Failure("ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
        ([1, [b"a"]], b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n"),
        ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Pairs([(b"a", 1)]), b"*1\r\n*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Members([1]), b"*1\r\n:1\r\n", b"~1\r\n:1\r\n"),
        (Push([1]), b"*1\r\n:1\r\n", b">1\r\n:1\r\n"),
    ],
)
def test_a_reply_is_written_in_the_protocol_of_the_client(reply: Reply, resp2: bytes, resp3: bytes) -> None:
    """The two protocols tell apart different things."""
    for protocol, expected in ((2, resp2), (3, resp3)):
        out = bytearray()
        write_reply(out, reply, protocol)
        assert out == expected
