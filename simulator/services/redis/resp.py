"""RESP, the wire protocol of Redis: requests read from any segmentation of bytes, replies written as RESP2 or RESP3.

Source: the RESP2 and RESP3 specifications, and `networking.c` of Redis 7.0 for what is a protocol error and how it
is worded. Not modelled: quotes in inline requests (refused), streamed and attribute types (servers do not send them).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

__all__ = [
    "NULL_ARRAY",
    "Failure",
    "Members",
    "NullArray",
    "Pairs",
    "ProtocolError",
    "Push",
    "Reply",
    "RequestParser",
    "Status",
    "read_integer",
    "write_reply",
]

LINE_BYTES_MAX = 64 * 1024
BULK_BYTES_MAX = 512 * 1024 * 1024
BULKS_MAX = 2**31 - 1


class ProtocolError(Exception):
    """The client's bytes are not a request; Redis answers this text and closes the connection."""


@frozen
class Status:
    """A simple string, such as OK."""

    text: bytes


@frozen
class Failure:
    """An error reply: its code, a space, and its text, such as `ERR syntax error`."""

    text: str


@frozen
class Members:
    """The members of a set: a RESP3 set, a RESP2 array."""

    items: Sequence["Reply"] = field()


@frozen
class Pairs:
    """Values by key, where a key may come twice: a RESP3 map, in RESP2 an array of arrays of two."""

    items: Sequence[tuple[bytes, "Reply"]] = field()


@frozen
class Push:
    """What the server says without being asked: a RESP3 push, a RESP2 array."""

    items: Sequence["Reply"] = field()


@frozen
class NullArray:
    """No array: RESP2 tells it from no string, RESP3 does not."""


NULL_ARRAY: Final = NullArray()

_Value: TypeAlias = "int | float | bytes | Status | Failure | Members | Pairs | Push | NullArray"
Reply: TypeAlias = "_Value | Sequence[Reply] | Mapping[bytes, Reply] | None"


class RequestParser:
    """Requests out of bytes that arrive in any pieces: `feed` them, then take requests until None.

    A request is a non-empty list of bulk strings. Raises ProtocolError where Redis would; the parser is of no
    use afterwards.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._bulks_missing = 0
        self._bulk_length = -1
        self._bulks: list[bytes] = []

    def feed(self, data: bytes | bytearray) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_request(self) -> list[bytes] | None:
        """Return the next whole request, or None when more bytes are needed."""
        while True:
            if not self._bulks_missing and not self._begin():
                break
            while self._bulks_missing and self._read_bulk():
                pass
            if self._bulks_missing:
                break
            if self._bulks:
                request, self._bulks = self._bulks, []
                return request
        del self._buffer[: self._position]
        self._position = 0
        return None

    def _begin(self) -> bool:
        """Read the header of an array, or an inline request as a whole. False: not there yet."""
        if self._position >= len(self._buffer):
            return False
        if self._buffer[self._position] != ord("*"):
            return self._read_inline()
        line = self._take_line("too big mbulk count string")
        if line is None:
            return False
        count = read_integer(line[1:])
        if count is None or count > BULKS_MAX:
            raise ProtocolError("invalid multibulk length")
        self._bulks_missing = max(count, 0)
        return True

    def _read_bulk(self) -> bool:
        if self._bulk_length < 0:
            line = self._take_line("too big bulk count string")
            if line is None:
                return False
            if line[:1] != b"$":
                raise ProtocolError(f"expected '$', got '{line[:1].decode('latin-1') or chr(13)}'")
            length = read_integer(line[1:])
            if length is None or not 0 <= length <= BULK_BYTES_MAX:
                raise ProtocolError("invalid bulk length")
            self._bulk_length = length
        end = self._position + self._bulk_length
        if len(self._buffer) < end + 2:
            return False
        self._bulks.append(bytes(self._buffer[self._position : end]))
        self._position = end + 2  # like Redis, the two bytes after a bulk string are skipped unseen
        self._bulk_length = -1
        self._bulks_missing -= 1
        return True

    def _take_line(self, too_long: str) -> bytes | None:
        """Take a line up to its carriage return, and the one byte after it, whatever that is."""
        end = self._buffer.find(b"\r", self._position)
        if end < 0:
            if len(self._buffer) - self._position > LINE_BYTES_MAX:
                raise ProtocolError(too_long)
            return None
        if end + 2 > len(self._buffer):
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _read_inline(self) -> bool:
        end = self._buffer.find(b"\n", self._position)
        if end < 0:
            if len(self._buffer) - self._position > LINE_BYTES_MAX:
                raise ProtocolError("too big inline request")
            return False
        line = bytes(self._buffer[self._position : end])
        if b'"' in line or b"'" in line:
            raise ProtocolError("wavetank: the simulated Redis does not model quotes in inline requests")
        self._position = end + 1
        self._bulks = line.split()
        return True


def read_integer(text: bytes) -> int | None:
    """Read an integer as string2ll does: no sign but a minus, no spaces, no leading zeros, 64 bits."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and text != b"0"):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def write_reply(out: bytearray, reply: Reply, protocol: int) -> None:
    """Append one reply, encoded for protocol 2 or 3, to what is to be sent."""
    writer = _WRITERS.get(type(reply))
    assert writer is not None, f"no reply has type={type(reply).__name__}"
    writer(out, reply, protocol)


def _write_null(out: bytearray, reply: Reply, protocol: int) -> None:
    out += b"_\r\n" if protocol == 3 else b"$-1\r\n"


def _write_null_array(out: bytearray, reply: Reply, protocol: int) -> None:
    out += b"_\r\n" if protocol == 3 else b"*-1\r\n"


def _write_integer(out: bytearray, reply: int, protocol: int) -> None:
    out += b":%d\r\n" % reply


def _write_double(out: bytearray, reply: float, protocol: int) -> None:
    # Redis 7.0 prints 17 significant digits (7.2 prints the shortest that round-trips).
    text = (b"inf" if reply > 0 else b"-inf") if math.isinf(reply) else b"%.17g" % reply
    if protocol == 3:
        out += b",%b\r\n" % text
    else:
        _write_bulk(out, text, protocol)


def _write_bulk(out: bytearray, reply: bytes, protocol: int) -> None:
    out += b"$%d\r\n%b\r\n" % (len(reply), reply)


def _write_status(out: bytearray, reply: Status, protocol: int) -> None:
    out += b"+%b\r\n" % reply.text


def _write_failure(out: bytearray, reply: Failure, protocol: int) -> None:
    # An error is one line; Redis replaces what would break it.
    text = reply.text.replace("\r", " ").replace("\n", " ")
    out += b"-%b\r\n" % text.encode("utf-8", "surrogateescape")


def _write_items(out: bytearray, kind: bytes, items: Sequence[Reply], protocol: int) -> None:
    out += b"%b%d\r\n" % (kind, len(items))
    for item in items:
        write_reply(out, item, protocol)


def _write_array(out: bytearray, reply: Sequence[Reply], protocol: int) -> None:
    _write_items(out, b"*", reply, protocol)


def _write_members(out: bytearray, reply: Members, protocol: int) -> None:
    _write_items(out, b"~" if protocol == 3 else b"*", reply.items, protocol)


def _write_pairs(out: bytearray, reply: Pairs, protocol: int) -> None:
    if protocol == 2:
        _write_items(out, b"*", reply.items, protocol)
        return
    out += b"%%%d\r\n" % len(reply.items)
    for key, value in reply.items:
        _write_bulk(out, key, protocol)
        write_reply(out, value, protocol)


def _write_push(out: bytearray, reply: Push, protocol: int) -> None:
    _write_items(out, b">" if protocol == 3 else b"*", reply.items, protocol)


def _write_map(out: bytearray, reply: Mapping[bytes, Reply], protocol: int) -> None:
    out += b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))
    for key, value in reply.items():
        _write_bulk(out, key, protocol)
        write_reply(out, value, protocol)


# By exact type: one look-up a reply, where a chain of isinstance would be ten.
_WRITERS: Mapping[type, Callable[..., None]] = {
    type(None): _write_null,
    NullArray: _write_null_array,
    int: _write_integer,
    float: _write_double,
    bytes: _write_bulk,
    Status: _write_status,
    Failure: _write_failure,
    list: _write_array,
    tuple: _write_array,
    Members: _write_members,
    Pairs: _write_pairs,
    Push: _write_push,
    dict: _write_map,
}
