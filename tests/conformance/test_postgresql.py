"""The simulated PostgreSQL is held to the real one: the same sessions, step by step, get the same answers.

Compared are all messages with their rows, tags, types, SQLSTATEs, words and details, and who waits until when. The
real server is told not to use indexes, so that rows come in the order of the heap, as they do in the simulated one.
What survives a crash is told by the same sessions.
"""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.live.postgresql import PostgreSQLServer
from simulator.services.postgresql import SimulatedPostgreSQL
from simulator.services.postgresql.settings import REPORTED
from tests.conformance.postgresql_cases_blocks import BLOCKS
from tests.conformance.postgresql_cases_concurrency import CONCURRENCY
from tests.conformance.postgresql_cases_constants import CONSTANTS, CONSTANTS_REFUSED
from tests.conformance.postgresql_cases_odd import ODD, ODD_REFUSALS
from tests.conformance.postgresql_cases_protocol import PROTOCOL
from tests.conformance.postgresql_cases_refusals import REFUSALS
from tests.conformance.postgresql_cases_statements import STATEMENTS
from tests.conformance.postgresql_client import Client, Reply, query, rows_of
from tests.conformance.postgresql_conversation import Blockers, Case, Step, conversation, steps

CASES = (*STATEMENTS, *PROTOCOL, *CONCURRENCY, *BLOCKS, *CONSTANTS, *ODD)

T = TypeVar("T")
Transcript = list[tuple[str, Mapping[str, Reply]]]

BY_SCAN = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"


@pytest.fixture(scope="module")
def real() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer() as server:
        yield server


def simulate(talk: Callable[[SimulatedPostgreSQL], Awaitable[T]]) -> T:
    """Run `talk` with a simulated server on a loopback socket."""

    async def main() -> T:
        server = SimulatedPostgreSQL(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            result = await talk(server)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(main)


async def talk(
    taken: Sequence[Step], port: int, blockers: Blockers, *, ends_in_doubt: bool = False, **options: str
) -> Transcript:
    async with AsyncExitStack() as stack:
        names = dict.fromkeys(step.session for step in taken)
        clients = {name: await stack.enter_async_context(await Client.connect(port, **options)) for name in names}
        return await conversation(taken, clients, blockers, ends_in_doubt=ends_in_doubt)


async def talk_to_simulated(
    taken: Sequence[Step], server: SimulatedPostgreSQL, *, ends_in_doubt: bool = False
) -> Transcript:
    async def blockers(process_id: int) -> Sequence[int]:
        blocker = server.blocker(process_id)
        return [] if blocker is None else [blocker]

    return await talk(taken, server.port, blockers, ends_in_doubt=ends_in_doubt)


async def talk_to_real(taken: Sequence[Step], port: int, *, ends_in_doubt: bool = False) -> Transcript:
    async with await Client.connect(port) as monitor:
        for (table,) in await monitor.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            await monitor.ask(f'DROP TABLE "{table}"')

        async def blockers(process_id: int) -> Sequence[int]:
            ((found,),) = await monitor.rows(f"SELECT array_to_string(pg_blocking_pids({process_id}), ' ')")
            return [int(word) for word in str(found).split()]

        return await talk(taken, port, blockers, ends_in_doubt=ends_in_doubt, options=BY_SCAN)


def assert_alike(taken: Sequence[Step], real: PostgreSQLServer, *, ends_in_doubt: bool = False) -> Transcript:
    expected = trio.run(partial(talk_to_real, taken, real.port, ends_in_doubt=ends_in_doubt))
    actual = simulate(lambda server: talk_to_simulated(taken, server, ends_in_doubt=ends_in_doubt))
    for number, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert ours == theirs, [shown for shown, _ in expected[: number + 1]]
    return expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_answer_alike(case: Case, real: PostgreSQLServer) -> None:
    """The simulation is only worth as much as its likeness to the server it stands for."""
    transcript = assert_alike(case.steps, real)
    if case.last is not None:
        assert rows_of(list(transcript[-1][1].values())[-1]) == case.last


@pytest.mark.parametrize("statement", [*REFUSALS, *CONSTANTS_REFUSED, *ODD_REFUSALS], ids=lambda text: text[:60])
def test_what_is_not_modelled_is_refused(statement: str) -> None:
    """One wrong answer is worse than a missing statement."""

    async def main(server: SimulatedPostgreSQL) -> None:
        async with await Client.connect(server.port) as client:
            await client.ask("CREATE TABLE t (k text PRIMARY KEY, n integer)")
            await client.ask("INSERT INTO t VALUES ('x', 1)")
            error = (await client.ask(statement))[-2]
            assert error[3] == ("C", "0A000")
            assert str(error[4][1]).startswith("wavetank: the simulated PostgreSQL does not model: ")  # type: ignore[index]
            assert await client.rows("SELECT * FROM t") == [("x", "1")]

    simulate(main)


BOUNDED = settings(
    max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
TABLE = """
    a CREATE TABLE t (k text PRIMARY KEY, n integer, u integer UNIQUE)
    a INSERT INTO t VALUES ('x', 1, 1), ('y', 2, 2)
"""
TEMPLATES = """
    BEGIN|BEGIN ISOLATION LEVEL REPEATABLE READ
    SELECT * FROM t|SELECT * FROM t|SELECT max(n), count(*) FROM t WHERE u > #
    SELECT k FROM t WHERE k = @ FOR UPDATE|SELECT n FROM t WHERE n >= # FOR UPDATE
    SELECT k FROM t ORDER BY n DESC, k LIMIT 1 FOR UPDATE|SELECT k FROM t ORDER BY k LIMIT 1 FOR UPDATE SKIP LOCKED
    INSERT INTO t VALUES (@, #, #)|INSERT INTO t VALUES (@, #)|INSERT INTO t VALUES (@, #, #), (@, #, #)
    INSERT INTO t VALUES (@, #, #) ON CONFLICT DO NOTHING RETURNING k
    INSERT INTO t VALUES (@, #, #) ON CONFLICT (k) DO NOTHING
    INSERT INTO t VALUES (@, #, #) ON CONFLICT (u) DO UPDATE SET n = t.n + excluded.n RETURNING *
    INSERT INTO t VALUES (@, #, #), (@, #, NULL) ON CONFLICT (k) DO UPDATE SET u = excluded.u, n = t.n + 1
    UPDATE t SET n = n + # WHERE k = @|UPDATE t SET n = n + 1 RETURNING *|UPDATE t SET n = # WHERE n = #
    UPDATE t SET u = # WHERE k = @|UPDATE t SET u = u + 1|UPDATE t SET k = @ WHERE u = # RETURNING k
    DELETE FROM t WHERE k = @ RETURNING n|DELETE FROM t WHERE n = #|DELETE FROM t WHERE k IN (@, @)
"""


@st.composite
def statements(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(["COMMIT", "COMMIT", "ROLLBACK"]))
    templates = [each for line in TEMPLATES.strip().splitlines() for each in line.strip().split("|")]
    text = draw(st.sampled_from(templates))
    while "@" in text:
        text = text.replace("@", draw(st.sampled_from(["'x'", "'x'", "'y'", "'z'"])), 1)
    while "#" in text:
        text = text.replace("#", str(draw(st.integers(1, 3))), 1)
    return text


@BOUNDED
@given(
    lines=st.lists(st.tuples(st.sampled_from(["a", "a", "b", "b", "c"]), statements()), min_size=10, max_size=20),
    begins=st.sampled_from(["a BEGIN", "a BEGIN\nb BEGIN", "a BEGIN\nb BEGIN ISOLATION LEVEL REPEATABLE READ"]),
)
def test_random_conversations_agree(real: PostgreSQLServer, lines: list[tuple[str, str]], begins: str) -> None:
    """Cases are what we thought of; the differences are in what nobody did."""
    text = [TABLE.strip(), begins, *(f"{session} {statement}" for session, statement in lines)]
    assert_alike(steps("\n".join([*text, "d SELECT * FROM t"])), real, ends_in_doubt=True)


# What needs more than statements


def both(main: Callable[[int], Awaitable[T]], real: PostgreSQLServer) -> None:
    """Run something against both servers, each with one table t, and compare what it returns."""

    async def with_table(port: int) -> T:
        async with await Client.connect(port) as client:
            await client.ask("DROP TABLE IF EXISTS t")
            await client.ask("CREATE TABLE t (k text PRIMARY KEY, n integer)")
            await client.ask("INSERT INTO t VALUES ('x', 1), ('y', 2)")
        return await main(port)

    assert simulate(lambda server: with_table(server.port)) == trio.run(with_table, real.port)


async def blocked(port: int, stack: AsyncExitStack) -> tuple[Client, Client]:
    """Return a session that holds a row, and one that is about to wait for it, in a transaction."""
    holder, waiter = [await stack.enter_async_context(await Client.connect(port)) for _ in range(2)]
    for client in (holder, waiter):
        await client.ask("BEGIN")
    await holder.ask("UPDATE t SET n = 5 WHERE k = 'x'")
    return holder, waiter


def test_a_waiting_statement_times_out_alike(real: PostgreSQLServer) -> None:
    """A client that waits for ever is a platform that hangs."""

    async def main(port: int) -> list[Reply]:
        async with AsyncExitStack() as stack:
            _, waiter = await blocked(port, stack)
            await waiter.ask("SET statement_timeout = 30")
            return [await waiter.ask("UPDATE t SET n = 6"), await waiter.ask("COMMIT")]

    both(main, real)


def test_a_cancel_request_interrupts_a_wait_alike(real: PostgreSQLServer) -> None:
    """It comes over a connection of its own, with the secret of the one it is for; with another it does nothing."""

    async def main(port: int) -> list[object]:
        async with AsyncExitStack() as stack:
            _, waiter = await blocked(port, stack)
            async with trio.open_nursery() as nursery:
                await waiter.begin(query("DELETE FROM t WHERE k = 'x'"), nursery)
                closed = [await cancel(port, waiter.process_id, waiter.secret ^ 1)]
                still_waits = waiter.reply is None
                # A cancel that comes before the statement is lost.
                while waiter.reply is None:
                    closed = [await cancel(port, waiter.process_id, waiter.secret)]
                    await trio.lowlevel.checkpoint()
            return [closed, still_waits, waiter.reply, await waiter.ask("ROLLBACK")]

    both(main, real)


async def cancel(port: int, process_id: int, secret: int) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(struct.pack("!IIII", 16, 80877102, process_id, secret))
        return bytes(await stream.receive_some())


def test_a_lost_connection_rolls_back_alike(real: PostgreSQLServer) -> None:
    """The locks of a client that died must not outlive it."""

    async def main(port: int) -> Reply:
        async with AsyncExitStack() as stack:
            holder, waiter = await blocked(port, stack)
            async with trio.open_nursery() as nursery:
                await waiter.begin(query("UPDATE t SET n = n + 1 WHERE k = 'x' RETURNING n"), nursery)
                await trio.aclose_forcefully(holder.stream)
            assert waiter.reply
            return waiter.reply

    both(main, real)


STARTUPS: Sequence[dict[str, str]] = (
    {},
    {"application_name": "x", "client_encoding": "utf-8"},
    {"options": "-c statement_timeout=5000"},
    {"user": "nobody"},
    {"user": "wavetank", "database": "nowhere"},
)


@pytest.mark.parametrize("options", STARTUPS, ids=str)
def test_connections_begin_alike(options: dict[str, str], real: PostgreSQLServer) -> None:
    """Drivers read what the server tells them there, and refuse one that is not as they know it."""

    async def main(port: int) -> list[object]:
        client = await Client.connect(port, **options)
        async with client:
            if client.greeting[-1] == ("closed",):
                return [client.greeting]
            told = [each for each in client.greeting if each[0] != "S" or is_told(each)]
            return [told, await client.ask("SHOW statement_timeout")]

    both(main, real)


def is_told(status: tuple[object, ...]) -> bool:
    """Say whether the simulated server, too, tells of a setting. Its version is that of one build of the real one."""
    name = bytes(status[1]).partition(b"\0")[0].decode()  # type: ignore[call-overload]
    return name in REPORTED and name != "server_version"


def test_encryption_is_declined(real: PostgreSQLServer) -> None:
    """libpq asks for it first, and goes on without. Of Kerberos the real server may know something."""

    async def main(port: int, code: int = 80877103) -> bytes:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(struct.pack("!II", 8, code))
            return bytes(await stream.receive_some())

    both(main, real)
    assert simulate(lambda server: main(server.port, 80877104)) == b"N"


def test_what_is_no_message_ends_the_connection_alike(real: PostgreSQLServer) -> None:
    """A driver with a defect must meet the same server in both worlds."""

    async def main(port: int) -> Reply:
        async with await Client.connect(port) as client:
            await client.stream.send_all(b"a\0\0\0\4")
            return await client.read()

    both(main, real)


# psycopg as it is


def use_psycopg(port: int) -> list[object]:
    """Do what programs do with psycopg, and return what they get."""
    found: list[object] = []
    address = f"host=127.0.0.1 port={port} user=wavetank dbname=wavetank"
    with psycopg.connect(address) as connection:
        cursor = connection.execute(
            "INSERT INTO p VALUES (%s, %s, %s, %s, %s), (%s, %s, %s, %s, %s) RETURNING *",
            ("é'\\\"", 7, 1 << 40, True, 0.1, "none", None, None, None, None),
        )
        found += [cursor.fetchall(), cursor.statusmessage, [each.type_code for each in cursor.description or ()]]
        connection.commit()
        raw = psycopg.RawCursor(connection)
        for number in (1, 300, 70_000, -5):
            raw.execute("UPDATE p SET i = $1 + 1, d = $2 WHERE t <> $3 RETURNING i, d", (number, number / 7, "none"))
            found.append(raw.fetchall())
        for number in range(8):  # psycopg prepares a statement that it saw five times
            found.append(connection.execute("SELECT b, o FROM p WHERE i > %s", (number,), prepare=None).fetchall())
        found.append(connection.info.transaction_status.name)
        connection.rollback()
        found.append(connection.execute("SELECT * FROM p ORDER BY t").fetchall())
    with psycopg.connect(address, autocommit=True) as connection:
        with connection.transaction(), connection.pipeline(), connection.cursor() as several:
            several.executemany("INSERT INTO p (t, i) VALUES (%s, %s)", [("p", 1), ("q", 2), ("r", 3)])
        found += refused_by_psycopg(connection)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.autocommit = False
        found.append(connection.execute("SELECT count(*), max(i) FROM p").fetchone())
        connection.rollback()
    return found


def refused_by_psycopg(connection: "psycopg.Connection[tuple[object, ...]]") -> list[object]:
    found: list[object] = []
    for statement in (
        "INSERT INTO p (t) VALUES ('p')",
        "SELECT * FROM nowhere",
        "FOO",
        "INSERT INTO p (t) VALUES (NULL)",
    ):
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            diag = error.diag
            found.append((type(error).__name__, diag.sqlstate, diag.message_primary, diag.constraint_name))
    return found


def test_psycopg_finds_no_difference(real: PostgreSQLServer) -> None:
    """The driver that the live platform uses, unmodified."""
    table = "CREATE TABLE p (t text PRIMARY KEY, i integer, b bigint, o boolean, d double precision)"

    async def main(port: int) -> list[object]:
        async with await Client.connect(port) as client:
            await client.ask("DROP TABLE IF EXISTS p")
            await client.ask(table)
        return await trio.to_thread.run_sync(use_psycopg, port)

    found = simulate(lambda server: main(server.port))
    assert found == trio.run(main, real.port)
    assert found[-1] == (5, 7)


# A crash


@asynccontextmanager
async def filled(port: int) -> AsyncIterator[None]:
    """Commit two rows, and change more without a commit."""
    async with await Client.connect(port) as one, await Client.connect(port) as other:
        await one.ask("DROP TABLE IF EXISTS i")
        await one.ask("CREATE TABLE i (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text)")
        await one.ask("INSERT INTO i (k) VALUES ('kept'), ('deleted by nobody')")
        await one.ask("BEGIN")
        await one.ask("INSERT INTO i (k) VALUES ('lost')")
        await one.ask("DELETE FROM i WHERE n = 2")
        await one.ask("CREATE TABLE lost (k text)")
        await other.ask("BEGIN")
        await other.ask("UPDATE i SET k = 'lost' WHERE n = 1")
        yield


async def left(port: int) -> list[object]:
    async with await Client.connect(port) as client:
        statements = ("SELECT * FROM i", "UPDATE i SET k = 'free'", "INSERT INTO i (k) VALUES ('new') RETURNING n")
        return [await client.ask(statement) for statement in (*statements, "SELECT k FROM lost")]


def test_a_crash_keeps_what_is_committed_alike(real: PostgreSQLServer) -> None:
    """The rest is lost with its locks at once, and identities skip what was logged ahead."""

    async def on_real() -> list[object]:
        async with filled(real.port):
            real.kill()
        await trio.to_thread.run_sync(real.start)
        return await left(real.port)

    async def on_simulated() -> list[object]:
        server = SimulatedPostgreSQL(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            async with filled(server.port):
                server.crash()
                nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            found = await left(server.port)
            nursery.cancel_scope.cancel()
        return found

    found = trio.run(on_simulated)
    assert found == trio.run(on_real)
    assert rows_of(found[2]) == [("34",)]  # type: ignore[arg-type]
