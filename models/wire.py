"""A PostgreSQL driver on Trio's sockets: protocol 3, extended queries in text format, one round trip a statement.

Not modelled: TLS, passwords (the server must trust us), COPY, notifications, and types other than those of `Scalar`;
each is refused. A transaction that is given up closes its connection and sends no CancelRequest: PostgreSQL notices
when it next writes or reads, so a statement that waits for a lock goes on waiting, and is rolled back after that.
"""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import Generic, Protocol, Self, TypeVar

import attrs
import trio

from models.database import (
    ConflictError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    OutcomeUnknownError,
    Row,
    Scalar,
    Script,
    Statement,
)

__all__ = ["READERS", "UNSTORABLE", "Attempt", "SessionPool", "WireDatabase", "refusal"]

T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
PROTOCOL = 3 << 16
TRUSTED = b"\0\0\0\0"
CONFLICTS = ("40001", "40P01")
UNAVAILABLE = ("53", "57P0")  # out of resources; shutting down, crashed, or starting
UNSTORABLE = "22021"  # character_not_in_repertoire

INT8, FLOAT8, BOOL, INFERRED = 20, 701, 16, 0
# ParseComplete, BindComplete, NoData, CommandComplete, EmptyQueryResponse; of a session's start Authentication and
# BackendKeyData; at any time ParameterStatus, NoticeResponse, NotificationResponse.
IGNORED = (b"1", b"2", b"n", b"C", b"I", b"R", b"K", b"S", b"N", b"A")

READERS: dict[int, Callable[[bytes], Scalar]] = {
    16: lambda data: data == b"t",
    **dict.fromkeys((20, 21, 23), int),
    25: bytes.decode,
    701: float,
}
"""How a type, by its oid, is read from its text form: bool; int8, int2, int4; text; float8."""


def refusal(sqlstate: str, message: str) -> DatabaseError | DatabaseUnavailableError:
    """Return what an error of PostgreSQL's means when the transaction is certainly not committed."""
    if sqlstate in CONFLICTS:
        return ConflictError(message, sqlstate)
    if sqlstate.startswith(UNAVAILABLE):
        return DatabaseUnavailableError(f"{message} sqlstate={sqlstate}")
    return DatabaseError(message, sqlstate)


class Attempt(Generic[T]):
    """One run of a script, and what became of it, kept where no time limit cuts it off."""

    def __init__(self, script: Script[T]) -> None:
        self.script = script
        self.results: list[T] = []  # one, once it is committed
        self.error: Exception | None = None
        self.is_begun = False
        self.is_commit_sent = False

    def lost(self, why: str) -> DatabaseUnavailableError:
        """Return what it means that no answer comes any more."""
        return (OutcomeUnknownError if self.is_commit_sent else DatabaseUnavailableError)(why)

    def result(self) -> T:
        """Return the result of what was committed, or raise what went wrong. If there is neither, time ran out."""
        if self.error is not None:
            raise self.error
        if self.results:
            return self.results[0]
        if not self.is_begun:
            raise DatabaseBusyError("no session was free in time")
        raise self.lost("PostgreSQL did not answer in time")


class Session(Protocol):
    """A connection with a server process of its own."""

    @property
    def is_usable(self) -> bool:
        """Whether it is outside of a transaction, and nothing came unasked: that is how a server ends a session."""

    def close(self) -> None:
        """Hang up; the server rolls back what was begun."""

    async def run(self, attempt: Attempt[T]) -> None:
        """Play a transaction to its end. Raises nothing but cancellations: the attempt has the outcome."""


class SessionPool:
    """A `Database` on sessions, each started when one is wanted and none is idle; the last used is used first.

    What a server has closed meanwhile is not used. More transactions than `connections_max` wait for their turn,
    within their time limit.
    """

    def __init__(self, start: Callable[[], Awaitable[Session]], *, timeout_s: float, connections_max: int) -> None:
        self._start = start
        self._timeout_s = timeout_s
        self._places = trio.Semaphore(connections_max)
        self._idle: list[Session] = []

    def close(self) -> None:
        """Close the idle sessions."""
        while self._idle:
            self._idle.pop().close()

    async def transact(self, script: Callable[[], Script[T]]) -> T:
        """Run a transaction and commit it; see `Database`. Its time includes the waiting and the connecting."""
        with closing(script()) as steps:
            attempt = Attempt(steps)
            with trio.move_on_after(self._timeout_s):
                await self._run(attempt)
            return attempt.result()

    async def _run(self, attempt: Attempt[T]) -> None:
        try:
            self._places.acquire_nowait()  # a wait of no time would cost a turn of Trio's loop
        except trio.WouldBlock:
            await self._places.acquire()
        attempt.is_begun = True
        try:
            session = await self._session()
            try:
                await session.run(attempt)
            finally:
                if session.is_usable:
                    self._idle.append(session)
                else:
                    session.close()
        finally:
            self._places.release()

    async def _session(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if session.is_usable:
                return session
            session.close()
        return await self._start()


# Messages to the server


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def limits(timeout_s: float) -> str:
    """Return the options of a session whose transactions we give up after that time.

    The server must give them up, too: a client that vanished in a transaction would else hold its locks for hours,
    and a statement that waits for one would take it for nobody.
    """
    timeout_ms = max(1, round(1000 * timeout_s))
    return f"-c statement_timeout={timeout_ms} -c idle_in_transaction_session_timeout={timeout_ms}"


def _startup(user: str, name: str, timeout_s: float) -> bytes:
    words = ("user", user, "database", name, "client_encoding", "UTF8", "options", limits(timeout_s), "")
    body = struct.pack(">I", PROTOCOL) + b"".join(word.encode() + b"\0" for word in words)
    return struct.pack(">I", len(body) + 4) + body


EXECUTE = _message(b"E", b"\0" + struct.pack(">I", 0))
SYNC = _message(b"S", b"")
DESCRIBE_EXECUTE_SYNC = _message(b"D", b"P\0") + EXECUTE + SYNC
# Without a Sync, so that it travels, and is answered, together with the first statement.
BEGIN = _message(b"P", b"\0BEGIN ISOLATION LEVEL READ COMMITTED\0\0\0") + _message(b"B", b"\0\0\0\0\0\0\0\0") + EXECUTE
COMMIT = _message(b"Q", b"COMMIT\0")
ROLLBACK = _message(b"Q", b"ROLLBACK\0")


def _request(statement: Statement) -> bytes:
    """Return Parse, Bind, Describe, Execute and Sync. Raises DatabaseError for text that PostgreSQL cannot hold."""
    types, values = [], []
    for parameter in statement.parameters:
        oid, text = _encoded(parameter)
        types.append(oid)
        values.append(struct.pack(">i", -1) if text is None else struct.pack(">I", len(text)) + text)
    count = len(types)
    parse = b"\0" + statement.sql.encode() + b"\0" + struct.pack(f">H{count}I", count, *types)
    bind = b"\0\0\0\0" + struct.pack(">H", count) + b"".join(values) + b"\0\0"
    return _message(b"P", parse) + _message(b"B", bind) + DESCRIBE_EXECUTE_SYNC


def _encoded(value: Scalar) -> tuple[int, bytes | None]:
    """Return a parameter's type and text. The type of text is left to the context, as most drivers do."""
    if isinstance(value, str):
        if "\0" in value:
            raise DatabaseError("text cannot contain the character NUL", UNSTORABLE)
        try:
            return INFERRED, value.encode()
        except UnicodeEncodeError as error:
            raise DatabaseError(f"text cannot contain a lone surrogate: {error}", UNSTORABLE) from error
    if value is None:
        return INFERRED, None
    if isinstance(value, bool):
        return BOOL, b"t" if value else b"f"
    if isinstance(value, int):
        return INT8, b"%d" % value
    return FLOAT8, repr(value).encode()


# Messages from the server


@attrs.define
class _Answer:
    """What came before the server was ready again: at most one table of rows, and perhaps an error."""

    columns: bytes = b""
    rows: list[bytes] = attrs.field(factory=list)
    error: DatabaseError | DatabaseUnavailableError | None = None

    def take(self, kind: bytes, body: bytes) -> None:
        if kind == b"D":
            self.rows.append(body)
        elif kind == b"T":
            self.columns = body
        elif kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0")}
            self.error = refusal(fields.get(b"C", ""), fields.get(b"M", ""))
        elif kind == b"R" and body != TRUSTED:
            raise DatabaseUnavailableError(
                f"PostgreSQL does not trust us, and this driver knows no passwords: method={body.hex()}. "
                "Set the method trust for us in its pg_hba.conf."
            )
        elif kind not in IGNORED:
            raise DatabaseUnavailableError(f"PostgreSQL sent what this driver does not know: message={kind!r}")

    def read(self) -> list[Row]:
        """Return the rows. Raises the error if there was one, and TypeError for a column of an unknown type."""
        if self.error is not None:
            raise self.error
        if not self.columns:
            return []
        readers = _readers(self.columns)
        return [_row(body, readers) for body in self.rows]


def _readers(columns: bytes) -> list[Callable[[bytes], Scalar]]:
    readers = []
    (count,) = struct.unpack_from(">H", columns)
    position = 2
    for _ in range(count):
        end = columns.index(b"\0", position)
        (oid,) = struct.unpack_from(">I", columns, end + 7)
        if oid not in READERS:
            name = columns[position:end].decode(errors="replace")
            raise TypeError(f"the type of column {name} is unknown to this driver: cast it, say to text. oid={oid}")
        readers.append(READERS[oid])
        position = end + 19
    return readers


def _row(body: bytes, readers: Sequence[Callable[[bytes], Scalar]]) -> Row:
    values: list[Scalar] = []
    position = 2
    for reader in readers:
        (length,) = struct.unpack_from(">i", body, position)
        position += 4
        if length < 0:
            values.append(None)
        else:
            values.append(reader(body[position : position + length]))
            position += length
    return tuple(values)


class _WireSession:
    """A session on a socket. Whatever fails half-way, or is cancelled, leaves it unusable."""

    def __init__(self, stream: trio.SocketStream) -> None:
        # The socket itself: of what the stream adds, nothing is used after the connecting.
        self._socket = stream.socket
        self._received = b""
        self._position = 0
        self._status = b""  # of the transaction: I none, T in one, E in a failed one; nothing while we wait for it

    @classmethod
    async def started(cls, *, host: str, port: int, user: str, name: str, timeout_s: float) -> Self:
        """Connect and start a session. Raises DatabaseUnavailableError."""
        try:
            session = cls(await trio.open_tcp_stream(host, port))
        except OSError as error:
            raise DatabaseUnavailableError(f"PostgreSQL cannot be reached at {host}:{port}: {error}") from error
        try:
            await session._ask(_startup(user, name, timeout_s))
        except BaseException:
            session.close()
            raise
        return session

    @property
    def is_usable(self) -> bool:
        return self._status == b"I" and self._position == len(self._received) and not self._socket.is_readable()

    def close(self) -> None:
        self._socket.close()

    async def run(self, attempt: Attempt[T]) -> None:
        try:
            attempt.results.append(await self._play(attempt))
        except Exception as error:
            attempt.error = error  # before we wait again: it must be told even if time runs out now
            if self._status in (b"T", b"E"):
                with suppress(DatabaseUnavailableError):
                    await self._ask(ROLLBACK)

    async def _play(self, attempt: Attempt[T]) -> T:
        begin = BEGIN
        try:
            statement = next(attempt.script)
            while True:
                rows = await self._ask(begin + _request(statement))
                begin = b""
                statement = attempt.script.send(rows)
        except StopIteration as end:
            result: T = end.value
        if not begin:
            await self._commit(attempt)
        return result

    async def _commit(self, attempt: Attempt[T]) -> None:
        await self._send(COMMIT)
        attempt.is_commit_sent = True
        try:
            answer = await self._answer()
        except DatabaseUnavailableError as error:
            raise attempt.lost(str(error)) from error
        answer.read()  # an error after which the server is ready again is a refusal

    async def _ask(self, request: bytes) -> list[Row]:
        await self._send(request)
        return (await self._answer()).read()

    async def _send(self, request: bytes) -> None:
        """Send messages. If this raises, the last of them did not arrive whole, so it has no effect."""
        self._status = b""
        try:
            sent = await self._socket.send(request)
            while sent < len(request):
                sent += await self._socket.send(request[sent:])
        except OSError as error:
            raise _lost(error) from error

    async def _answer(self) -> _Answer:
        """Receive up to the next ReadyForQuery."""
        answer = _Answer()
        while True:
            kind, body = await self._receive(answer)
            if kind == b"Z":
                self._status = body
                return answer
            answer.take(kind, body)

    async def _receive(self, answer: _Answer) -> tuple[bytes, bytes]:
        """Receive one message. A session ends with the error that the answer has, if it has one."""
        while True:
            buffer, start = self._received, self._position
            if len(buffer) >= start + 5:
                (length,) = struct.unpack_from(">I", buffer, start + 1)
                end = start + 1 + length
                if len(buffer) >= end:
                    self._position = end
                    return buffer[start : start + 1], buffer[start + 5 : end]
            try:
                chunk = await self._socket.recv(CHUNK_BYTES)
            except OSError as error:
                raise _lost(answer.error or error) from error
            if not chunk:
                raise _lost(answer.error or "the server closed the connection")
            self._received = buffer[start:] + chunk
            self._position = 0


def _lost(why: Exception | str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"the connection to PostgreSQL was lost: {why}")


class WireDatabase(SessionPool):
    """PostgreSQL through this driver. It runs in simulation as it does on a real network."""

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        *,
        host: str,
        port: int,
        user: str = "wavetank",
        name: str = "wavetank",
        timeout_s: float = 1.0,
        connections_max: int = 8,
    ) -> AsyncIterator[Self]:
        """Provide a database, and close its idle sessions at the end. PostgreSQL need not be there."""
        start = partial(_WireSession.started, host=host, port=port, user=user, name=name, timeout_s=timeout_s)
        with closing(cls(start, timeout_s=timeout_s, connections_max=connections_max)) as database:
            yield database
