"""The simulated PostgreSQL on its own: what a crash, a stop and each of its troubles do, and how it serves who waits.

A real server cannot be brought into these at a chosen instant.
"""

import os
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
import trio.testing

from simulator.services.postgresql import SimulatedPostgreSQL
from simulator.services.postgresql.statement import Isolation
from tests.conformance.postgresql_client import Client, query, rows_of
from tests.conformance.test_postgresql import simulate

# Crashes and stops


def test_nothing_is_committed_after_the_instant_of_a_crash() -> None:
    """The tasks of a crashed process are cancelled a little later; what they still do must not reach the disk."""

    async def main(server: SimulatedPostgreSQL) -> None:
        async with await Client.connect(server.port) as client:
            await client.ask("CREATE TABLE t (k text)")
            await client.ask("BEGIN")
            await client.ask("INSERT INTO t VALUES ('late')")
            with socket.socket(fileno=os.dup(client.stream.socket.fileno())) as plain:
                plain.sendall(query("COMMIT"))  # no checkpoint: the server cannot run in between
            server.crash()
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await client.read()
        assert not committed(server)

    simulate(main)


def committed(server: SimulatedPostgreSQL) -> list[object]:
    """Return the rows of t on the disk."""
    table = server._database.find("t", None)
    assert table is not None
    transaction = server._database.begin(0, Isolation.READ_COMMITTED)
    server._database.begin_statement(transaction)
    rows = [version.values for version in table.heap.visible(table.heap.rows, transaction)]
    server._database.abort(transaction)
    return list(rows)


def test_a_stop_without_a_crash_rolls_back_what_is_open() -> None:
    """An orderly stop, too, knows nothing of clients' intentions."""

    async def main() -> None:
        server = SimulatedPostgreSQL(port=0, host="127.0.0.1")
        for expected in ([], [("kept",)]):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.main)
                async with await Client.connect(server.port) as client:
                    await client.ask("CREATE TABLE IF NOT EXISTS t (k text)")
                    assert await client.rows("SELECT * FROM t") == expected
                    await client.ask("INSERT INTO t VALUES ('kept')")
                    await client.ask("BEGIN")
                    await client.ask("DELETE FROM t")
                    nursery.cancel_scope.cancel()

    trio.run(main)


# Troubles


COMMITS = {
    "of a block": ("BEGIN", "INSERT INTO t VALUES ('p')", "COMMIT"),
    "of a statement": ("INSERT INTO t VALUES ('p')",),
    "of several statements": ("INSERT INTO t VALUES ('p'); SELECT 1",),
}


@pytest.mark.parametrize("statements", COMMITS.values(), ids=COMMITS)
@pytest.mark.parametrize("survives", [False, True])
def test_a_commit_whose_answer_never_comes_may_have_happened(statements: Sequence[str], survives: bool) -> None:
    """The client sees the same in both cases: a connection that ends."""

    async def main(server: SimulatedPostgreSQL) -> None:
        await prepare(server)
        begin = partial(server.lose_commit_answers if survives else server.lose_commits, True)
        end = partial(server.lose_commit_answers if survives else server.lose_commits, False)
        async with await Client.connect(server.port) as client:
            for statement in statements[:-1]:
                await client.ask(statement)
            begin()
            assert await client.rows("SELECT 1") == [("1",)]
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await client.ask(statements[-1])
            end()
        assert committed(server) == ([("p",)] if survives else [])
        async with await Client.connect(server.port) as client:
            await client.ask("INSERT INTO t VALUES ('q')")
            assert await client.rows("SELECT * FROM t") == ([("p",)] if survives else []) + [("q",)]

    simulate(main)


async def prepare(server: SimulatedPostgreSQL) -> None:
    async with await Client.connect(server.port) as client:
        await client.ask("CREATE TABLE t (k text PRIMARY KEY)")


def test_what_asks_for_no_commit_is_not_troubled() -> None:
    """Reads outside of a block, rollbacks and failed statements have nothing to lose."""

    async def main(server: SimulatedPostgreSQL) -> None:
        await prepare(server)
        server.lose_commits(True)
        async with await Client.connect(server.port) as client:
            for statement in (
                "SELECT * FROM t",
                "SELECT * FROM t FOR UPDATE",
                "FOO",
                "BEGIN",
                "DELETE FROM t",
                "ROLLBACK",
            ):
                assert (await client.ask(statement))[-1][0] == "Z"

    simulate(main)


@pytest.mark.parametrize("statements", COMMITS.values(), ids=COMMITS)
def test_a_slow_commit_takes_effect_a_second_later(statements: Sequence[str]) -> None:
    """Until then nobody sees it, and a crash undoes it."""

    async def main() -> None:
        server = SimulatedPostgreSQL(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            await prepare(server)
            async with await Client.connect(server.port) as client, await Client.connect(server.port) as reader:
                for statement in statements[:-1]:
                    await client.ask(statement)
                server.slow_commits(True)
                began_at_s = trio.current_time()
                await client.begin(query(statements[-1]), nursery)
                assert await reader.rows("SELECT * FROM t") == []
                await client.answered.wait()
                assert trio.current_time() >= began_at_s + 1
                assert committed(server) == [("p",)]
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))


def test_connections_are_refused_as_when_there_are_too_many() -> None:
    """Those that are there go on."""

    async def main(server: SimulatedPostgreSQL) -> None:
        async with await Client.connect(server.port) as client:
            server.refuse_connections(True)
            async with await Client.connect(server.port) as refused:
                assert refused.greeting[0][3:5] == (("C", "53300"), ("M", "sorry, too many clients already"))
            assert await client.rows("SELECT 1") == [("1",)]
            server.refuse_connections(False)
            async with await Client.connect(server.port) as another:
                assert await another.rows("SELECT 1") == [("1",)]

    simulate(main)


# Waits


def test_waits_are_served_first_come_first_served() -> None:
    """In whatever order the tasks of those who wait come to run."""

    async def main(server: SimulatedPostgreSQL) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(await Client.connect(server.port)) for _ in range(8)]
            await clients[0].ask("CREATE TABLE t (k text PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY)")
            async with trio.open_nursery() as nursery:
                await clients[0].ask("BEGIN")
                await clients[0].ask("INSERT INTO t VALUES ('x')")
                for number, client in enumerate(clients[1:]):
                    await client.begin(
                        query(f"INSERT INTO t VALUES ('x') ON CONFLICT DO NOTHING RETURNING {number}"), nursery
                    )
                    while server.blocker(client.process_id) is None:
                        await trio.lowlevel.checkpoint()
                await clients[0].ask("ROLLBACK")
            assert [rows_of(client.reply or []) for client in clients[1:]] == [[("0",)], *[[]] * 6]

    simulate(main)


def test_a_world_of_waits_leaves_nothing_behind() -> None:
    """Old versions and index entries go when nobody can see them: a long run must not slow down."""

    async def main(server: SimulatedPostgreSQL) -> None:
        async with AsyncExitStack() as stack:
            one, other = [await stack.enter_async_context(await Client.connect(server.port)) for _ in range(2)]
            await one.ask("CREATE TABLE t (k text PRIMARY KEY, n integer, UNIQUE (n, k))")
            for number in range(20):
                await other.ask("BEGIN ISOLATION LEVEL REPEATABLE READ" if number % 2 else "COMMIT")
                await other.ask("SELECT * FROM t")
                await one.ask(f"INSERT INTO t VALUES ('x', {number}) ON CONFLICT (k) DO UPDATE SET n = excluded.n")
                await one.ask(f"INSERT INTO t VALUES ('y', {number})")
                await one.ask("BEGIN")
                await one.ask("UPDATE t SET k = 'z', n = 100 WHERE k = 'y'")
                await one.ask("ROLLBACK" if number % 3 else "COMMIT")
                await one.ask("DELETE FROM t WHERE n = 100")
                await one.ask("DELETE FROM t WHERE k = 'y'")
            await other.ask("COMMIT")
            await one.ask("UPDATE t SET n = 0")
            heap = server._database.find("t", None).heap  # type: ignore[union-attr]
            assert [len(row.versions) for row in heap.rows] == [1]
            assert heap._lookups
            assert {len(each._rows) for each in (*heap.indexes, *heap._lookups.values())} == {1}

    simulate(main)
