"""A client of PostgreSQL that speaks in messages, and shows what servers answer in a form to compare."""

import struct
from collections.abc import Sequence
from typing import Self

import trio

__all__ = [
    "BOOL",
    "FLOAT8",
    "INT2",
    "INT4",
    "INT8",
    "TEXT",
    "Client",
    "Reply",
    "bind",
    "close",
    "describe",
    "execute",
    "extended",
    "message",
    "parse",
    "query",
    "rows_of",
    "sync",
]

Message = tuple[object, ...]
Reply = list[Message]

INT2, INT4, INT8, BOOL, FLOAT8, TEXT = 21, 23, 20, 16, 701, 25
COMPARED = "SVCMDstcn"  # fields of errors and notices
NOT_STABLE = {"40P01": "D"}  # names processes and transactions


# What clients send


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def parse(text: str, *oids: int, name: str = "") -> bytes:
    head = f"{name}\0{text}\0".encode()
    return message(b"P", head + struct.pack(f"!H{len(oids)}I", len(oids), *oids))


def bind(*values: str | bytes | None, name: str = "", portal: str = "") -> bytes:
    """Bind text, or bytes in the binary format."""
    parts = [f"{portal}\0{name}\0".encode()]
    formats = [int(isinstance(value, bytes)) for value in values]
    parts.append(struct.pack(f"!H{len(formats)}H", len(formats), *formats))
    parts.append(struct.pack("!H", len(values)))
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        parts.append(b"\xff\xff\xff\xff" if data is None else struct.pack("!I", len(data)) + data)
    return message(b"B", b"".join(parts) + struct.pack("!H", 0))


def describe(name: str = "", kind: bytes = b"P") -> bytes:
    return message(b"D", kind + name.encode() + b"\0")


def execute(portal: str = "", rows_max: int = 0) -> bytes:
    return message(b"E", portal.encode() + b"\0" + struct.pack("!I", rows_max))


def close(name: str = "", kind: bytes = b"S") -> bytes:
    return message(b"C", kind + name.encode() + b"\0")


def sync() -> bytes:
    return message(b"S")


def extended(text: str, *values: str | bytes | None, oids: Sequence[int] = ()) -> bytes:
    return parse(text, *oids) + bind(*values) + describe() + execute() + sync()


# What servers answer


class Client:
    """One session, spoken to in messages."""

    greeting: Reply

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.process_id = 0
        self.secret = 0
        self.reply: Reply | None = None  # to what was sent last, once it is whole
        self.is_busy = False
        self.answered = trio.Event()
        self._data = b""

    @classmethod
    async def connect(cls, port: int, **options: str) -> Self:
        client = cls(await trio.open_tcp_stream("127.0.0.1", port))
        words = [word for pair in ({"user": "wavetank", "database": "wavetank"} | options).items() for word in pair]
        body = struct.pack("!I", 3 << 16) + b"".join(f"{word}\0".encode() for word in words) + b"\0"
        await client.stream.send_all(struct.pack("!I", len(body) + 4) + body)
        client.greeting = await client.read()
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def ask(self, text: str) -> Reply:
        """Send a simple query and return the answer. Raises EOFError when the connection is closed instead."""
        await self.stream.send_all(query(text))
        return await self.read()

    async def rows(self, text: str) -> list[Message]:
        return rows_of(await self.ask(text))

    async def begin(self, data: bytes, nursery: trio.Nursery) -> None:
        """Send something and read the answer in the background."""
        self.is_busy, self.reply, self.answered = True, None, trio.Event()
        await self.stream.send_all(data)
        nursery.start_soon(self._answer)

    async def _answer(self) -> None:
        try:
            self.reply = await self.read()
        except (EOFError, trio.BrokenResourceError):
            self.reply = [("closed",)]
        self.answered.set()

    async def read(self) -> Reply:
        """Return the messages up to ReadyForQuery, in a form to compare. Raises EOFError."""
        found: Reply = []
        while not (found and found[-1][0] in ("Z", "closed")):
            kind, body = await self._message()
            if kind == b"K":
                self.process_id, self.secret = struct.unpack("!II", body)
            else:
                found.append(_meaning(kind.decode(), body))
            if found and found[-1][:2] == ("E", ("S", "FATAL")):
                found.append(("closed",))
        return found

    async def _message(self) -> tuple[bytes, bytes]:
        while True:
            if len(self._data) >= 5:
                end = 1 + struct.unpack_from("!I", self._data, 1)[0]
                if len(self._data) >= end:
                    kind, body = self._data[:1], self._data[5:end]
                    self._data = self._data[end:]
                    return kind, body
            received = await self.stream.receive_some()
            if not received:
                raise EOFError
            self._data += received


def rows_of(reply: Reply) -> list[Message]:
    return [each[1] for each in reply if each[0] == "D"]  # type: ignore[misc]


def _meaning(kind: str, body: bytes) -> Message:
    match kind:
        case "T":
            return (kind, *_fields(body))
        case "D":
            return (kind, tuple(_values(body)))
        case "E" | "N":
            fields = {each[:1].decode(): each[1:].decode() for each in body.split(b"\0") if each}
            left_out = NOT_STABLE.get(fields["C"], "")
            return (kind, *((name, fields[name]) for name in COMPARED if name in fields and name not in left_out))
    return (kind, body)


def _fields(body: bytes) -> list[tuple[str, int, int]]:
    """Return names, types and sizes; not the table and column that they are from."""
    found = []
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(b"\0", at)
        _, _, oid, size, _, _ = struct.unpack_from("!IhIhih", body, end + 1)
        found.append((body[at:end].decode(), oid, size))
        at = end + 19
    return found


def _values(body: bytes) -> list[str | None]:
    found: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        found.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return found
