"""The messages of protocol 3: cutting them out of a stream of bytes, reading their fields, and writing answers.

Chapter 55.7 of PostgreSQL's documentation is the source of the formats.
"""

import struct
from collections.abc import Sequence

from simulator.services.postgresql.errors import Notice, PostgreSQLError
from simulator.services.postgresql.result import Field
from simulator.services.postgresql.types import ColumnType, decode_text, shown
from simulator.services.postgresql.versions import Values

__all__ = ["Body", "Inbox", "Outbox"]

LENGTH = struct.Struct("!I")
HEAD = struct.Struct("!cI")
COUNT = struct.Struct("!H")
SIZE = struct.Struct("!i")
NULL = SIZE.pack(-1)
STARTUP_BYTES_MAX = 10_000
SHOWN_BYTES = 400
MESSAGE_BYTES_MAX = 0x3FFFFFFF


class Inbox:
    """Received bytes, from which whole messages are taken."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes | bytearray) -> None:
        """Add received bytes."""
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def next_startup(self) -> bytes | None:
        """Return the body of the next message of a connection that has not begun yet, which has no kind."""
        return self._take(self._at, STARTUP_BYTES_MAX)

    def next_message(self) -> tuple[bytes, "Body"] | None:
        """Return the next message's kind and body."""
        body = self._take(self._at + 1, MESSAGE_BYTES_MAX)
        if body is None:
            return None
        kind_at = self._at - len(body) - 5
        return bytes(self._data[kind_at : kind_at + 1]), Body(body)

    def _take(self, at: int, bytes_max: int) -> bytes | None:
        data = self._data
        if len(data) < at + 4:
            return None
        (length,) = LENGTH.unpack_from(data, at)
        if not 4 <= length <= bytes_max:
            raise PostgreSQLError("08P01", "invalid message length", severity="FATAL")
        if len(data) < at + length:
            return None
        self._at = at + length
        return bytes(data[at + 4 : self._at])


class Body:
    """The fields of one message, taken one after the other. Raises 08P01 past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __repr__(self) -> str:
        return repr(self._data[:SHOWN_BYTES])

    def text(self) -> str:
        """Take text up to its NUL."""
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise PostgreSQLError("08P01", "invalid string in message")
        text = decode_text(self._data[self._at : end])
        self._at = end + 1
        return text

    def count(self) -> int:
        """Take a number of two bytes."""
        return COUNT.unpack(self._take(2))[0]  # type: ignore[no-any-return]

    def counts(self) -> Sequence[int]:
        """Take numbers of two bytes, with how many there are before them."""
        number = self.count()
        return struct.unpack(f"!{number}H", self._take(2 * number))

    def oids(self) -> tuple[int, ...]:
        """Take numbers of four bytes, with how many there are before them."""
        number = self.count()
        return struct.unpack(f"!{number}I", self._take(4 * number))

    def size(self) -> int:
        """Take a signed number of four bytes."""
        return SIZE.unpack(self._take(4))[0]  # type: ignore[no-any-return]

    def value(self) -> bytes | None:
        """Take a value with its length before it, or NULL."""
        length = self.size()
        return None if length == -1 else self._take(length)

    def kind(self) -> bytes:
        """Take one byte."""
        return self._take(1)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise PostgreSQLError("08P01", "invalid message format")

    def _take(self, number: int) -> bytes:
        data = self._data[self._at : self._at + number]
        if number < 0 or len(data) < number:
            raise PostgreSQLError("08P01", "insufficient data left in message")
        self._at += number
        return data


class Outbox:
    """Answers that gather until they are sent together."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, kind: bytes, body: bytes = b"") -> None:
        """Add a message."""
        self.data += HEAD.pack(kind, len(body) + 4)
        self.data += body

    def trusted(self) -> None:
        """Add that no password is asked for."""
        self.add(b"R", SIZE.pack(0))

    def cancel_key(self, process_id: int, secret: int) -> None:
        """Add what a request to cancel must hold."""
        self.add(b"K", struct.pack("!II", process_id, secret))

    def parameter_status(self, name: str, value: str) -> None:
        """Add a setting that the client is kept informed of."""
        self.add(b"S", _text(name) + _text(value))

    def row_description(self, fields: Sequence[Field]) -> None:
        """Add the names and types of the columns to come. The table a column is from is left out."""
        parts = [COUNT.pack(len(fields))]
        for field in fields:
            parts += (_text(field.name), struct.pack("!IhIhih", 0, 0, field.type.oid, field.type.size, -1, 0))
        self.add(b"T", b"".join(parts))

    def rows(self, rows: Sequence[Values]) -> None:
        """Add rows in text format."""
        for row in rows:
            parts = [COUNT.pack(len(row))]
            for value in row:
                if value is None:
                    parts.append(NULL)
                else:
                    data = (value if isinstance(value, str) else shown(value)).encode()
                    parts += (SIZE.pack(len(data)), data)
            self.add(b"D", b"".join(parts))

    def parameter_description(self, types: Sequence[ColumnType]) -> None:
        """Add the types of a prepared statement's parameters."""
        self.add(b"t", struct.pack(f"!H{len(types)}I", len(types), *(each.oid for each in types)))

    def complete(self, tag: str) -> None:
        """Add that a statement is done."""
        self.add(b"C", _text(tag))

    def ready(self, status: bytes) -> None:
        """Add that the next request may come: I outside of a transaction block, T in one, E in a failed one."""
        self.add(b"Z", status)

    def notice(self, notice: Notice) -> None:
        """Add a remark."""
        self.add(b"N", _fields(S=notice.severity, V=notice.severity, C=notice.sqlstate, M=notice.message))

    def error(self, error: PostgreSQLError) -> None:
        """Add an error."""
        fields = {"S": error.severity, "V": error.severity, "C": error.sqlstate, "M": error.message, "D": error.detail}
        if error.where is not None:
            where = error.where
            fields |= {"s": where.schema, "t": where.table, "c": where.column, "n": where.constraint}
        self.add(b"E", _fields(**fields))


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _fields(**fields: str) -> bytes:
    return b"".join(name.encode() + _text(value) for name, value in fields.items() if value) + b"\0"
