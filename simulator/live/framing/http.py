"""HTTP/1.1 (RFC 9112). A message is one request or one response, interim responses (1xx) included.

How long a response is depends on its request, and what follows an upgrade is WebSocket in both directions. A
connection that is upgraded to anything else, or is a tunnel (CONNECT), is lost.
"""

from collections import deque
from collections.abc import Generator

import attrs

from simulator.live.framing.finder import (
    END,
    HEAD_BYTES_MAX,
    LINE,
    Framing,
    Grammar,
    GrammarFinder,
    Need,
    Skip,
    Take,
)
from simulator.live.framing.websocket import frames

__all__ = ["http"]

UNTIL_CLOSE = Skip(1 << 63)
BLANK_LINES = (b"\r\n", b"\n")


@attrs.define
class _Exchange:
    """What each direction must know of the other."""

    methods: deque[bytes] = attrs.field(factory=deque)  # of the requests without a final response
    protocol: str = "http"  # or "websocket", or "" for what cannot be followed


@attrs.frozen
class _Head:
    start: bytes
    fields: dict[bytes, bytes]  # by name in small letters

    @property
    def is_chunked(self) -> bool:
        return self.fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")

    @property
    def content_bytes(self) -> int | None:
        """How long the body is, if the head says so. Raises ValueError when it says several things."""
        lengths = {int(each) for each in self.fields.get(b"content-length", b"").split(b",") if each}
        if len(lengths) > 1 or any(length < 0 for length in lengths):
            raise ValueError("no length")
        return lengths.pop() if lengths else None


def http() -> Framing:
    """Return the framing of one connection of HTTP/1.1."""
    exchange = _Exchange()
    return Framing(GrammarFinder(_requests(exchange)), GrammarFinder(_responses(exchange)))


def _requests(exchange: _Exchange) -> Grammar:
    while exchange.protocol == "http":
        head = yield from _head()
        method, _, version = head.start.split()
        if not version.startswith(b"HTTP/1."):
            raise ValueError("another version")
        if head.is_chunked:
            yield from _chunked()
        elif b"transfer-encoding" in head.fields:
            raise ValueError("a request has an end")
        else:
            yield Skip(head.content_bytes or 0)
        exchange.methods.append(method)
        yield END
    if exchange.protocol == "websocket":
        yield from frames(are_masked=True)


def _responses(exchange: _Exchange) -> Grammar:
    while exchange.protocol == "http":
        head = yield from _head()
        version, status = head.start.split()[:2]
        if not version.startswith(b"HTTP/1.") or len(status) != 3:
            raise ValueError("no status line")
        method = exchange.methods[0] if exchange.methods else b""
        code = int(status)
        if code == 101:
            is_websocket = head.fields.get(b"upgrade", b"").lower() == b"websocket"
            exchange.protocol = "websocket" if is_websocket else ""
        elif code >= 200 and exchange.methods:
            exchange.methods.popleft()
        if code >= 200 and method == b"CONNECT" and code < 300:
            exchange.protocol = ""
        elif code >= 200 and code not in (204, 304) and method != b"HEAD":
            yield from _response_body(head)
        yield END
    if exchange.protocol == "websocket":
        yield from frames(are_masked=False)


def _response_body(head: _Head) -> Grammar:
    if head.is_chunked:
        yield from _chunked()
    elif b"transfer-encoding" in head.fields or head.content_bytes is None:
        yield UNTIL_CLOSE
    else:
        yield Skip(head.content_bytes)


def _head() -> Generator[Need, bytes, _Head]:
    start = yield LINE
    while start in BLANK_LINES:  # some clients send one after a body
        start = yield LINE
    fields: dict[bytes, bytes] = {}
    left_bytes = HEAD_BYTES_MAX
    while (line := (yield LINE)) not in BLANK_LINES:
        left_bytes -= len(line)
        name, colon, value = line.partition(b":")
        if not colon or left_bytes < 0:
            raise ValueError("no head")
        name, value = name.lower(), value.strip()
        fields[name] = fields[name] + b"," + value if name in fields else value
    return _Head(start, fields)


def _chunked() -> Grammar:
    while size := int((yield LINE).partition(b";")[0], 16):
        if size < 0:
            raise ValueError("no size")
        yield Skip(size)
        if (yield Take(2)) != b"\r\n":
            raise ValueError("a chunk is longer than it says")
    while (yield LINE) not in BLANK_LINES:
        pass  # trailers
