"""Both PostgreSQL drivers on the real server: what a transaction's end means, whatever becomes of its connection."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.database import (
    ConflictError,
    Database,
    DatabaseError,
    DatabaseUnavailableError,
    OutcomeUnknownError,
    Row,
    Script,
    Statement,
)
from models.psycopg_database import PsycopgDatabase
from models.wire import WireDatabase
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.process import free_port

WAIT_MAX_S = 20.0
SHORT_S = 0.3  # a time limit that is meant to be met
TABLES = "DROP TABLE IF EXISTS notes; CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL)"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"

Open = Callable[..., AbstractAsyncContextManager[Database]]
Observer = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """A running server with an empty table."""
    postgresql_server.thaw()
    if postgresql_server.pid is None:
        postgresql_server.start()
    with connected(postgresql_server) as observer:
        observer.execute(TABLES)
    return postgresql_server


@pytest.fixture
def observer(server: PostgreSQLServer) -> Iterator[Observer]:
    """A session that sees what is committed, and does things to the others behind the driver's back."""
    with connected(server) as observer:
        yield observer


@pytest.fixture(scope="module", params=[WireDatabase, PsycopgDatabase])
def driver(request: pytest.FixtureRequest) -> type[WireDatabase] | type[PsycopgDatabase]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def opened(driver: type[WireDatabase] | type[PsycopgDatabase], server: PostgreSQLServer) -> Open:
    return partial(driver.opened, host="127.0.0.1", port=server.port, timeout_s=WAIT_MAX_S)


def connected(server: PostgreSQLServer) -> Observer:
    return psycopg.connect(host="127.0.0.1", port=server.port, user="wavetank", dbname="wavetank", autocommit=True)


def add(id: int, text: str = "x") -> Script[None]:
    yield Statement("INSERT INTO notes VALUES ($1, $2)", (id, text))


def change(text: str, where: int = 1) -> Script[None]:
    yield Statement("UPDATE notes SET text = $1 WHERE id = $2", (text, where))


def ask(sql: str, *parameters: str | int | float | bool | None) -> Script[list[Row]]:
    rows = yield Statement(sql, parameters)
    return list(rows)


def session() -> Script[int]:
    [[pid]] = yield Statement("SELECT pg_backend_pid()")
    assert isinstance(pid, int)
    return pid


def notes(observer: Observer) -> list[tuple[object, ...]]:
    return observer.execute("SELECT id, text FROM notes ORDER BY id").fetchall()


def one(observer: Observer, sql: str) -> object:
    row = observer.execute(sql).fetchone()
    assert row is not None
    return row[0]


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(WAIT_MAX_S):
        while not condition():
            await trio.sleep(0.005)


def test_a_transaction_is_committed_whole(opened: Open, observer: Observer) -> None:
    """Nothing of it is seen before its end, all of it after, and its result is the script's."""

    def script() -> Script[list[Row]]:
        yield from add(1, "one")
        yield from add(2, "two")
        assert notes(observer) == []
        return (yield from ask("SELECT text FROM notes ORDER BY id"))

    async def main() -> None:
        async with opened() as database:
            assert await database.transact(script) == [("one",), ("two",)]
            assert notes(observer) == [(1, "one"), (2, "two")]

    trio.run(main)


def test_what_a_script_raises_rolls_back_and_passes_through(opened: Open, observer: Observer) -> None:
    """A decision against a transaction is an ordinary one: its session is used again."""

    def script() -> Script[None]:
        yield from add(1)
        raise LookupError("no such user")

    async def main() -> None:
        async with opened() as database:
            pid = await database.transact(session)
            with pytest.raises(LookupError, match="no such user"):
                await database.transact(script)
            assert one(observer, "SELECT count(*) FROM pg_locks WHERE relation = 'notes'::regclass") == 0
            assert await database.transact(session) == pid

    trio.run(main)
    assert notes(observer) == []


def test_a_script_without_statements_needs_no_transaction(opened: Open) -> None:
    """What is decided without the database is not committed to it."""

    def script() -> Script[str]:
        yield from ()
        return "done"

    async def main() -> None:
        async with opened() as database:
            assert await database.transact(script) == "done"

    trio.run(main)


@pytest.mark.parametrize(
    ("sql", "parameters", "sqlstate"),
    [
        ("SELEC 1", (), "42601"),
        ("INSERT INTO notes VALUES (7, 'again')", (), "23505"),
        ("INSERT INTO notes VALUES ($1, $2)", (8, None), "23502"),
        ("INSERT INTO notes VALUES ($1, $2)", (8, "a\0b"), "22021"),
        ("INSERT INTO notes VALUES ($1, $2)", (8, "\ud800"), "22021"),
        ("INSERT INTO notes VALUES ($1, 'x')", (2**63,), "22003"),
        ("SELECT $1 + $2", (1,), "08P01"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_refusal_says_why_and_rolls_back(
    opened: Open, observer: Observer, sql: str, parameters: tuple[str | int | None, ...], sqlstate: str, is_first: bool
) -> None:
    """A refused statement is no trouble with the server: its session is used again."""
    observer.execute("INSERT INTO notes VALUES (7, 'x')")

    def script() -> Script[None]:
        if not is_first:
            yield from add(1)
        yield Statement(sql, parameters)

    async def main() -> None:
        async with opened() as database:
            pid = await database.transact(session)
            with pytest.raises(DatabaseError) as refused:
                await database.transact(script)
            assert (refused.value.sqlstate, type(refused.value)) == (sqlstate, DatabaseError)
            assert await database.transact(session) == pid

    trio.run(main)
    assert notes(observer) == [(7, "x")]


def test_a_commit_can_be_refused(opened: Open, observer: Observer) -> None:
    """What is checked at the end only is a refusal too: its outcome is known."""
    observer.execute("ALTER TABLE notes ADD UNIQUE (text) DEFERRABLE INITIALLY DEFERRED")

    def script() -> Script[None]:
        yield from add(1)
        yield from add(2)

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(DatabaseError) as refused:
                await database.transact(script)
            assert refused.value.sqlstate == "23505"
            await database.transact(lambda: add(3))

    trio.run(main)
    assert notes(observer) == [(3, "x")]


def test_a_lost_race_is_a_conflict(opened: Open, observer: Observer) -> None:
    """Its caller may try again, and must be able to tell."""
    observer.execute("INSERT INTO notes VALUES (1, 'before')")

    def script() -> Script[None]:
        yield Statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield Statement("SELECT text FROM notes")
        observer.execute("UPDATE notes SET text = 'theirs'")
        yield from change("ours")

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(ConflictError) as conflict:
                await database.transact(script)
            assert conflict.value.sqlstate == "40001"

    trio.run(main)
    assert notes(observer) == [(1, "theirs")]


def test_a_session_that_ends_before_the_commit_has_committed_nothing(opened: Open, observer: Observer) -> None:
    """The caller may do it again without asking."""

    def script() -> Script[None]:
        yield from add(1)
        pid = yield from session()
        assert observer.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)
        yield from add(2)

    async def main() -> None:
        async with opened() as database:
            with pytest.raises(DatabaseUnavailableError) as lost:
                await database.transact(script)
            assert type(lost.value) is DatabaseUnavailableError
            await database.transact(lambda: add(3))

    trio.run(main)
    assert notes(observer) == [(3, "x")]


async def cut_at_commit(server: PostgreSQLServer, is_forwarded: bool, client: trio.SocketStream) -> None:
    """Carry a connection until the client commits; then cut it, with the commit handed on and answered or not."""
    upstream = await trio.open_tcp_stream("127.0.0.1", server.port)

    async def answers() -> None:
        async for chunk in upstream:
            await client.send_all(chunk)

    async with client, upstream, trio.open_nursery() as nursery:
        nursery.start_soon(answers)
        async for chunk in client:
            if b"COMMIT\0" in chunk:
                nursery.cancel_scope.cancel()
                break
            await upstream.send_all(chunk)
        with trio.CancelScope(shield=True):
            if is_forwarded:
                await upstream.send_all(chunk)
                assert b"COMMIT" in await upstream.receive_some()


@pytest.mark.parametrize("is_forwarded", [True, False])
def test_a_connection_lost_after_the_commit_was_sent_leaves_the_outcome_open(
    opened: Open, server: PostgreSQLServer, observer: Observer, is_forwarded: bool
) -> None:
    """It may have happened or not, as here, and the caller must not be told either."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, partial(cut_at_commit, server, is_forwarded), 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            async with opened(port=listener.socket.getsockname()[1]) as database:
                with pytest.raises(OutcomeUnknownError):
                    await database.transact(lambda: add(1))
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert notes(observer) == ([(1, "x")] if is_forwarded else [])


def test_what_was_committed_survives_the_servers_death(opened: Open, server: PostgreSQLServer) -> None:
    """And connections that died meanwhile are not handed out."""

    async def main() -> None:
        async with opened() as database:
            await database.transact(lambda: add(1))
            server.kill()
            with pytest.raises(DatabaseUnavailableError):
                await database.transact(lambda: add(2))
            server.start()
            assert await database.transact(lambda: ask("SELECT id FROM notes")) == [(1,)]
            server.kill()
            server.start()
            assert await database.transact(lambda: ask("SELECT id FROM notes")) == [(1,)]

    trio.run(main)


def test_a_session_that_the_server_ended_while_idle_is_not_used(opened: Open, observer: Observer) -> None:
    """Otherwise a restart would cost one failed transaction for each idle connection."""

    async def main() -> None:
        async with opened() as database:
            pid = await database.transact(session)
            assert observer.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)
            await database.transact(lambda: add(1))

    trio.run(main)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_silent_server_is_given_up_in_time(opened: Open, server: PostgreSQLServer, is_connected: bool) -> None:
    """Before the commit nothing has happened, whether there was a connection or not."""

    async def main() -> None:
        async with opened(timeout_s=SHORT_S) as database:
            if is_connected:
                await database.transact(session)
            server.freeze()
            with trio.fail_after(WAIT_MAX_S), pytest.raises(DatabaseUnavailableError) as late:
                await database.transact(lambda: add(1))
            assert type(late.value) is DatabaseUnavailableError
            server.thaw()
            await until_answering(database)
            assert await database.transact(lambda: ask("SELECT id FROM notes")) == []

    trio.run(main)


def test_a_server_that_is_silent_to_the_commit_leaves_the_outcome_open(opened: Open, server: PostgreSQLServer) -> None:
    """The commit may be in its buffers and happen when it wakes."""

    def script() -> Script[None]:
        yield from add(1)
        server.freeze()

    async def main() -> None:
        async with opened(timeout_s=SHORT_S) as database:
            with trio.fail_after(WAIT_MAX_S), pytest.raises(OutcomeUnknownError):
                await database.transact(script)
            server.thaw()
            await until_answering(database)

    trio.run(main)


async def until_answering(database: Database) -> None:
    """Wait for a server that has just woken up."""
    with trio.fail_after(WAIT_MAX_S):
        while True:
            with suppress(DatabaseUnavailableError):
                await database.transact(session)
                return


def test_a_cancelled_transaction_ends_at_once_and_holds_nothing(opened: Open, observer: Observer) -> None:
    """A user who leaves must not leave locks behind."""
    observer.execute("INSERT INTO notes VALUES (1, 'before'), (2, 'before')")

    def script() -> Script[None]:
        yield from change("ours", where=2)
        yield from change("ours", where=1)

    async def main() -> None:
        async with opened() as database:
            with observer.transaction():
                observer.execute("UPDATE notes SET text = 'theirs' WHERE id = 1")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(database.transact, script)
                    await until(lambda: one(observer, WAITING) == 1)
                    nursery.cancel_scope.cancel()
            await until(lambda: one(observer, SESSIONS) == 0)

    trio.run(main)
    assert notes(observer) == [(1, "theirs"), (2, "before")]


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_psycopg_frees_the_server_while_the_lock_is_still_held(
    server: PostgreSQLServer, observer: Observer, is_cancelled: bool
) -> None:
    """Its waiting statement is cancelled there, so that what it had locked is free for others."""
    observer.execute("INSERT INTO notes VALUES (1, 'before')")

    async def main() -> None:
        timeout_s = WAIT_MAX_S if is_cancelled else SHORT_S
        async with PsycopgDatabase.opened(host="127.0.0.1", port=server.port, timeout_s=timeout_s) as database:
            with observer.transaction(), trio.fail_after(WAIT_MAX_S):
                observer.execute("UPDATE notes SET text = 'theirs'")
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(cancel_when_waiting, observer, scope if is_cancelled else None)
                        with suppress(DatabaseUnavailableError):
                            await database.transact(lambda: change("ours"))
                assert scope.cancelled_caught == is_cancelled
                await until(lambda: one(observer, WAITING) == 0)

    trio.run(main)


async def cancel_when_waiting(observer: Observer, scope: trio.CancelScope | None) -> None:
    await until(lambda: one(observer, WAITING) == 1)
    if scope is not None:
        scope.cancel()


def test_a_cancellation_at_any_moment_leaves_the_database_usable(opened: Open, observer: Observer) -> None:
    """Whatever it cuts off: what was told to be committed is, and no answer is taken for that of another."""
    told: list[tuple[int, str]] = []

    async def main() -> None:
        async with opened(connections_max=2) as database:
            for number in range(200):
                with trio.move_on_after(number * 0.00003):
                    await database.transact(lambda number=number: add(number, str(number)))  # type: ignore[misc]
                    told.append((number, str(number)))
            await database.transact(lambda: add(200, "200"))
        await until(lambda: one(observer, SESSIONS) == 0)

    trio.run(main)
    kept = notes(observer)
    assert kept == [(number, str(number)) for number, _ in kept]
    assert {*told, (200, "200")} <= set(kept)


def test_a_transaction_that_waits_for_a_lock_is_given_up_in_time(opened: Open, observer: Observer) -> None:
    """Nothing was committed, and nothing will be when the lock is free."""
    observer.execute("INSERT INTO notes VALUES (1, 'before')")

    async def main() -> None:
        async with opened(timeout_s=SHORT_S) as database:
            with observer.transaction():
                observer.execute("UPDATE notes SET text = 'theirs'")
                with pytest.raises(DatabaseUnavailableError) as late:
                    await database.transact(lambda: change("ours"))
            assert type(late.value) is DatabaseUnavailableError
            await until(lambda: one(observer, SESSIONS) == 0)

    trio.run(main)
    assert notes(observer) == [(1, "theirs")]


def test_the_pool_is_bounded_and_uses_its_sessions_again(opened: Open, observer: Observer) -> None:
    """Transactions beyond it wait, rather than fail or add a connection each."""
    pids: list[int] = []

    async def main() -> None:
        async with opened(connections_max=3) as database, trio.open_nursery() as nursery:

            async def work() -> None:
                pids.extend([await database.transact(session) for _ in range(5)])

            for _ in range(12):
                nursery.start_soon(work)

    trio.run(main)
    assert len(pids) == 60
    assert len(set(pids)) <= 3


def test_waiting_for_a_session_counts_as_time_of_the_transaction(opened: Open, observer: Observer) -> None:
    """A full pool must not hide that the database is slow."""
    observer.execute("INSERT INTO notes VALUES (1, 'before')")

    async def main() -> None:
        async with opened(timeout_s=SHORT_S, connections_max=1) as database, trio.open_nursery() as nursery:

            async def work() -> None:
                with pytest.raises(DatabaseUnavailableError):
                    await database.transact(lambda: change("ours"))

            with observer.transaction():
                observer.execute("UPDATE notes SET text = 'theirs'")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(work)
                    nursery.start_soon(work)

    trio.run(main)


def test_no_server_is_unavailable(opened: Open) -> None:
    """Refused is as certain as it gets."""

    async def main() -> None:
        async with opened(port=free_port()) as database:
            with pytest.raises(DatabaseUnavailableError) as refused:
                await database.transact(session)
            assert type(refused.value) is DatabaseUnavailableError

    trio.run(main)


def test_a_server_with_too_many_sessions_is_unavailable(opened: Open, observer: Observer) -> None:
    """It may have room in a moment."""
    observer.execute("DROP ROLE IF EXISTS crowded")
    observer.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")

    async def main() -> None:
        async with opened(user="crowded") as database:
            with pytest.raises(DatabaseUnavailableError, match="too many connections"):
                await database.transact(session)

    trio.run(main)


def test_a_server_that_wants_a_password_is_refused_clearly() -> None:
    """This driver knows none; what to do must be said."""

    async def wants_password(client: trio.SocketStream) -> None:
        await client.receive_some()
        await client.send_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, wants_password, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            async with WireDatabase.opened(host="127.0.0.1", port=port) as database:
                with pytest.raises(DatabaseUnavailableError, match="does not trust us"):
                    await database.transact(session)
            nursery.cancel_scope.cancel()

    trio.run(main)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.tuples(
    texts | st.none(),
    st.integers(-(2**63), 2**63 - 1) | st.none(),
    st.booleans() | st.none(),
    st.floats(allow_nan=False) | st.none(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, min_size=1, max_size=20))
def test_values_come_back_as_they_were(
    opened: Open, values: list[tuple[str | None, int | None, bool | None, float | None]]
) -> None:
    """Any text, negative and big numbers, infinities, and nothing at all."""

    def script() -> Script[None]:
        yield Statement("CREATE TEMPORARY TABLE kept (n int, t text, i bigint, b boolean, f float8) ON COMMIT DROP")
        for number, row in enumerate(values):
            yield Statement("INSERT INTO kept VALUES ($1, $2, $3, $4, $5)", (number, *row))
        rows = yield Statement("SELECT t, i, b, f FROM kept ORDER BY n")
        assert [tuple(map(repr, row)) for row in rows] == [tuple(map(repr, row)) for row in values]
        parts = yield Statement("SELECT $1::text, $2::int8, $3::bool, $4::float8", values[0])
        assert [tuple(map(repr, row)) for row in parts] == [tuple(map(repr, values[0]))]

    async def main() -> None:
        async with opened() as database:
            await database.transact(script)

    trio.run(main)


def test_untyped_values_have_the_same_types_in_both_drivers(opened: Open) -> None:
    """What SQL makes of a parameter must not depend on the driver, nor on how large the number is."""

    async def main() -> None:
        async with opened() as database:
            types = "SELECT pg_typeof($1)::text, pg_typeof($2)::text, pg_typeof($3)::text"
            assert await database.transact(lambda: ask(types, 1, True, 1.5)) == [
                ("bigint", "boolean", "double precision")
            ]
            assert await database.transact(lambda: ask("SELECT $1 + $2", 30_000, 30_000)) == [(60_000,)]
            small = "SELECT 1::smallint, 2::integer, 'NaN'::float8::text"
            assert await database.transact(lambda: ask(small)) == [(1, 2, "NaN")]

    trio.run(main)


def test_a_column_of_an_unknown_type_is_an_error_of_the_caller(opened: Open) -> None:
    """Both drivers read the same types; what one of them happens to know besides must not get used."""

    async def main() -> None:
        async with opened() as database:
            pid = await database.transact(session)
            with pytest.raises(TypeError, match="column price is unknown"):
                await database.transact(lambda: ask("SELECT 1.5 AS price"))
            assert await database.transact(session) == pid

    trio.run(main)


def test_a_large_answer_arrives_whole(opened: Open) -> None:
    """It comes in many pieces, which end anywhere."""

    async def main() -> None:
        async with opened() as database:
            rows = await database.transact(lambda: ask("SELECT repeat('x', n) FROM generate_series(1, 2000) AS n"))
            assert [len(str(text)) for (text,) in rows] == list(range(1, 2001))

    trio.run(main)
