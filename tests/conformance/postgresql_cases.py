"""What the simulated and the real PostgreSQL must answer alike: conversations of several sessions at once.

A case is written a step a line, first the session, then the statement. A statement that waits does not hold up the
next step of another session; its answer is noted with the step after which it came.

Long, because it is a list: first how to talk, then the cases by the number of sessions, then what is refused.
"""

import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self

import attrs
import trio

__all__ = [
    "BOOL",
    "CASES",
    "INT4",
    "INT8",
    "REFUSALS",
    "SMALL",
    "TEXT",
    "TYPES",
    "Blockers",
    "Case",
    "Client",
    "Reply",
    "Step",
    "bind",
    "call",
    "case",
    "close",
    "conversation",
    "describe",
    "execute",
    "extended",
    "message",
    "parse",
    "query",
    "raw",
    "rows_of",
    "steps",
    "sync",
]

Message = tuple[object, ...]
Reply = list[Message]
Blockers = Callable[[int], Awaitable[Sequence[int]]]
"""Says which sessions one session waits for, by their process ids."""

ANSWER_WITHIN_S = 20.0
ANSWER_AT_ONCE_S = 0.003
COMPARED = "SVCMDstcn"  # fields of errors and notices
NOT_STABLE = {"40P01": "D"}  # names processes and transactions


@attrs.frozen
class Step:
    """What one session sends: messages after which the server says once that it is ready."""

    session: str
    data: bytes
    shown: str = ""


@attrs.frozen
class Case:
    """A named conversation. `last` is the last answer's rows, where they are short enough to say."""

    name: str
    steps: Sequence[Step]
    last: Sequence[tuple[str | None, ...]] | None = None


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

    greeting: Reply

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


# Conversations


async def conversation(
    steps: Sequence[Step], clients: Mapping[str, Client], blockers: Blockers, *, ends_in_doubt: bool = False
) -> list[tuple[str, Mapping[str, Reply]]]:
    """Take the steps; return for each which sessions had their answers after it, and what they were.

    A step of a session that waits is left out. With `ends_in_doubt` the conversation ends where two sessions wait:
    who of them goes on first, or is the victim of a deadlock, the real server may leave to chance.
    """
    transcript: list[tuple[str, Mapping[str, Reply]]] = []
    async with trio.open_nursery() as nursery:
        for step in steps:
            client = clients[step.session]
            if client.is_busy:
                transcript.append((f"{step.session} waits", {}))
                continue
            await client.begin(step.data, nursery)
            waiting = await _settled(clients, blockers, ends_in_doubt=ends_in_doubt)
            answers: dict[str, Reply] = {}
            for name, each in clients.items():
                if each.is_busy and each.reply is not None:
                    answers[name] = _comparable(each.reply)
                    each.is_busy = False
            transcript.append((f"{step.session} {step.shown}", answers))
            if ends_in_doubt and waiting > 1:
                break
        nursery.cancel_scope.cancel()
    return transcript


def _comparable(reply: Reply) -> Reply:
    """Leave out what is answered just before an error: at which step an error of constants comes is not modelled."""
    found: Reply = []
    for each in reply:
        while each[0] == "E" and found and found[-1][0] in ("2", "T", "n"):
            found.pop()
        found.append(each)
    return found


async def _settled(clients: Mapping[str, Client], blockers: Blockers, *, ends_in_doubt: bool) -> int:
    """Wait until every session has its answer or waits for another one; return how many wait.

    A circle is not settled, but left by its victim, unless it is to be the end.
    """
    before = None
    with trio.fail_after(ANSWER_WITHIN_S):
        while True:
            busy = [each for each in clients.values() if each.is_busy and each.reply is None]
            if not busy:
                return 0
            with trio.move_on_after(ANSWER_AT_ONCE_S):
                await busy[-1].answered.wait()
            waits = {each.process_id: list(await blockers(each.process_id)) for each in busy}
            # Seen twice, because the waits of several sessions cannot be seen at one instant.
            is_still = all(waits.values()) and waits == before and all(each.reply is None for each in busy)
            if is_still and (ends_in_doubt or not _is_circle(waits)):
                return len(waits)
            before = waits


def _is_circle(waits: Mapping[int, Sequence[int]]) -> bool:
    reached = {start: {*targets} for start, targets in waits.items()}
    for _ in waits:
        for targets in reached.values():
            targets |= {further for each in targets for further in waits.get(each, ())}
    return any(start in targets for start, targets in reached.items())


def steps(text: str) -> list[Step]:
    """Read steps a line each: the session, then the statement, sent as a simple query."""
    lines = [line.strip().partition(" ") for line in text.strip().splitlines()]
    return [Step(session, query(statement), statement) for session, _, statement in lines]


def case(name: str, *parts: str | Step, last: Sequence[tuple[str | None, ...]] | None = None) -> Case:
    found: list[Step] = []
    for part in parts:
        found += steps(part) if isinstance(part, str) else [part]
    return Case(name, found, last)


def raw(session: str, *messages: bytes) -> Step:
    return Step(session, b"".join(messages), "messages")


def call(session: str, text: str, *values: str | bytes | None, oids: Sequence[int] = ()) -> Step:
    return Step(session, extended(text, *values, oids=oids), text)


SMALL = """
    a CREATE TABLE t (k text PRIMARY KEY, n integer, u bigint UNIQUE)
    a INSERT INTO t VALUES ('x', 1, 10), ('y', 2, 20), ('z', 3, 30)
"""
TYPES = """
    a CREATE TABLE v (t text, i integer, b bigint, o boolean, d double precision)
    a INSERT INTO v VALUES ('x', 1, 2, true, 0.5), (NULL, NULL, NULL, NULL, NULL)
    a INSERT INTO v VALUES ('', -2147483648, 9223372036854775807, false, -1e300)
"""
INT2, INT4, INT8, BOOL, FLOAT8, TEXT = 21, 23, 20, 16, 701, 25

ONE_SESSION = (
    case("literals", "a SELECT 1, -2, 'it''s', true, NULL, 5000000000, 1 + 2 - 4 AS sum, coalesce(NULL, 3)"),
    case("empty queries", "a ;", raw("a", query("")), raw("a", extended(""))),
    case("several statements", SMALL, "a SELECT n FROM t; UPDATE t SET n = 9 WHERE k = 'x'; SELECT n FROM t;"),
    case(
        "several statements are one transaction",
        SMALL,
        "a INSERT INTO t VALUES ('p'); INSERT INTO t VALUES ('x'); INSERT INTO t VALUES ('q')",
        "a SELECT k FROM t",
        "a INSERT INTO t VALUES ('p'); COMMIT; INSERT INTO t VALUES ('q'); ROLLBACK",
        "a SELECT k FROM t",
        last=[("x",), ("y",), ("z",), ("p",)],
    ),
    case(
        "a block begun among several statements",
        SMALL,
        "a INSERT INTO t VALUES ('p'); BEGIN; DELETE FROM t",
        "a ABORT",
        "a SELECT k FROM t",
    ),
    case("every type there and back", TYPES, "a SELECT * FROM v", "a SELECT d, o, b, i, t FROM v WHERE t IS NOT NULL"),
    case(
        "conditions",
        TYPES,
        "a SELECT t FROM v WHERE i = 1 AND b <> 3 AND o = true AND d > 0.25",
        "a SELECT t FROM v WHERE i IS NULL",
        "a SELECT t FROM v WHERE d < 1 AND b >= 2",
        "a SELECT t FROM v WHERE i IN (1, 5, NULL)",
        "a SELECT t FROM v WHERE t IN ('', 'x') AND 0 < i",
        "a SELECT t FROM v WHERE i = NULL",
        "a SELECT i FROM v WHERE i + 1 = b AND b = 2 AND o != false",
        "a SELECT t FROM v WHERE t > 'X' AND t <= 'x'",
        "a SELECT t FROM v WHERE i = '1' AND o = 'yes' AND d = '5e-1'",
        last=[("x",)],
    ),
    case(
        "order and limit",
        TYPES,
        "a SELECT i, t FROM v ORDER BY i",
        "a SELECT i FROM v ORDER BY i DESC LIMIT 2",
        "a SELECT t AS i, i AS x FROM v ORDER BY x ASC, t DESC LIMIT 5",
        "a SELECT t FROM v ORDER BY o, d DESC LIMIT 0",
        "a SELECT t FROM v ORDER BY t LIMIT NULL",
        "a SELECT t FROM v LIMIT -1",
        call("a", "SELECT i FROM v ORDER BY i LIMIT $1", "1"),
        last=[("-2147483648",)],
    ),
    case(
        "text in order of bytes",
        "a CREATE TABLE w (t text)",
        "a INSERT INTO w VALUES ('b'), ('B'), ('é'), ('z'), ('😀'), ('￰'), ('')",
        "a SELECT t FROM w ORDER BY t",
    ),
    case(
        "aggregates",
        TYPES,
        "a SELECT count(*), max(i), min(t), max(d), max(b) FROM v",
        "a SELECT coalesce(max(i), 7) + 1, count(*) AS c FROM v WHERE t = 'none'",
        "a SELECT max(i) FROM v WHERE t = 'none' LIMIT 0",
        "a SELECT max(o) FROM v",
        "a SELECT max(i), t FROM v",
        "a SELECT max(i) FROM v FOR UPDATE",
        "a SELECT t FROM v WHERE count(*) = 1",
        "a UPDATE v SET i = max(i)",
        "a SELECT i FROM v LIMIT count(*)",
    ),
    case(
        "floats as text",
        "a CREATE TABLE f (d double precision)",
        "a INSERT INTO f VALUES (0.1), (1e15), (123456789012345.6), (1e16), (0.0001), (0.00001), (-0.0)",
        "a INSERT INTO f VALUES ('-Infinity'), ('inf'), (100000), (1234567890123456789), (12345678901234567890.5)",
        "a INSERT INTO f VALUES ('-0'), (1.5e-300), (-1e15), ('.5'), ('5.'), ('1e5')",
        "a SELECT d FROM f",
    ),
    case(
        "values that are out of range or no such value",
        TYPES,
        *(
            f"a INSERT INTO v (i) VALUES ({each})"
            for each in ("2147483648", "'12a'", "' 12 '", "'99999999999'", "true", "''", "'1.5'")
        ),
        *(
            f"a INSERT INTO v (b) VALUES ({each})"
            for each in ("'9223372036854775808'", "'-9223372036854775808'", "false", "'x'")
        ),
        *(
            f"a INSERT INTO v (d) VALUES ({each})"
            for each in ("'1e999'", "'1e-999'", "'x'", "true", "1", "' 1 '", "'1x'")
        ),
        *(
            f"a INSERT INTO v (o) VALUES ({each})"
            for each in ("1", "'o'", "'of'", "'TRUE'", "'n'", "'x'", "' t '", "''")
        ),
        *(f"a INSERT INTO v (t) VALUES ({each})" for each in ("1", "true", "5000000000")),
        "a SELECT i FROM v WHERE i = 'x'",
        "a SELECT i FROM v WHERE i = true",
        "a SELECT i FROM v WHERE t = 1",
        "a SELECT i + t FROM v",
        "a SELECT o - 1 FROM v",
        "a SELECT i FROM v WHERE 'a' + 'b' = 1",
        "a SELECT coalesce(i, t) FROM v",
        "a SELECT * FROM v",
    ),
    case(
        "arithmetic",
        TYPES,
        "a UPDATE v SET i = i - 1 WHERE t = ''",
        "a UPDATE v SET b = b + 1 WHERE t = ''",
        "a UPDATE v SET i = b WHERE t = ''",
        "a UPDATE v SET i = d + 2 WHERE t = 'x' RETURNING i",
        "a UPDATE v SET i = d WHERE t = ''",
        "a UPDATE v SET d = d - i + b, b = i WHERE t = 'x' RETURNING *",
        "a UPDATE v SET i = i + 1 WHERE i IS NULL RETURNING i, i + b",
        "a UPDATE v SET d = d - 1.7e308 - 1e308 WHERE t = ''",
        "a SELECT i + 5000000000, i + b FROM v WHERE t = 'x'",
    ),
    case(
        "names that are not there",
        SMALL,
        "a SELECT k FROM nowhere",
        "a SELECT z FROM t",
        "a SELECT s.k FROM t",
        "a SELECT t.z FROM t",
        "a SELECT t.k FROM t WHERE t.n = 2 ORDER BY k",
        "a SELECT k FROM t ORDER BY z",
        "a UPDATE t SET z = 1",
        "a UPDATE t SET n = z",
        "a INSERT INTO t (z) VALUES (1)",
        "a INSERT INTO t VALUES (z)",
        "a DELETE FROM t WHERE z = 1",
        "a UPDATE t SET n = 1 RETURNING z",
        "a INSERT INTO nowhere VALUES (1)",
        "a DELETE FROM nowhere",
        "a TRUNCATE nowhere",
        "a DROP TABLE nowhere",
        "a DROP TABLE IF EXISTS nowhere",
        'a SELECT "K" FROM t',
        'a SELECT K, "n" FROM T',
    ),
    case(
        "syntax errors",
        SMALL,
        "a SELEC 1",
        "a FOO",
        "a SELECT k FROM",
        "a UPDATE t SET n",
        "a INSERT INTO t",
        "a DELETE FROM t WHERE",
        "a SELECT k FROM t ORDER BY",
        "a SELECT user FROM t WHERE 'abc",
        'a SELECT "abc',
        "a CREATE TABLE q (user text)",
        "a CREATE TABLE order (k text)",
        "a INSERT INTO t (k, select) VALUES (1)",
        "a BEGIN ISOLATION",
        "a SELECT 1; FOO",
        "a 17",
    ),
    case(
        "inserts",
        SMALL,
        "a INSERT INTO t (n, k) VALUES (7, 'p'), (DEFAULT, 'q') RETURNING *",
        "a INSERT INTO t VALUES ('r') RETURNING k, n AS number, 5",
        "a INSERT INTO t VALUES (1, 2, 3, 4)",
        "a INSERT INTO t (k, n) VALUES ('s')",
        "a INSERT INTO t (k) VALUES ('s', 1)",
        "a INSERT INTO t VALUES ('s', 1), ('t')",
        "a INSERT INTO t (k, k) VALUES ('s', 1)",
        "a INSERT INTO t VALUES (NULL, 1)",
        "a INSERT INTO t (n) VALUES (NULL)",
        "a INSERT INTO t VALUES (5, '6', 7)",
        "a INSERT INTO t VALUES ('long', 1, 20)",
        "a INSERT INTO t VALUES ('s', 1), ('s', 2)",
        "a SELECT * FROM t",
    ),
    case(
        "a failing row with long values is clipped",
        "a CREATE TABLE l (a text, b text NOT NULL, c boolean, d double precision)",
        f"a INSERT INTO l VALUES ('{'é' * 40}', NULL, true, 0.5)",
        f"a INSERT INTO l VALUES ('{'x' * 64}', NULL)",
        f"a INSERT INTO l VALUES ('x{'é' * 40}', NULL)",
    ),
    case(
        "tables",
        SMALL,
        "a CREATE TABLE t (k text)",
        "a CREATE TABLE IF NOT EXISTS t (k text)",
        "a CREATE TABLE q (a text, a integer)",
        "a CREATE TABLE q (a text PRIMARY KEY, b text PRIMARY KEY)",
        "a CREATE TABLE q (a text, UNIQUE (b))",
        "a CREATE TABLE q (a integer DEFAULT 'x')",
        "a CREATE TABLE q (a integer DEFAULT true)",
        "a CREATE TABLE q (a integer NOT NULL DEFAULT -5, b text DEFAULT 'it''s', c boolean DEFAULT TRUE, "
        "d double precision DEFAULT 1.5, e bigint DEFAULT NULL UNIQUE, f double precision DEFAULT 3, "
        "g text DEFAULT 7, UNIQUE (a, b), PRIMARY KEY (b, a))",
        "a INSERT INTO q (e) VALUES (1) RETURNING *",
        "a INSERT INTO q VALUES (DEFAULT, DEFAULT, NULL)",
        "a INSERT INTO q (a, e) VALUES (1, 1)",
        "a INSERT INTO q (a) VALUES (NULL)",
        "a INSERT INTO q (b, a) VALUES ('p, q', 5), ('p, q', 5)",
        "a CREATE TABLE q2 (b text, UNIQUE (b), UNIQUE (b), UNIQUE (b))",
        "a INSERT INTO q2 VALUES ('x'), ('x')",
        "a TRUNCATE TABLE q, t",
        "a SELECT count(*) FROM t",
        "a DROP TABLE q, t",
        "a DROP TABLE IF EXISTS q, q2, t",
        "a SELECT k FROM t",
    ),
    case(
        "identity",
        "a CREATE TABLE i (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE)",
        "a INSERT INTO i (k) VALUES ('a'), ('b') RETURNING n",
        "a INSERT INTO i VALUES (7, 'c')",
        "a INSERT INTO i VALUES (DEFAULT, 'c') RETURNING *",
        "a INSERT INTO i (k) VALUES ('a')",
        "a INSERT INTO i (k) VALUES ('a') ON CONFLICT DO NOTHING RETURNING n",
        "a BEGIN",
        "a INSERT INTO i (k) VALUES ('d') RETURNING n",
        "a ROLLBACK",
        "a INSERT INTO i (k) VALUES ('e') RETURNING n",
        "a UPDATE i SET n = 5",
        "a TRUNCATE i",
        "a INSERT INTO i (k) VALUES ('f') RETURNING n",
        last=[("8",)],
    ),
    case(
        "on conflict",
        SMALL,
        "a INSERT INTO t VALUES ('x', 9), ('p', 9) ON CONFLICT DO NOTHING RETURNING k",
        "a INSERT INTO t VALUES ('x', 9, 99) ON CONFLICT (k) DO NOTHING",
        "a INSERT INTO t VALUES ('q', 9, 10) ON CONFLICT (k) DO NOTHING",
        "a INSERT INTO t VALUES ('q', 9, 10) ON CONFLICT (u) DO NOTHING",
        "a INSERT INTO t VALUES ('q', 9, 10) ON CONFLICT DO NOTHING",
        "a INSERT INTO t VALUES ('x', 5, 11), ('r', 6, 12) ON CONFLICT (k) "
        "DO UPDATE SET n = t.n + excluded.n, u = excluded.u RETURNING *",
        "a INSERT INTO t VALUES ('x', 5, 11) ON CONFLICT (k) DO UPDATE SET n = n + 1",
        "a INSERT INTO t VALUES ('x', 5, 20) ON CONFLICT (k) DO UPDATE SET u = excluded.u",
        "a INSERT INTO t VALUES ('w', 5), ('w', 6) ON CONFLICT (k) DO UPDATE SET n = excluded.n",
        "a INSERT INTO t VALUES ('w', 5), ('w', 6) ON CONFLICT (k) DO NOTHING",
        "a INSERT INTO t VALUES ('w', 5), ('w', 6) ON CONFLICT (n) DO NOTHING",
        "a INSERT INTO t VALUES ('w', 5), ('w', 6) ON CONFLICT (z) DO NOTHING",
        "a INSERT INTO t VALUES ('w', 5), ('w', 6) ON CONFLICT DO UPDATE SET n = 1",
        "a INSERT INTO t VALUES ('w', 5) ON CONFLICT (k) DO UPDATE SET n = excluded.z",
        "a INSERT INTO t VALUES ('w', 5) ON CONFLICT (k) DO UPDATE SET k = NULL",
        "a INSERT INTO t VALUES ('v', NULL, NULL), ('v2', NULL, NULL) ON CONFLICT (u) DO UPDATE SET n = 1 RETURNING k",
        "a SELECT * FROM t",
    ),
    case(
        "updates and deletes",
        SMALL,
        "a UPDATE t SET n = n + 10, k = 'w' WHERE k = 'x' RETURNING *",
        "a UPDATE t SET n = 1, n = 2",
        "a UPDATE t SET u = u + 10",
        "a UPDATE t SET u = u + 10 WHERE n = 3 RETURNING u AS new, n",
        "a UPDATE t SET k = 'y' WHERE k = 'z'",
        "a UPDATE t SET k = NULL WHERE k = 'z'",
        "a UPDATE t SET n = NULL",
        "a DELETE FROM t WHERE k = 'w' RETURNING u, k",
        "a DELETE FROM t WHERE k = 'w'",
        "a SELECT * FROM t",
        "a DELETE FROM t",
    ),
    case(
        "blocks",
        SMALL,
        "a BEGIN",
        "a BEGIN",
        "a START TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "a INSERT INTO t VALUES ('p')",
        "a COMMIT",
        "a COMMIT",
        "a ROLLBACK",
        "a BEGIN WORK",
        "a DELETE FROM t",
        "a SELECT count(*) FROM t",
        "a ABORT TRANSACTION",
        "a SELECT count(*) FROM t",
        "a BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "a SHOW transaction_isolation",
        "a END",
    ),
    case(
        "a failed block",
        SMALL,
        "a BEGIN",
        "a INSERT INTO t VALUES ('p')",
        "a INSERT INTO t VALUES ('x')",
        "a SELECT 1",
        "a BEGIN",
        "a FOO",
        "a SET application_name = 'x'",
        call("a", "SELECT 1"),
        call("a", "FOO"),
        call("a", "COMMIT"),
        "a SELECT k FROM t",
        "a BEGIN",
        "a SELECT 1 FROM nowhere",
        "a ROLLBACK",
        "a SELECT 1",
    ),
    case(
        "tables in a transaction",
        "a BEGIN",
        "a CREATE TABLE n (k text PRIMARY KEY)",
        "a INSERT INTO n VALUES ('x')",
        "b SELECT k FROM n",
        "a ROLLBACK",
        "a SELECT k FROM n",
        "a CREATE TABLE n (k text); INSERT INTO n VALUES ('x')",
        "a BEGIN",
        "a TRUNCATE n",
        "a INSERT INTO n VALUES ('y')",
        "a SELECT k FROM n",
        "a ROLLBACK",
        "a SELECT k FROM n",
        "a DROP TABLE n; CREATE TABLE n (m integer); INSERT INTO n VALUES (3)",
        "a BEGIN; DROP TABLE n",
        "a SELECT m FROM n",
        "a ROLLBACK",
        "b SELECT m FROM n",
        last=[("3",)],
    ),
    case(
        "settings",
        "a SHOW application_name",
        "a SET application_name = 'one'",
        "a SHOW application_name",
        "a BEGIN; SET application_name TO 'two'",
        "a ROLLBACK",
        "a BEGIN; SET LOCAL application_name = 'three'; SET statement_timeout = 1500",
        "a SHOW application_name",
        "a COMMIT",
        "a SHOW application_name",
        "a SHOW statement_timeout",
        "a SET statement_timeout TO DEFAULT",
        "a SHOW STATEMENT_TIMEOUT",
        "a SET deadlock_timeout = '2min'; SHOW deadlock_timeout",
        "a SET statement_timeout = 'x'",
        "a SET LOCAL statement_timeout = 5",
        "a SHOW TimeZone",
        "a SHOW client_encoding",
        "a SET client_encoding = 'utf-8'; SET standard_conforming_strings = on; SET extra_float_digits = 3",
        "a SET DateStyle = 'ISO'",
        "a SHOW default_transaction_isolation",
        "a SET SESSION application_name = ''",
        "a SET server_version = '1'",
    ),
)

EXTENDED = (
    case(
        "parameters of inferred types",
        TYPES,
        call("a", "INSERT INTO v VALUES ($1, $2, $3, $4, $5)", "é", "-7", "8", "off", "1e3"),
        call("a", "INSERT INTO v VALUES ($1, $2, $3, $4, $5)", None, None, None, None, None),
        call("a", "SELECT $1, $2 + 1, coalesce($3, 'x')", "p", "5", None),
        call("a", "SELECT t, $1 FROM v WHERE i = $2 AND o = $3", "p", "1", "t"),
        call("a", "UPDATE v SET i = i + $1 WHERE t = $2 RETURNING i", "4", "é"),
        call("a", "SELECT t FROM v WHERE i IN ($1, $2) LIMIT $3", "1", "-3", "9"),
        call("a", "SELECT t FROM v WHERE t = $1 AND i = $1", "1"),
        call("a", "UPDATE v SET t = $1, i = $1", "1"),
        call("a", "SELECT $2", "1", "2"),
        call("a", "SELECT $1 + $2", "1", "2"),
        call("a", "SELECT t FROM v WHERE i = $1", "one"),
        call("a", "SELECT t FROM v WHERE i = $1", ""),
        call("a", "SELECT t FROM v WHERE i = $1"),
        call("a", "SELECT t FROM v WHERE i = $1", "1", "2"),
        call("a", "SELECT t FROM v WHERE $1 = 1 AND $2 IS NULL", "1", None),
    ),
    case(
        "parameters of given types",
        TYPES,
        call(
            "a",
            "SELECT t FROM v WHERE i = $1 AND b = $2 AND d < $3 AND o = $4 AND t = $5",
            "1",
            "2",
            "1.5",
            "t",
            "x",
            oids=(INT2, INT4, FLOAT8, BOOL, TEXT),
        ),
        call("a", "INSERT INTO v (t, d, b) VALUES ($1, $2, $3)", "5", "6", "7", oids=(INT8, INT2, INT4)),
        call("a", "INSERT INTO v (i) VALUES ($1)", "5000000000", oids=(INT8,)),
        call("a", "INSERT INTO v (i) VALUES ($1)", "2.5", oids=(FLOAT8,)),
        call("a", "INSERT INTO v (i) VALUES ($1)", "5", oids=(TEXT,)),
        call("a", "INSERT INTO v (o) VALUES ($1)", "1", oids=(INT4,)),
        call("a", "SELECT t FROM v WHERE t = $1", "1", oids=(INT2,)),
        call("a", "SELECT i + $1 FROM v", "32767", oids=(INT2,)),
        call("a", "SELECT $1 + 1, $1 - $2", "32767", "-1", oids=(INT2, INT2)),
        call("a", "SELECT $1, $2, $3", "1", "2", "t", oids=(INT2, FLOAT8, BOOL)),
        call("a", "SELECT 1", "1", oids=(INT4,)),
        call("a", "SELECT * FROM v"),
    ),
    case(
        "parameters in binary",
        TYPES,
        call(
            "a",
            "SELECT $1, $2, $3, $4, $5, $6",
            struct.pack("!h", -2),
            struct.pack("!i", 7),
            struct.pack("!q", -(1 << 40)),
            b"\1",
            struct.pack("!d", 0.1),
            "é".encode(),
            oids=(INT2, INT4, INT8, BOOL, FLOAT8, TEXT),
        ),
        call("a", "INSERT INTO v VALUES ($1, $2)", b"x", b"\0\0\0\5"),
        call("a", "INSERT INTO v VALUES ($1, $2)", "x", b"\0\5"),
        call("a", "INSERT INTO v VALUES ($1)", b"\xff"),
        call("a", "INSERT INTO v VALUES ($1)", b"a\0"),
    ),
    case(
        "named statements",
        SMALL,
        raw("a", parse("SELECT k FROM t WHERE n = $1", name="s"), describe("s", b"S"), sync()),
        raw("a", bind("2", name="s"), execute(), bind("3", name="s"), describe(), execute(), sync()),
        raw("a", parse("SELECT 1", name="s"), sync()),
        raw("a", close("s"), close("s"), sync()),
        raw("a", bind("2", name="s"), execute(), sync()),
        raw("a", parse("SELECT 2", name="s"), parse("DELETE FROM t", name="r"), describe("r", b"S"), sync()),
        "a DEALLOCATE s",
        "a DEALLOCATE s",
        call("a", "DEALLOCATE ALL"),
        raw("a", bind(name="r"), sync()),
        raw("a", execute("p"), sync()),
        raw("a", describe("p"), sync()),
        raw("a", describe("q", b"S"), sync()),
    ),
    case(
        "a prepared statement outlives its table but not a change of it",
        SMALL,
        raw("a", parse("SELECT * FROM t WHERE n = 1", name="s"), parse("DELETE FROM t WHERE n = 1", name="d"), sync()),
        "a DROP TABLE t",
        raw("a", bind(name="s"), execute(), sync()),
        "a CREATE TABLE t (n integer)",
        raw("a", bind(name="s"), execute(), sync()),
        raw("a", bind(name="d"), execute(), sync()),
    ),
    case(
        "portals read in parts",
        SMALL,
        raw(
            "a", parse("SELECT k FROM t"), bind(), execute(rows_max=2), execute(rows_max=1), execute(rows_max=1), sync()
        ),
        raw("a", parse("SELECT k FROM t"), bind(), execute(rows_max=2), execute(), execute(), sync()),
        raw("a", parse("UPDATE t SET n = 5 RETURNING k"), bind(), execute(rows_max=2), execute(), sync()),
        raw("a", parse("UPDATE t SET n = 6"), bind(), execute(), execute(), sync()),
        "a BEGIN",
        raw("a", parse("SELECT k FROM t"), bind(portal="p"), execute("p", 1), sync()),
        raw("a", execute("p", 1), bind(portal="p"), sync()),
        "a ROLLBACK",
        raw("a", execute("p", 1), sync()),
        "a SELECT n FROM t",
    ),
    case(
        "what follows an error is skipped up to the Sync",
        SMALL,
        raw("a", parse("INSERT INTO t VALUES ('p')"), bind(), execute(), parse("FOO"), bind(), execute(), sync()),
        raw("a", parse("SELECT 1"), bind("x"), describe(), execute(), close("", b"P"), sync()),
        raw("a", parse("FOO"), query("INSERT INTO t VALUES ('q')"), sync()),
        raw("a", query("INSERT INTO t VALUES ('r'); FOO")),
        "a SELECT k FROM t",
    ),
    case(
        "a pipeline is one transaction",
        SMALL,
        raw(
            "a",
            parse("INSERT INTO t VALUES ('p')"),
            bind(),
            execute(),
            parse("INSERT INTO t VALUES ('q')"),
            bind(),
            execute(),
            sync(),
        ),
        raw(
            "a",
            parse("BEGIN ISOLATION LEVEL READ COMMITTED"),
            bind(),
            execute(),
            parse("DELETE FROM t"),
            bind(),
            describe(),
            execute(),
            sync(),
        ),
        "a ROLLBACK",
        raw("a", parse("DELETE FROM t"), bind(), execute(), parse("ROLLBACK"), bind(), execute(), sync()),
        "a SELECT k FROM t",
    ),
    case("several statements in a Parse", raw("a", parse("SELECT 1; SELECT 2"), sync())),
    case(
        "settings in the extended protocol",
        call("a", "SET application_name = 'x'"),
        call("a", "SHOW application_name"),
        call("a", "SET statement_timeout = 0"),
    ),
)

SEVERAL_SESSIONS = (
    case(
        "nobody sees what is not committed",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = 9 WHERE k = 'x'",
        "a INSERT INTO t VALUES ('p')",
        "a DELETE FROM t WHERE k = 'y'",
        "a SELECT * FROM t",
        "b SELECT * FROM t",
        "a COMMIT",
        "b SELECT * FROM t",
        last=[("z", "3", "30"), ("x", "9", "10"), ("p", None, None)],
    ),
    case(
        "READ COMMITTED sees each commit, REPEATABLE READ none",
        SMALL,
        "a BEGIN",
        "b BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "c UPDATE t SET n = n + 10",
        "a SELECT n FROM t",
        "b SELECT n FROM t",
        "c DELETE FROM t WHERE k = 'x'",
        "c INSERT INTO t VALUES ('x', 0)",
        "a SELECT n FROM t",
        "b SELECT n FROM t",
        "b COMMIT",
        "b SELECT n FROM t",
    ),
    case(
        "an update waits for the row, and sees what became of it",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = n + 10 WHERE k = 'x'",
        "b UPDATE t SET n = n + 100 WHERE k = 'x' RETURNING n",
        "c SELECT n FROM t WHERE k = 'x'",
        "a COMMIT",
        "c SELECT n FROM t WHERE k = 'x'",
        last=[("111",)],
    ),
    case(
        "an update finds that its WHERE does not hold any more",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = 7 WHERE k IN ('x', 'y')",
        "b UPDATE t SET u = 0 WHERE n = 1",
        "c DELETE FROM t WHERE n <= 3",
        "a COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "what began to match is not found",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = n + 1",
        "b DELETE FROM t WHERE n = 2",
        "a COMMIT",
        "a SELECT * FROM t",
        last=[("x", "2", "10"), ("y", "3", "20"), ("z", "4", "30")],
    ),
    case(
        "a row that failed WHERE after a wait stays locked",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = 7 WHERE k = 'x'",
        "b BEGIN",
        "b DELETE FROM t WHERE n = 1",
        "a COMMIT",
        "c UPDATE t SET n = 8 WHERE k = 'x'",
        "b COMMIT",
    ),
    case(
        "waiting for a row that is deleted, or whose change is undone",
        SMALL,
        "a BEGIN",
        "a DELETE FROM t WHERE k = 'x'",
        "a UPDATE t SET n = 9 WHERE k = 'y'",
        "b UPDATE t SET n = 100 WHERE k = 'x'",
        "c UPDATE t SET n = n + 100 WHERE k = 'y' RETURNING n",
        "a ROLLBACK",
        "a BEGIN",
        "a DELETE FROM t WHERE k = 'x'",
        "b UPDATE t SET n = 200 WHERE k = 'x'",
        "a COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "REPEATABLE READ fails on a concurrent change",
        SMALL,
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t WHERE k = 'x'",
        "b UPDATE t SET n = 9 WHERE k = 'x'",
        "b DELETE FROM t WHERE k = 'y'",
        "a UPDATE t SET n = 5 WHERE k = 'x'",
        "a ROLLBACK",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t WHERE k = 'x'",
        "b DELETE FROM t WHERE k = 'z'",
        "b UPDATE t SET n = 1; DELETE FROM t",
        "a DELETE FROM t WHERE k = 'z'",
        "a COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "REPEATABLE READ fails after a wait, or goes on if the other is undone",
        SMALL,
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b BEGIN",
        "b UPDATE t SET n = 9 WHERE k = 'x'",
        "a UPDATE t SET n = n + 1 WHERE k = 'x' RETURNING n",
        "b ROLLBACK",
        "a COMMIT",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b BEGIN",
        "b DELETE FROM t WHERE k = 'x'",
        "a SELECT n FROM t WHERE k = 'x' FOR UPDATE",
        "b COMMIT",
        "a ROLLBACK",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b BEGIN",
        "b SELECT n FROM t WHERE k = 'y' FOR UPDATE",
        "a UPDATE t SET n = n + 1 WHERE k = 'y' RETURNING n",
        "b COMMIT",
        "a COMMIT",
    ),
    case(
        "REPEATABLE READ does not see the row that is in the way",
        SMALL,
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b INSERT INTO t VALUES ('p', 1)",
        "a INSERT INTO t VALUES ('p', 2) ON CONFLICT DO NOTHING",
        "a ROLLBACK",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b INSERT INTO t VALUES ('q', 1)",
        "a INSERT INTO t VALUES ('q', 2) ON CONFLICT (k) DO UPDATE SET n = excluded.n",
        "a ROLLBACK",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b INSERT INTO t VALUES ('r', 1)",
        "a INSERT INTO t VALUES ('r', 2)",
        "a ROLLBACK",
        "a BEGIN ISOLATION LEVEL REPEATABLE READ",
        "a SELECT n FROM t",
        "b UPDATE t SET n = 50 WHERE k = 'x'",
        "a INSERT INTO t VALUES ('x', 2) ON CONFLICT (k) DO UPDATE SET n = excluded.n",
    ),
    case(
        "FOR UPDATE waits and is waited for",
        SMALL,
        "a BEGIN",
        "a SELECT n FROM t WHERE k = 'x' FOR UPDATE",
        "b BEGIN",
        "b SELECT k, n FROM t WHERE n < 3 ORDER BY n DESC FOR UPDATE",
        "c UPDATE t SET n = 0 WHERE k = 'y'",
        "a UPDATE t SET n = 2 WHERE k = 'x'",
        "a COMMIT",
        "b COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "SKIP LOCKED takes the next",
        SMALL,
        "a BEGIN",
        "a SELECT k FROM t ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED",
        "b BEGIN",
        "b SELECT k FROM t ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED",
        "c SELECT k FROM t ORDER BY n FOR UPDATE SKIP LOCKED",
        "a DELETE FROM t WHERE k = 'x'",
        "a COMMIT",
        "c SELECT k FROM t FOR UPDATE SKIP LOCKED",
        "b COMMIT",
        "c SELECT k FROM t ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED",
        last=[("y",)],
    ),
    case(
        "FOR UPDATE with a limit goes on past rows that are gone",
        SMALL,
        "a BEGIN",
        "a DELETE FROM t WHERE k = 'x'",
        "b SELECT k FROM t ORDER BY n LIMIT 1 FOR UPDATE",
        "a COMMIT",
    ),
    case(
        "an insert waits for the key, and fails or succeeds",
        SMALL,
        "a BEGIN",
        "a INSERT INTO t VALUES ('p', 1)",
        "b INSERT INTO t VALUES ('p', 2)",
        "a COMMIT",
        "a BEGIN",
        "a INSERT INTO t VALUES ('q', 1)",
        "b INSERT INTO t VALUES ('q', 2)",
        "a ROLLBACK",
        "a BEGIN",
        "a DELETE FROM t WHERE k = 'x'",
        "b INSERT INTO t VALUES ('x', 3)",
        "a COMMIT",
        "a BEGIN",
        "a UPDATE t SET k = 'r' WHERE k = 'y'",
        "b INSERT INTO t VALUES ('y', 3)",
        "a ROLLBACK",
        "a SELECT * FROM t",
    ),
    case(
        "an update to a key waits for it",
        SMALL,
        "a BEGIN",
        "a INSERT INTO t VALUES ('p', 1, 100)",
        "b UPDATE t SET u = 100 WHERE k = 'x'",
        "c UPDATE t SET k = 'p' WHERE k = 'y'",
        "a COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "a key that a row had long ago is free",
        SMALL,
        "c BEGIN ISOLATION LEVEL REPEATABLE READ",
        "c SELECT * FROM t",
        "a UPDATE t SET k = 'w' WHERE k = 'x'",
        "a BEGIN",
        "a UPDATE t SET n = 9 WHERE k = 'w'",
        "b INSERT INTO t VALUES ('x', 5)",
        "b INSERT INTO t VALUES ('w', 5)",
        "a COMMIT",
        "c SELECT * FROM t",
    ),
    case(
        "ON CONFLICT waits for the inserter",
        SMALL,
        "a BEGIN",
        "a INSERT INTO t VALUES ('p', 1)",
        "b INSERT INTO t VALUES ('p', 2) ON CONFLICT DO NOTHING RETURNING n",
        "c INSERT INTO t VALUES ('p', 3) ON CONFLICT (k) DO UPDATE SET n = t.n + excluded.n RETURNING n",
        "a COMMIT",
        "a BEGIN",
        "a INSERT INTO t VALUES ('q', 1)",
        "b INSERT INTO t VALUES ('q', 2) ON CONFLICT (k) DO UPDATE SET n = t.n + excluded.n RETURNING n",
        "a ROLLBACK",
        "a SELECT * FROM t",
    ),
    case(
        "ON CONFLICT waits for the row",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = n + 10 WHERE k = 'x'",
        "b INSERT INTO t VALUES ('x') ON CONFLICT DO NOTHING",
        "c INSERT INTO t VALUES ('x', 100) ON CONFLICT (k) DO UPDATE SET n = t.n + excluded.n RETURNING n",
        "a COMMIT",
        "a BEGIN",
        "a SELECT n FROM t WHERE k = 'x' FOR UPDATE",
        "b INSERT INTO t VALUES ('x') ON CONFLICT DO NOTHING",
        "c INSERT INTO t VALUES ('x', 1000) ON CONFLICT (k) DO UPDATE SET n = t.n + excluded.n RETURNING n",
        "a DELETE FROM t WHERE k = 'x'",
        "a COMMIT",
        "a SELECT * FROM t WHERE k = 'x'",
        last=[("x", "1000", None)],
    ),
    case(
        "the first that waits goes first",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = 9 WHERE k = 'x'",
        "b BEGIN",
        "b UPDATE t SET n = n + 1 WHERE k = 'x' RETURNING n",
        "c UPDATE t SET n = n + 100 WHERE k = 'x' RETURNING n",
        "a COMMIT",
        "b COMMIT",
        "a SELECT n FROM t WHERE k = 'x'",
        last=[("110",)],
    ),
    case(
        "a deadlock is ended at one of the two",
        SMALL,
        "a BEGIN",
        "b BEGIN",
        "a UPDATE t SET n = 5 WHERE k = 'x'",
        "b UPDATE t SET n = 6 WHERE k = 'y'",
        "a UPDATE t SET n = 7 WHERE k = 'y'",
        "b UPDATE t SET n = 8 WHERE k = 'x'",
        "a COMMIT",
        "b COMMIT",
        "a SELECT n FROM t",
    ),
    case(
        "a deadlock through keys and a queue is ended by the one whose time is up",
        SMALL,
        "a BEGIN; SET LOCAL deadlock_timeout = '10min'",
        "b BEGIN; SET LOCAL deadlock_timeout = '10min'",
        "c BEGIN; SET LOCAL deadlock_timeout = '50ms'",
        "a INSERT INTO t VALUES ('p')",
        "b SELECT n FROM t WHERE k = 'y' FOR UPDATE",
        "c INSERT INTO t VALUES ('q') ON CONFLICT DO NOTHING",
        "a UPDATE t SET n = 5 WHERE k = 'y'",
        "b INSERT INTO t VALUES ('q')",
        "c INSERT INTO t VALUES ('p') ON CONFLICT (k) DO UPDATE SET n = 6",
        "b COMMIT",
        "a COMMIT",
        "c COMMIT",
        "a SELECT * FROM t",
    ),
    case(
        "an error releases locks before ROLLBACK",
        SMALL,
        "a BEGIN",
        "a UPDATE t SET n = 5 WHERE k = 'x'",
        "b UPDATE t SET n = n + 1 WHERE k = 'x' RETURNING n",
        "a SELECT 1 FROM nowhere",
        "a SELECT 1",
        "a COMMIT",
        "a SELECT n FROM t WHERE k = 'x'",
        last=[("2",)],
    ),
    case(
        "an insert of several rows is undone whole",
        SMALL,
        "a BEGIN",
        "a INSERT INTO t VALUES ('p'), ('q')",
        "b INSERT INTO t VALUES ('o'), ('q')",
        "a COMMIT",
        "b SELECT k FROM t",
    ),
    case(
        "two transactions create the same table",
        "a BEGIN",
        "a CREATE TABLE IF NOT EXISTS n (k text)",
        "b CREATE TABLE IF NOT EXISTS n (k text)",
        "a COMMIT",
        "b CREATE TABLE IF NOT EXISTS n (k text)",
        "a DROP TABLE n",
        "a BEGIN",
        "a CREATE TABLE n (k text)",
        "b CREATE TABLE IF NOT EXISTS n (m integer)",
        "a ROLLBACK",
        "a SELECT * FROM n",
    ),
    case(
        "DROP and TRUNCATE wait for those who use a table, and are waited for",
        SMALL,
        "a BEGIN",
        "a SELECT k FROM t WHERE k = 'x'",
        "b BEGIN",
        "b TRUNCATE t",
        "a COMMIT",
        "a SELECT k FROM t",
        "b COMMIT",
        "a BEGIN",
        "a INSERT INTO t VALUES ('p')",
        "b DROP TABLE t",
        "a COMMIT",
        "a SELECT k FROM t",
        "b CREATE TABLE t (k text)",
        "a BEGIN",
        "a DROP TABLE t",
        "b SELECT * FROM t",
        "c SELECT * FROM t",
        "a COMMIT",
    ),
)

CASES = (*ONE_SESSION, *EXTENDED, *SEVERAL_SESSIONS)

REFUSALS = (
    "SELECT now()",
    "SELECT k FROM t, t",
    "SELECT DISTINCT k FROM t",
    "SELECT k FROM t JOIN t ON true",
    "SELECT k FROM t WHERE k LIKE 'a%'",
    "SELECT k FROM t WHERE n = 1 OR n = 2",
    "SELECT k FROM t WHERE NOT n = 1",
    "SELECT k FROM t WHERE n BETWEEN 1 AND 2",
    "SELECT k FROM t WHERE n NOT IN (1)",
    "SELECT k FROM t WHERE n = 1.5",
    "SELECT k FROM t WHERE (n = 1)",
    "SELECT k FROM t WHERE n",
    "SELECT k FROM t GROUP BY k",
    "SELECT k FROM t ORDER BY 1",
    "SELECT k FROM t ORDER BY k NULLS FIRST",
    "SELECT k FROM t OFFSET 1",
    "SELECT k FROM t FOR SHARE",
    "SELECT k FROM t FOR UPDATE NOWAIT",
    "SELECT k FROM public.t",
    "SELECT k x FROM t",
    "SELECT n * 2 FROM t",
    "SELECT n::text FROM t",
    "SELECT k || 'x' FROM t",
    "SELECT sum(n) FROM t",
    "SELECT count(k) FROM t",
    "SELECT ctid FROM t",
    "SELECT 1.5",
    "SELECT 99999999999999999999",
    "SELECT E'x'",
    "SELECT $$x$$",
    "SELECT 1 /* comment */",
    "SELECT k FROM t WHERE n = (SELECT 1)",
    "SELECT",
    "WITH x AS (SELECT 1) SELECT 1",
    "VALUES (1)",
    "INSERT INTO t SELECT k FROM t",
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO t AS s VALUES ('p')",
    "INSERT INTO t VALUES ('x') ON CONFLICT (k) DO UPDATE SET n = 1 WHERE t.n = 2",
    "INSERT INTO t VALUES ('x') ON CONFLICT ON CONSTRAINT t_pkey DO NOTHING",
    "UPDATE t AS s SET n = 1",
    "UPDATE t SET (n) = (1)",
    "UPDATE t SET n = DEFAULT",
    "DELETE FROM t USING t",
    "CREATE TABLE x (k varchar(5))",
    "CREATE TABLE x (n numeric)",
    "CREATE TABLE x (k text REFERENCES t)",
    "CREATE TABLE x (n integer CHECK (n > 0))",
    "CREATE TABLE x (n integer GENERATED ALWAYS AS IDENTITY)",
    "CREATE TABLE x (k text DEFAULT now())",
    "CREATE INDEX i ON t (n)",
    "ALTER TABLE t ADD COLUMN x text",
    "DROP TABLE t CASCADE",
    "TRUNCATE t RESTART IDENTITY",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "BEGIN READ ONLY",
    "SAVEPOINT s",
    "COMMIT AND CHAIN",
    "PREPARE s AS SELECT 1",
    "LOCK TABLE t",
    "COPY t FROM STDIN",
    "EXPLAIN SELECT 1",
    "LISTEN x",
    "SET search_path = x",
    "SET client_encoding = 'LATIN1'",
    "SHOW ALL",
)
