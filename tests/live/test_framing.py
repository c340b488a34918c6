"""Framings: where messages end, in conversations whose messages are known, however the bytes arrive."""

import itertools
import struct
import tracemalloc

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from simulator.errors import InputError
from simulator.live.framing import FRAMINGS, Finder, Framing, framing_of
from simulator.live.framing.finder import HEAD_BYTES_MAX
from tests.conformance.postgresql_client import bind, describe, execute, extended, message, parse, query, sync

Turn = tuple[str, list[bytes]]
"""Messages that go one way ("up" to the server, or "down" to the client) before any goes the other way."""


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def way(framing: Framing, name: str) -> Finder:
    return {"up": framing.to_upstream, "down": framing.to_client}[name]


def ends_in(finder: Finder, pieces: list[bytes]) -> list[int]:
    """Where messages end in all that is fed."""
    found, before = [], 0
    for piece in pieces:
        found += [before + end for end in finder.feed(piece)]
        before += len(piece)
    return found


def framed(protocol: str, turns: list[Turn], cuts: list[int]) -> list[tuple[str, list[bytes]]]:
    """The conversation again, its messages cut where the framing finds their ends; what has no end is left out."""
    framing = framing_of(protocol)()
    found = []
    for name, messages in turns:
        data = b"".join(messages)
        ends = ends_in(way(framing, name), split(data, cuts))
        assert not way(framing, name).is_lost
        found.append((name, [data[start:end] for start, end in itertools.pairwise([0, *ends])]))
    return found


# Redis


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


RESP2: list[Turn] = [
    (
        "up",
        [command(b"SET", b"k", b"a\r\n*1\r\n$2\r\n"), command(b"GET", b""), b"PING  hello\r\n", b"\r\n*0\r\nPING\n"],
    ),
    ("down", [b"+OK\r\n", b"$-1\r\n", b"$5\r\nhello\r\n", b"+PONG\r\n"]),
    ("up", [b"*-1\r\n" + command(b"XREAD"), command(b"SUBSCRIBE", b"a", b"b")]),
    ("down", [b"*2\r\n*-1\r\n*3\r\n:1\r\n*0\r\n$0\r\n\r\n", b"-ERR *2\r\n", b"*0\r\n", b"*-1\r\n"]),
]
RESP3: list[Turn] = [
    ("up", [command(b"HELLO", b"3")]),
    ("down", [b"%2\r\n+server\r\n+redis\r\n+modules\r\n*1\r\n%1\r\n+name\r\n$2\r\nab\r\n"]),
    ("up", [command(b"ANYTHING")]),
    ("down", [b">2\r\n+message\r\n$1\r\na\r\n", b"|1\r\n+ttl\r\n:9\r\n~2\r\n#t\r\n_\r\n", b"=6\r\ntxt:ab\r\n"]),
    ("down", [b"!5\r\nERR a\r\n", b",1.5\r\n", b"(123456789012345678901234567890\r\n", b"%0\r\n"]),
]

# HTTP, written by h11


def request(method: str, *headers: tuple[str, str], body: bytes = b"", trailers: bool = False) -> bytes:
    connection = h11.Connection(h11.CLIENT)
    head = h11.Request(method=method, target="/a", headers=[("Host", "h"), *headers])
    return _written(connection, head, body, trailers=trailers)


def response(
    code: int, *headers: tuple[str, str], body: bytes = b"", asked: str = "GET", trailers: bool = False
) -> bytes:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request(asked))
    connection.next_event()
    connection.next_event()
    return _written(connection, h11.Response(status_code=code, headers=list(headers)), body, trailers=trailers)


def _written(
    connection: h11.Connection, head: h11.Request | h11.Response, body: bytes, *, trailers: bool = False
) -> bytes:
    events: list[h11.Event] = [head, *(h11.Data(body[at : at + 7]) for at in range(0, len(body), 7))]
    events.append(h11.EndOfMessage(headers=[("Checksum", "1")] if trailers else []))
    return b"".join(connection.send(event) or b"" for event in events)


CHUNKED = ("Transfer-Encoding", "chunked")


def sized(count: int) -> tuple[str, str]:
    return "Content-Length", str(count)


HTTP: list[Turn] = [
    ("up", [request("GET"), request("POST", sized(12), body=b"GET / HTTP/1"), request("GET")]),
    ("down", [response(200, sized(4), body=b"\r\n\r\n"), response(200, CHUNKED, body=b"0\r\n\r\n" * 9), response(204)]),
    ("up", [request("POST", CHUNKED, body=b"0\r\n\r\n" * 5, trailers=True), b"\r\n" + request("HEAD"), request("GET")]),
    ("down", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"]),
    ("down", [response(200, CHUNKED, body=b"all", trailers=True), response(200, sized(500), asked="HEAD")]),
    ("down", [response(304, sized(500)), b"HTTP/1.1 200\r\ncontent-length: 3, 3\nContent-Length:3\n\nabc"]),
    ("down", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]),
]

# WebSocket, written by wsproto

UPGRADE: list[Turn] = [
    ("up", [request("GET"), request("GET", ("Connection", "Upgrade"), ("Upgrade", "websocket"))]),
    ("down", [response(200, sized(1), body=b"a")]),
    ("down", [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"]),
]


def frames_of(*, are_masked: bool) -> list[bytes]:
    """Messages without, with short, and with long lengths; one in fragments, with a ping in between; and a close."""
    protocol = FrameProtocol(client=are_masked, extensions=[])
    whole = [bytes(protocol.send_data(body, fin=True)) for body in ("", "hello", b"a" * 126, b"b" * 65536)]
    first, second = protocol.send_data("one", fin=False), protocol.send_data("two", fin=False)
    # The fragments before the ping are kept back with it.
    ping, last = first + second + protocol.ping(b"123"), protocol.send_data("three", fin=True)
    return [*whole, bytes(ping), bytes(last), bytes(protocol.pong()), bytes(protocol.close(1000, "bye"))]


WEBSOCKET: list[Turn] = [
    *UPGRADE,
    ("down", frames_of(are_masked=False)),
    ("up", frames_of(are_masked=True)),
    ("down", frames_of(are_masked=False)),
]

# PostgreSQL

STARTUP = struct.pack("!II", 23, 3 << 16) + b"user\0wavetank\0\0"
SSL_REQUEST, GSS_REQUEST = struct.pack("!II", 8, 80877103), struct.pack("!II", 8, 80877104)
CANCEL = struct.pack("!IIII", 16, 80877102, 7, 8)
READY = message(b"Z", b"I")
PARSED, BOUND, CLOSED, NO_DATA = message(b"1"), message(b"2"), message(b"3"), message(b"n")
DONE = message(b"C", b"SELECT 1\0")
ROW = message(b"D", b"\0\1\0\0\0\1Z")
ERROR = message(b"E", b"SERROR\0\0")
NOTICE, SETTING = message(b"N", b"SNOTICE\0\0"), message(b"S", b"TimeZone\0UTC\0")
NEWS = message(b"A", b"\0\0\0\1c\0\0")
COPY_IN, COPY_BOTH = message(b"G", b"\0\0\0"), message(b"W", b"\0\0\0")
DATA, DATA_END = message(b"d", b"1\t2\n"), message(b"c")


def authentication(code: int, more: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!I", code) + more)


BEGUN: list[Turn] = [
    ("up", [STARTUP]),
    ("down", [authentication(0) + SETTING + SETTING + message(b"K", bytes(8)) + READY]),
]
LOGIN: list[Turn] = [
    ("up", [GSS_REQUEST]),
    ("down", [b"N"]),
    ("up", [SSL_REQUEST]),
    ("down", [b"N"]),
    ("up", [STARTUP]),
    ("down", [message(b"v", bytes(8)) + authentication(10, b"SCRAM-SHA-256\0\0")]),
    ("up", [message(b"p", b"SCRAM-SHA-256\0\0\0\0\1n")]),
    ("down", [authentication(11, b"r=1")]),
    ("up", [message(b"p", b"c=1")]),
    ("down", [authentication(12, b"v=1") + authentication(0) + SETTING + READY]),
    ("up", [query("SELECT 1"), message(b"X")]),
    ("down", [message(b"T", b"\0\0") + ROW + DONE + READY]),
]
REFUSED: list[Turn] = [
    ("up", [SSL_REQUEST]),
    ("down", [ERROR]),  # by a server that knows no such request
    ("up", [STARTUP]),
    ("down", [ERROR]),
]
EXCHANGES: list[Turn] = [
    *BEGUN,
    ("up", [query("LISTEN c"), extended("SELECT $1", "x"), parse("SELEC") + sync()]),
    ("down", [NOTICE + NEWS + DONE + READY, PARSED + BOUND + NO_DATA + ROW + ROW + SETTING + DONE + READY]),
    ("down", [ERROR + READY, NEWS, NOTICE, SETTING, NEWS]),
    ("up", [message(b"F", bytes(12)), query("")]),
    ("down", [message(b"V", b"\0\0\0\0") + READY, message(b"I") + READY, ERROR]),
]
FLUSHED: list[Turn] = [  # as asyncpg prepares a statement
    *BEGUN,
    ("up", [parse("SELECT $1", name="s") + describe("s", b"S") + message(b"H")]),
    ("down", [NOTICE + PARSED + message(b"t", b"\0\0") + NO_DATA]),
    ("up", [bind("x", name="s") + execute() + sync()]),
    ("down", [BOUND + ROW + DONE + READY, NEWS]),
    ("up", [parse("SELEC") + describe("s", b"S") + message(b"H")]),
    ("down", [ERROR]),
    ("up", [sync()]),
    ("down", [READY, NEWS]),
    ("up", [extended("SELECT 1"), message(b"H")]),  # as psycopg ends a pipeline
    ("down", [PARSED + BOUND + NO_DATA + ROW + DONE + READY]),
    ("up", [extended("SELECT 1"), parse("SELECT 2") + message(b"H")]),
    ("down", [PARSED + BOUND + NO_DATA + ERROR + READY, PARSED]),
    ("up", [sync()]),
    ("down", [READY, NEWS]),
]
COPIES: list[Turn] = [
    *BEGUN,
    ("up", [query("START_REPLICATION")]),
    ("down", [COPY_BOTH, DATA, DATA]),
    ("up", [DATA, DATA, DATA_END]),
    ("down", [DATA, DATA_END + DONE + READY, NEWS]),
    ("up", [query("COPY t FROM STDIN")]),
    ("down", [COPY_IN]),
    ("up", [DATA * 9 + DATA_END]),
    ("down", [DONE + READY, NEWS]),
    ("up", [parse("COPY t FROM STDIN") + bind() + execute() + sync()]),
    ("down", [PARSED + BOUND + COPY_IN]),
    ("up", [DATA + DATA + DATA_END + sync()]),
    ("down", [DONE + READY, NEWS]),
    ("up", [query("COPY t TO STDOUT")]),
    ("down", [message(b"H", b"\0\0\0") + DATA + DATA + DATA_END + DONE + READY]),
]

CONVERSATIONS = [
    ("resp", RESP2),
    ("resp", RESP3),
    ("http", HTTP),
    ("http", WEBSOCKET),
    ("websocket", WEBSOCKET),
    ("postgresql", LOGIN),
    ("postgresql", REFUSED),
    ("postgresql", EXCHANGES),
    ("postgresql", FLUSHED),
    ("postgresql", COPIES),
    ("postgresql", [("up", [CANCEL])]),
]
conversations = pytest.mark.parametrize(
    ("protocol", "turns"), CONVERSATIONS, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CONVERSATIONS)]
)


@conversations
def test_each_message_ends_where_it_is_complete(protocol: str, turns: list[Turn]) -> None:
    """A fault that strikes "the second reply" must not strike half of the first."""
    assert framed(protocol, turns, []) == turns


@conversations
def test_each_byte_may_arrive_alone(protocol: str, turns: list[Turn]) -> None:
    """The slowest network there is, in which each head is in pieces."""
    assert framed(protocol, turns, list(range(70_000))) == turns


@conversations
@settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=9))
def test_messages_are_the_same_however_the_bytes_arrive(protocol: str, turns: list[Turn], cuts: list[int]) -> None:
    """A network may cut anywhere; a fault must hit the same message all the same."""
    assert framed(protocol, turns, cuts) == turns


TOKENS = [
    *(b"*2", b"$3", b"%1", b"|1", b"+a", b"abc", b"\r\n", b"\n", b"-1", b"0", b"f"),
    *(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/1.1 101 X", b"Upgrade: websocket", b"Content-Length: 3", b"a:"),
    *(b"Transfer-Encoding: chunked", b"\x81\x02", b"\x01\x82", b"\x89\x00", b"\x80\x7e\x00\x01"),
    *(STARTUP, SSL_REQUEST, READY, ERROR, DATA, query(""), sync(), b"\0\0\0\4", b"N", b"S"),
]
likely_bytes = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))


@pytest.mark.parametrize("protocol", [name for name in FRAMINGS if name != "chunks"])
@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["up", "down"]), likely_bytes), max_size=6))
def test_no_bytes_can_break_a_framing(protocol: str, pieces: list[tuple[str, bytes]]) -> None:
    """A client under test may send anything, and the proxy passes it on; it is lost at one place in any pieces."""
    whole, bytewise = framing_of(protocol)(), framing_of(protocol)()
    for name, data in pieces:
        expected, finder = [], way(bytewise, name)
        for at in range(len(data)):
            found = finder.feed(data[at : at + 1])
            assert found in ([], [1])
            if found and not finder.is_lost:
                expected.append(at + 1)
        if finder.is_lost and data:
            expected.append(len(data))
        assert way(whole, name).feed(data) == expected
        assert way(whole, name).is_lost == finder.is_lost


@pytest.mark.parametrize(
    ("protocol", "name", "data"),
    [
        ("resp", "up", b"*x\r\n"),
        ("resp", "up", b"*1\r\n:1\r\n"),
        ("resp", "up", b"*1\r\n$-1\r\n"),
        ("resp", "down", b"hello\r\n"),
        ("resp", "down", b"$x\r\n"),
        ("http", "up", b"GET /\r\n\r\n"),
        ("http", "up", b"PRI * HTTP/2.0\r\n\r\n"),
        ("http", "up", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        ("http", "up", b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ("http", "up", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        ("http", "up", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"),
        ("http", "up", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000),
        ("http", "down", b"SSH-2.0-OpenSSH\r\n\r\n"),
        ("postgresql", "up", bytes(8)),
        ("postgresql", "up", b"\x16\x03\x01\x02\x00\x01\x00\x01"),  # TLS at once
        ("postgresql", "up", STARTUP + b"z\0\0\0\4"),
        ("postgresql", "down", b"R\0\0\0\3"),
        *((protocol, "up", b"a" * (HEAD_BYTES_MAX + 1)) for protocol in ("resp", "http")),
    ],
)
def test_a_stream_that_breaks_its_protocol_is_taken_in_chunks(protocol: str, name: str, data: bytes) -> None:
    """A message that never ends could not be told from one that is long: nothing after it would be held any more."""
    finder = way(framing_of(protocol)(), name)
    assert finder.feed(data)[-1] == len(data)
    assert finder.is_lost
    assert finder.feed(b"more") == [4]
    assert finder.feed(b"") == []


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (0x83, "down"),  # no such frame
        (0x80, "down"),  # goes on with nothing
        (0x09, "down"),  # a ping in fragments
        (0x81, "up"),  # a client that does not mask
    ],
)
def test_frames_that_break_the_protocol_are_taken_in_chunks(first: int, name: str) -> None:
    """A server that fails a connection for it says so by closing; until then bytes pass."""
    framing = framing_of("websocket")()
    for each, messages in UPGRADE:
        way(framing, each).feed(b"".join(messages))
    assert way(framing, name).feed(bytes([first, 0])) == [2]
    assert way(framing, name).is_lost


@pytest.mark.parametrize(
    ("protocol", "turns"),
    [
        ("postgresql", [("up", [SSL_REQUEST]), ("down", [b"S"])]),
        ("postgresql", [("up", [GSS_REQUEST]), ("down", [b"G"])]),
        ("http", [("up", [request("CONNECT")]), ("down", [b"HTTP/1.1 200 OK\r\n\r\n"])]),
        (
            "http",
            [
                ("up", [request("GET", ("Connection", "Upgrade"), ("Upgrade", "h2c"))]),
                ("down", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"]),
            ],
        ),
    ],
)
def test_what_cannot_be_seen_into_is_taken_in_chunks(protocol: str, turns: list[Turn]) -> None:
    """Encrypted bytes look like anything; to find messages in them would be chance."""
    framing = framing_of(protocol)()
    for name, messages in turns:
        ends_in(way(framing, name), messages)
        assert not way(framing, name).is_lost
    for finder in (framing.to_upstream, framing.to_client):
        assert finder.feed(b"Z\0\0\0\5I") == [6]
        assert finder.is_lost


def test_an_answer_that_comes_before_sync_is_part_of_the_reply() -> None:
    """A server sends when its buffer is full; one reply must not become two by that."""
    framing = framing_of("postgresql")()
    for name, messages in FLUSHED:
        way(framing, name).feed(b"".join(messages))
    assert framing.to_upstream.feed(bind() + execute()) == []
    assert framing.to_client.feed(BOUND + DONE) == []
    assert framing.to_upstream.feed(bind() + execute() + sync()) == [len(bind() + execute() + sync())]
    assert framing.to_client.feed(BOUND + DONE + READY) == [len(BOUND + DONE + READY)]


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    """What follows on it is its body, whatever it looks like."""
    finder = framing_of("http")().to_client
    assert finder.feed(b"HTTP/1.0 200 OK\r\n\r\n") == []
    assert finder.feed(response(200, sized(0))) == []
    assert not finder.is_lost


def test_a_body_is_not_kept() -> None:
    """A proxy that kept a body to find its end would need the memory of all that pass at once."""
    finder, chunk = framing_of("resp")().to_client, bytes(1024 * 1024)
    tracemalloc.start()
    try:
        assert ends_in(finder, [b"$1073741824\r\n", *[chunk] * 1024]) == []
        assert tracemalloc.get_traced_memory()[1] < len(chunk)
    finally:
        tracemalloc.stop()
    assert finder.feed(b"\r\n+OK\r\n") == [2, 7]


def test_without_a_protocol_each_chunk_is_a_message() -> None:
    """It is the default, and must do for anything."""
    finder = framing_of("chunks")().to_upstream
    assert [finder.feed(data) for data in (b"ab", b"", b"c")] == [[2], [], [1]]


def test_an_unknown_protocol_is_refused_by_name() -> None:
    """The name comes from a file that a person wrote."""
    with pytest.raises(InputError, match=r"protocol='redis'\. Known: chunks, http, postgresql, resp, websocket\."):
        framing_of("redis")
