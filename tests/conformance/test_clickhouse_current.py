"""The simulated ClickHouse of the current release is held to the engine in chdb: the same requests, the same answers.

Compared are the status, the Content-Type and the body of a success, byte for byte; of an error the status, the code
in its header, and the name in its body: the texts of errors change from release to release.
"""

import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import EnvironmentFailedError
from simulator.live.chdb import ChdbServer
from simulator.services.clickhouse import Release, SimulatedClickHouse
from simulator.services.clickhouse.engine import Engine
from simulator.services.clickhouse.request import answer
from simulator.services.http import Request
from tests.conformance.clickhouse_cases import CASES, REMEMBERS, SMALL, Ask, Case
from tests.conformance.clickhouse_cases_current import CASES_OF_CURRENT, REFUSALS_OF_CURRENT
from tests.conformance.clickhouse_cases_odd import ODD, ODD_REFUSALS_OF_CURRENT
from tests.conformance.test_clickhouse import (
    BOUNDED,
    COLUMNS,
    CUT_ROWS,
    CUT_TABLE,
    TABLE,
    client,
    count,
    selects,
    send,
    simulate,
)

Reply = tuple[int, str, str]
ERROR_NAME = re.compile(r"\(([A-Z_]+)\) \(version [0-9.]+ \(official build\)\)\n\Z")
INSERT = "INSERT INTO s FORMAT JSONEachRow"
ROW = b'{"k":"a"}'


@pytest.fixture(scope="module")
def chdb() -> Iterator[ChdbServer]:
    with ChdbServer() as server:
        yield server


@pytest.fixture
def session(chdb: ChdbServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=chdb.url, verify=False) as client:
        yield client


def reply(status: int, code: str, content_type: str, body: str) -> Reply:
    if status < 400:
        return status, content_type, body
    named = ERROR_NAME.search(body)
    return status, code, named[1] if named else body


async def ask(session: httpx.AsyncClient, request: Ask) -> Reply:
    response, body = await send(session, request)
    code = response.headers.get("x-clickhouse-exception-code", "")
    return reply(response.status_code, code, response.headers["content-type"] if request.path == "/" else "", body)


async def until_refused(url: str, case: Case, most: int) -> list[Reply]:
    """Return the replies to a case up to the first that is no answer of ClickHouse, or to as many as `most`."""
    replies: list[Reply] = []
    async with client(url) as session:
        for table in (await ask(session, Ask("SHOW TABLES")))[2].split():
            await ask(session, Ask(f"DROP TABLE {table}"))
        for request in case.asks[:most]:
            replies.append(await ask(session, request))
            if replies[-1][0] == 501:
                return replies[:-1]
    return replies


@pytest.mark.parametrize("case", CASES + ODD + CASES_OF_CURRENT, ids=lambda case: case.name)
def test_both_answer_alike(case: Case, chdb: ChdbServer) -> None:
    """A platform that moves to a current server must not find another one than it was tested with."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        simulated = await until_refused(url, case, len(case.asks))
        assert simulated == await until_refused(chdb.url, case, len(simulated))
        assert (len(simulated) < len(case.asks)) is (case.name in REFUSALS_OF_CURRENT)
        if case in CASES_OF_CURRENT and case.ends is not None:
            assert simulated[-1][2] == case.ends

    simulate(talk, release=Release.CURRENT)


def execute(engine: Engine, statement: str, data: str = "") -> Reply:
    text = f"{statement}\n{data}" if data else statement
    response = answer(Request("POST", "/", {"content-length": "1"}, text.encode()), engine)
    return reply(response.status, dict(response.headers).get("X-ClickHouse-Exception-Code", ""), "", response.body)


def execute_real(session: httpx.Client, statement: str, data: str = "") -> Reply:
    response = session.post("/", content=(f"{statement}\n{data}" if data else statement).encode())
    return reply(response.status_code, response.headers.get("x-clickhouse-exception-code", ""), "", response.text)


@pytest.mark.parametrize("row", ODD_REFUSALS_OF_CURRENT, ids=lambda text: text[:20])
def test_rows_that_are_not_modelled_are_refused(row: str) -> None:
    """Today's server takes numbers in more ways than JSON has."""
    engine = Engine(Release.CURRENT)
    execute(engine, "CREATE TABLE c (g Float64, h DateTime) ENGINE = MergeTree ORDER BY h")
    assert execute(engine, "INSERT INTO c FORMAT JSONEachRow", row)[0] == 501
    assert execute(engine, "SELECT count() FROM c")[2] == "0\n"


def test_json_cut_anywhere_fails_alike(session: httpx.Client) -> None:
    """A body that ends too soon must fail with the same code, or succeed with the same rows."""
    engine = Engine(Release.CURRENT)
    for statement in ("DROP TABLE IF EXISTS c", CUT_TABLE):
        assert execute(engine, statement) == execute_real(session, statement)
    refused = 0
    data = CUT_ROWS.replace(" , ", "").replace(" ; ", "")
    for end in range(len(data)):
        simulated = execute(engine, "INSERT INTO c FORMAT JSONEachRow", data[:end])
        if simulated[0] == 501:
            refused += 1
            continue
        assert simulated == execute_real(session, "INSERT INTO c FORMAT JSONEachRow", data[:end]), data[:end]
    rows = "SELECT count(), max(k), max(n), max(h) FROM c"
    assert execute(engine, rows) == execute_real(session, rows)
    assert refused <= 30  # inside an escape or a date


@BOUNDED
@given(at=st.integers(0, len(CUT_ROWS) - 1), character=st.sampled_from('"{}:,;\\x0-+ \n'), keep=st.booleans())
def test_json_with_a_wrong_character_fails_alike(at: int, character: str, keep: bool, session: httpx.Client) -> None:
    """Bad JSON has the right code and inserts nothing; what is accepted is accepted with the same values."""
    engine = Engine(Release.CURRENT)
    data = CUT_ROWS[:at] + character + CUT_ROWS[at + (not keep) :]
    data = data.replace(" , ", "").replace(" ; ", "")
    for statement in ("DROP TABLE IF EXISTS c", CUT_TABLE):
        execute(engine, statement)
        execute_real(session, statement)
    simulated = execute(engine, "INSERT INTO c FORMAT JSONEachRow", data)
    if simulated[0] != 501:
        assert simulated == execute_real(session, "INSERT INTO c FORMAT JSONEachRow", data)
        rows = "SELECT * FROM c ORDER BY k, n, h FORMAT JSONEachRow"
        assert execute(engine, rows) == execute_real(session, rows)


@BOUNDED
@given(data=st.data())
def test_random_rows_and_selects_agree(data: st.DataObject, session: httpx.Client) -> None:
    """Cases are what we thought of; this is the rest. Merges come when they like: several blocks need FINAL."""
    engine = Engine(Release.CURRENT)
    rows = st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=8)
    blocks = data.draw(st.lists(rows, min_size=1, max_size=3))
    final = len(blocks) > 1 or data.draw(st.booleans())
    steps = [("DROP TABLE IF EXISTS d", ""), (TABLE, "")]
    for block in blocks:
        text = "\n".join(httpx.Response(200, json=row).text for row in block)
        steps.append(("INSERT INTO d FORMAT JSONEachRow", text))
    for step in steps:
        assert execute(engine, *step) == execute_real(session, *step) == (200, "", "")
    for statement, ordered in data.draw(st.lists(selects(final), min_size=3, max_size=6)):
        simulated, actual = execute(engine, statement), execute_real(session, statement)
        assert simulated[:2] == actual[:2], (statement, simulated, actual)
        lines, real_lines = simulated[2].splitlines(), actual[2].splitlines()
        assert (lines == real_lines) if ordered else (sorted(lines) == sorted(real_lines)), statement


# Crashes


async def insert(url: str, **settings: str | int) -> httpx.Response:
    async with client(url) as session:
        return await session.post("/", params={"query": INSERT, **settings}, content=ROW)


async def create(url: str, table: str) -> None:
    async with client(url) as session:
        await session.post("/", content="DROP TABLE IF EXISTS s")
        assert (await session.post("/", content=table)).status_code == 200


def test_a_crash_of_the_real_engine_keeps_rows_and_tokens(chdb: ChdbServer) -> None:
    """Exactly-once by token is worth something only if a retry after a crash is still recognised."""

    async def main() -> None:
        await create(chdb.url, REMEMBERS)
        assert (await insert(chdb.url, insert_deduplication_token="a")).status_code == 200
        chdb.kill()
        await trio.to_thread.run_sync(chdb.start)
        assert await count(chdb.url) == 1
        assert (await insert(chdb.url, insert_deduplication_token="a")).status_code == 200
        assert await count(chdb.url) == 1

    trio.run(main)


def crash_and_restart(prepare: Callable[[str], Awaitable[None]], check: Callable[[str], Awaitable[None]]) -> None:
    """Run `prepare` with a simulated server, and `check` with the same one after a crash."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1", release=Release.CURRENT)
        for number, talk in enumerate((prepare, check)):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.main)
                await talk(f"http://127.0.0.1:{server.port}")
                if number == 0:
                    server.crash()
                nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_a_crash_of_the_simulated_server_keeps_rows_and_tokens() -> None:
    """As the real engine does above."""

    async def prepare(url: str) -> None:
        await create(url, REMEMBERS)
        assert (await insert(url, insert_deduplication_token="a")).status_code == 200

    async def check(url: str) -> None:
        assert await count(url) == 1
        assert (await insert(url, insert_deduplication_token="a")).status_code == 200
        assert await count(url) == 1

    crash_and_restart(prepare, check)


# Asynchronous inserts


def asynchronously(talk: Callable[[SimulatedClickHouse, str], Awaitable[None]], table: str = SMALL) -> None:
    """Run `talk` with a simulated server in virtual time, with one empty table s."""

    async def main(server: SimulatedClickHouse, url: str) -> None:
        await create(url, table)
        await talk(server, url)

    simulate(main, release=Release.CURRENT, clock=trio.testing.MockClock(autojump_threshold=0.01))


FORGET = {"async_insert": 1, "wait_for_async_insert": 0}
WAIT = {"async_insert": 1, "wait_for_async_insert": 1}


@pytest.mark.parametrize("settings", [FORGET, WAIT])
def test_the_embedded_engine_inserts_at_once(settings: dict[str, int], chdb: ChdbServer) -> None:
    """It has no queue; the day it gets one, the simulated queue can be held to it."""

    async def main() -> None:
        await create(chdb.url, SMALL)
        assert (await insert(chdb.url, **settings, async_insert_busy_timeout_ms=60_000)).status_code == 200
        assert await count(chdb.url) == 1

    trio.run(main)


def test_an_insert_that_waits_is_acknowledged_with_the_flush() -> None:
    """Then the acknowledgement means what it always did."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        before_s = trio.current_time()
        assert (await insert(url, **WAIT, async_insert_busy_timeout_ms=4000)).status_code == 200
        assert trio.current_time() >= before_s + 4
        assert await count(url) == 1

    asynchronously(talk)


def test_an_insert_that_does_not_wait_is_visible_after_the_flush() -> None:
    """A platform that reads what it has just written finds nothing, for a while."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        assert (await insert(url, **FORGET, async_insert_busy_timeout_ms=4000)).status_code == 200
        assert await count(url) == 0
        await trio.sleep(4)
        assert await count(url) == 1

    asynchronously(talk)


def test_a_crash_before_the_flush_loses_what_was_acknowledged() -> None:
    """This is the price of not waiting, and why an exactly-once pipeline waits."""

    async def prepare(url: str) -> None:
        await create(url, SMALL)
        assert (await insert(url)).status_code == 200
        assert (await insert(url, **FORGET)).status_code == 200

    async def check(url: str) -> None:
        await trio.sleep(60)
        assert await count(url) == 1

    crash_and_restart(prepare, check)


def test_an_orderly_stop_flushes_first() -> None:
    """So the server's documentation says, of async_insert_queue_flush_on_shutdown: it is not run here."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1", release=Release.CURRENT)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            await create(f"http://127.0.0.1:{server.port}", SMALL)
            assert (await insert(f"http://127.0.0.1:{server.port}", **FORGET)).status_code == 200
            nursery.cancel_scope.cancel()
        assert execute(server._engine, "SELECT count() FROM s")[2] == "1\n"

    trio.run(main)


def test_nothing_is_flushed_after_the_instant_of_a_crash() -> None:
    """The tasks of a crashed process are cancelled a little later; what they still do must not reach the disk."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        assert (await insert(url, **FORGET, async_insert_busy_timeout_ms=4000)).status_code == 200
        server.crash()
        await trio.sleep(60)
        assert execute(server._engine, "SELECT count() FROM s")[2] == "0\n"

    asynchronously(talk)


def test_inserts_of_the_same_time_are_flushed_together() -> None:
    """The second waits only for the rest of the first one's time."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: insert(url, **WAIT, async_insert_busy_timeout_ms=4000))
            await trio.sleep(3)
            assert (await insert(url, **WAIT, async_insert_busy_timeout_ms=4000)).status_code == 200
            assert trio.current_time() < began_s + 5
        assert await count(url) == 2

    asynchronously(talk)


def test_rows_that_cannot_be_read_spoil_only_their_own_insert() -> None:
    """And who does not wait never learns of it."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        replies = []

        async def post(content: bytes, settings: dict[str, int]) -> None:
            async with client(url) as session:
                response = await session.post("/", params={"query": INSERT, **settings}, content=content)
            replies.append((response.status_code, response.headers.get("x-clickhouse-exception-code")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, b"nonsense", WAIT)
            nursery.start_soon(post, ROW, WAIT)
            nursery.start_soon(post, b"nonsense", FORGET)
        assert sorted(replies, key=str) == [(200, None), (200, None), (400, "27")]
        assert await count(url) == 1

    asynchronously(talk)


def test_a_table_that_is_not_there_is_noticed_at_once() -> None:
    """The rows are looked at later, the table is not."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        async with client(url) as session:
            await session.post("/", content="DROP TABLE s")
        assert (await insert(url, **FORGET)).status_code == 404

    asynchronously(talk)


def test_a_flush_that_fails_is_told_to_who_waits_only() -> None:
    """Too many parts, or a table dropped since: the acknowledgement of the others was worth nothing."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        server.too_many_parts(True)
        assert (await insert(url, **FORGET)).status_code == 200
        waited = await insert(url, **WAIT)
        assert (waited.status_code, waited.headers["x-clickhouse-exception-code"]) == (500, "252")
        server.too_many_parts(False)
        assert await count(url) == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(create_again, url)
            assert (await insert(url, **WAIT, async_insert_busy_timeout_ms=4000)).status_code == 404
        assert await count(url) == 0

    async def create_again(url: str) -> None:
        await trio.sleep(2)
        await create(url, SMALL)

    asynchronously(talk)


def test_asynchronous_inserts_with_deduplication_are_refused() -> None:
    """How the two work together has changed from release to release."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        assert (await insert(url, **WAIT)).status_code == 501

    asynchronously(talk, REMEMBERS)


def test_settings_that_would_be_ignored_are_refused() -> None:
    """A setting that was silently ignored would make the simulation lie about what it changes."""
    durations = [f"async_insert_busy_timeout_ms={value}" for value in ("-1", "9" * 400, "%D9%A3")]
    for setting in ("max_threads=1", "async_insert=2", "wait_for_async_insert=yes", *durations):
        assert answer(Request("GET", f"/?query=SELECT+1&{setting}", {}, b""), Engine(Release.CURRENT)).status == 501


# The front of the real engine


def test_several_statements_in_one_request_are_an_error(session: httpx.Client) -> None:
    """The embedded engine would execute them all; a server does none."""
    assert execute_real(session, "SELECT 1; SELECT 2")[:2] == (400, "62")
    assert execute_real(session, "SELECT ';' ;")[2] == ";\n"


def test_settings_end_with_their_request(session: httpx.Client) -> None:
    """Sessions would leak into one another otherwise."""
    threads = "SELECT getSetting('max_threads')"
    before = session.post("/", content=threads).text
    assert session.post("/", params={"max_threads": "7"}, content=threads).text == "7\n" != before
    assert session.post("/", content=threads).text == before


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is large, so it is not a dependency of everybody."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    server = ChdbServer()
    with pytest.raises(EnvironmentFailedError, match=r"pip install wavetank\[chdb\]"):
        server.start()
    server.close()
