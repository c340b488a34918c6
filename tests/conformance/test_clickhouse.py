"""The simulated ClickHouse is held to the real one: the same requests, the same answers.

Compared are the status, the Content-Type and the body, byte for byte; only the lines of a result whose order the
statement leaves open are sorted. The server's own Date, Keep-Alive and display name headers are left out.
"""

import datetime
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.live.clickhouse import ClickHouseServer
from simulator.services.clickhouse import Release, SimulatedClickHouse
from simulator.services.clickhouse.engine import Engine
from simulator.services.clickhouse.request import answer
from simulator.services.clickhouse.types import TYPES
from simulator.services.http import Request
from tests.conformance.clickhouse_cases import CASES, REFUSALS, SMALL, Ask, Case
from tests.conformance.clickhouse_cases_odd import ODD, ODD_REFUSALS, TARGETS_REFUSED

Reply = tuple[int, str, str]
BOUNDED = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def real() -> Iterator[ClickHouseServer]:
    with ClickHouseServer() as server:
        yield server


@pytest.fixture
def session(real: ClickHouseServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real.url, verify=False) as client:
        yield client


def simulate(
    talk: Callable[[SimulatedClickHouse, str], Awaitable[None]],
    *,
    release: Release = Release.V18_16,
    clock: trio.abc.Clock | None = None,
) -> None:
    """Run `talk` with a simulated server on a loopback socket."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1", release=release)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            await talk(server, f"http://127.0.0.1:{server.port}")
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, verify=False)


async def send(session: httpx.AsyncClient, request: Ask) -> tuple[httpx.Response, str]:
    """Return the response and its body, with the lines sorted where the statement leaves their order open."""
    parameters = dict(request.settings)
    parameters |= {"database": request.database} if request.database else {}
    in_url = request.get or request.data is not None
    parameters |= {"query": request.query} if in_url and request.query else {}
    content = (request.data or b"") if in_url else request.query.encode()
    method = "GET" if request.get else "POST"
    response = await session.request(method, request.path, params=parameters, content=None if request.get else content)
    body = "".join(sorted(response.text.splitlines(keepends=True))) if request.unordered else response.text
    return response, body


async def ask(session: httpx.AsyncClient, request: Ask) -> Reply:
    response, body = await send(session, request)
    return response.status_code, response.headers.get("content-type", "") if request.path == "/" else "", body


async def replies(url: str, case: Case) -> list[Reply]:
    async with client(url) as session:
        _, _, tables = await ask(session, Ask("SHOW TABLES"))
        for table in tables.split():
            await ask(session, Ask(f"DROP TABLE {table}"))
        return [await ask(session, request) for request in case.asks]


@pytest.mark.parametrize("case", CASES + ODD, ids=lambda case: case.name)
def test_both_answer_alike(case: Case, real: ClickHouseServer) -> None:
    """The simulation is only worth as much as its likeness to the server it stands for."""

    async def talk(_: SimulatedClickHouse, url: str) -> None:
        real_replies = await replies(real.url, case)
        assert await replies(url, case) == real_replies
        if case.ends is not None:
            assert real_replies[-1][2] == case.ends

    simulate(talk)


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("statement", REFUSALS + ODD_REFUSALS, ids=lambda text: text[:40])
def test_what_is_not_modelled_is_refused(statement: str, release: Release) -> None:
    """One wrong answer is worse than a missing statement."""
    engine = Engine(release)
    execute(engine, SMALL)
    status, _, body = execute(engine, statement)
    assert status == 501
    assert body.startswith("wavetank: the simulated ClickHouse does not model: ")
    assert statement[:20] in body
    assert execute(engine, "SELECT count() FROM s")[2] == "0\n"


def test_settings_and_credentials_are_refused() -> None:
    """A setting that was silently ignored would make the simulation lie about what it changes."""
    for target in ("/?query=SELECT+1&max_threads=1", "/?query=SELECT+1&user=bob", "/?query=SELECT+1&password=x"):
        assert answer(Request("GET", target, {}, b""), Engine()).status == 501
    assert answer(Request("GET", "/?query=SELECT+1", {"authorization": "Basic x"}, b""), Engine()).status == 501
    assert answer(Request("GET", "/?query=SELECT+1&user=default&password=", {}, b""), Engine()).body == "1\n"


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("target", TARGETS_REFUSED, ids=lambda text: text[:40])
def test_odd_targets_are_refused(target: str, release: Release) -> None:
    """The real server makes something of each; a client that sends one has a defect."""
    assert answer(Request("POST", target, {"content-length": "0"}, b""), Engine(release)).status == 501


def execute(engine: Engine, statement: str, data: str = "") -> Reply:
    text = f"{statement}\n{data}" if data else statement
    reply = answer(Request("POST", "/", {"content-length": "1"}, text.encode()), engine)
    return reply.status, reply.content_type, reply.body


def execute_real(session: httpx.Client, statement: str, data: str = "") -> Reply:
    text = f"{statement}\n{data}" if data else statement
    response = session.post("/", content=text.encode())
    return response.status_code, response.headers["content-type"], response.text


CUT_TABLE = "CREATE TABLE c (k String, n UInt64, g Float64, h DateTime, a UInt8) ENGINE = MergeTree ORDER BY k"
CUT_ROWS = (
    '{"k":"a\\n\\u00e9","n":12,"h":1700000000}\n , '
    '{"k" : "b" , "a":true,"n":null,"g":1.25,"h":"2024-01-02 03:04:05"} ; '
)


def test_json_cut_anywhere_fails_alike(session: httpx.Client) -> None:
    """A body that ends too soon must fail with the same code, or succeed with the same rows."""
    engine = Engine()
    for statement in ("DROP TABLE IF EXISTS c", CUT_TABLE):
        assert execute(engine, statement) == execute_real(session, statement)
    refused = 0
    for end in range(len(CUT_ROWS)):
        simulated = execute(engine, "INSERT INTO c FORMAT JSONEachRow", CUT_ROWS[:end])
        if simulated[0] == 501:
            refused += 1
            continue
        assert simulated == execute_real(session, "INSERT INTO c FORMAT JSONEachRow", CUT_ROWS[:end]), CUT_ROWS[:end]
    rows = "SELECT count(), max(k), max(n), max(h) FROM c"
    assert execute(engine, rows) == execute_real(session, rows)
    assert refused <= 26  # inside an escape or a date


@BOUNDED
@given(at=st.integers(0, len(CUT_ROWS) - 1), character=st.sampled_from('"{}:,;\\x0-+ \n'), keep=st.booleans())
def test_json_with_a_wrong_character_fails_alike(at: int, character: str, keep: bool, session: httpx.Client) -> None:
    """Bad JSON has the right code and inserts nothing; what is accepted is accepted with the same values."""
    engine = Engine()
    data = CUT_ROWS[:at] + character + CUT_ROWS[at + (not keep) :]
    for statement in ("DROP TABLE IF EXISTS c", CUT_TABLE):
        execute(engine, statement)
        execute_real(session, statement)
    simulated = execute(engine, "INSERT INTO c FORMAT JSONEachRow", data)
    if simulated[0] != 501:
        assert simulated == execute_real(session, "INSERT INTO c FORMAT JSONEachRow", data)
        rows = "SELECT * FROM c ORDER BY k, n, h FORMAT JSONEachRow"
        assert execute(engine, rows) == execute_real(session, rows)


COLUMNS = {
    "k": st.sampled_from(["", "a", "b", "é", "it's", 'q"\\', "line\nbreak"]) | st.text(max_size=6),
    "a": st.integers(0, 3) | st.integers(0, 255),
    "n": st.integers(0, 5) | st.integers(0, 2**64 - 1),
    "e": st.integers(-3, 3) | st.integers(-(2**31), 2**31 - 1),
    "g": st.sampled_from([0.0, 0.5, -1.25]) | st.integers(-(10**12), 10**12).map(lambda n: n / 8),
    "h": st.integers(0, 4_000_000_000),
    "i": st.dates(datetime.date(1970, 1, 1), datetime.date(2104, 12, 31)).map(str),
}
TABLE = (
    "CREATE TABLE d (k String, a UInt8, n UInt64, e Int32, g Float64, h DateTime, i Date) "
    "ENGINE = ReplacingMergeTree ORDER BY (k, a)"
)
KEYS = [name for name in COLUMNS if name != "g"]
EXACT = [
    "count()",
    "uniqExact(k)",
    "uniqExact(e)",
    "sum(n)",
    "sum(e)",
    "sum(a)",
    "min(g)",
    "max(k)",
    "min(h)",
    "max(i)",
]


def sql_literal(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    escapes = {"\\": "\\\\", "'": "\\'", "\0": "\\0"}
    return "'" + "".join(escapes.get(character, character) for character in value) + "'"


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        left, right = draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1))
        return draw(
            st.sampled_from([f"{left} AND {right}", f"{left} OR {right}", f"NOT ({left} OR {right})", f"NOT {left}"])
        )
    name = draw(st.sampled_from([name for name in COLUMNS if name != "h"]))
    literal = COLUMNS[name].map(sql_literal)
    if name != "g" and draw(st.booleans()):
        members = ", ".join(draw(st.lists(literal, min_size=1, max_size=3)))
        return f"{name} {draw(st.sampled_from(['IN', 'NOT IN']))} ({members})"
    return f"{name} {draw(st.sampled_from(['=', '!=', '<', '<=', '>', '>=']))} {draw(literal)}"


@st.composite
def selects(draw: st.DrawFn, final: bool) -> tuple[str, bool]:
    """Return a SELECT from d, and whether it gives a total order."""
    key = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=2))
    aggregates = draw(st.lists(st.sampled_from(EXACT), unique=True, max_size=3))
    plain = draw(st.lists(st.sampled_from(list(COLUMNS)), unique=True, min_size=1))
    items = key + aggregates or plain
    parts = [f"SELECT {', '.join(items)} FROM d"]
    parts += ["FINAL"] if final else []
    parts += [f"WHERE {draw(conditions())}"] if draw(st.booleans()) else []
    parts += [f"GROUP BY {', '.join(key)}"] if key else []
    ordered = draw(st.booleans())
    if ordered:
        directions = [f"{item} {draw(st.sampled_from(['ASC', 'DESC']))}" for item in draw(st.permutations(items))]
        parts += [f"ORDER BY {', '.join(directions)}", f"LIMIT {draw(st.integers(0, 9))}"]
    return " ".join([*parts, f"FORMAT {draw(st.sampled_from(['TabSeparated', 'JSONEachRow']))}"]), ordered


@BOUNDED
@given(data=st.data())
def test_random_rows_and_selects_agree(data: st.DataObject, session: httpx.Client) -> None:
    """Cases are what we thought of; this is the rest. Merges come when they like: several blocks need FINAL."""
    engine = Engine()
    rows = st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=8)
    blocks = data.draw(st.lists(rows, min_size=1, max_size=3))
    final = len(blocks) > 1 or data.draw(st.booleans())
    steps = [("DROP TABLE IF EXISTS d", ""), (TABLE, "")]
    steps += [("INSERT INTO d FORMAT JSONEachRow", httpx.Response(200, json=block).text[1:-1]) for block in blocks]
    for step in steps:
        assert execute(engine, *step) == execute_real(session, *step) == (200, "text/plain; charset=UTF-8", "")
    for statement, ordered in data.draw(st.lists(selects(final), min_size=3, max_size=6)):
        simulated, actual = execute(engine, statement), execute_real(session, statement)
        assert simulated[:2] == actual[:2], (statement, simulated, actual)
        lines, real_lines = simulated[2].splitlines(), actual[2].splitlines()
        assert (lines == real_lines) if ordered else (sorted(lines) == sorted(real_lines)), statement


@BOUNDED
@given(numbers=st.lists(st.floats(-1e15, 1e15), min_size=20, max_size=60))
def test_floats_agree_to_the_last_bit_but_one(numbers: list[float], session: httpx.Client) -> None:
    """The server misreads some decimals by one bit; what it holds must be written alike."""
    table = "CREATE TABLE g (n UInt32, g Float64) ENGINE = MergeTree ORDER BY n"
    data = "".join(f'{{"n":{n},"g":{number!r}}}' for n, number in enumerate(numbers))
    engine = Engine()
    for step in (("DROP TABLE IF EXISTS g",), (table,), ("INSERT INTO g FORMAT JSONEachRow", data)):
        assert execute(engine, *step) == execute_real(session, *step)
    simulated = execute(engine, "SELECT g FROM g ORDER BY n")[2].splitlines()
    actual = execute_real(session, "SELECT g FROM g ORDER BY n")[2].splitlines()
    assert [float(text) for text in simulated] == numbers
    for number, text in zip(numbers, actual, strict=True):
        assert abs(float(text) - number) <= 2 * math.ulp(number)
        assert TYPES[Release.V18_16]["Float64"].tsv(float(text)) == text


def both(talk: Callable[[str], Awaitable[None]], real: ClickHouseServer) -> None:
    """Run `talk` with the real and with a simulated server, each with one empty table s."""

    async def main(_: SimulatedClickHouse, url: str) -> None:
        for each in (real.url, url):
            async with client(each) as session:
                await session.post("/", content="DROP TABLE IF EXISTS s")
                await session.post("/", content=SMALL)
            await talk(each)

    simulate(main)


async def count(url: str) -> int:
    async with client(url) as session:
        return int((await session.get("/", params={"query": "SELECT count() FROM s"})).text)


async def connect(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port or 80)


def insert_head(length: int) -> bytes:
    return (
        b"POST /?query=INSERT+INTO+s+FORMAT+JSONEachRow HTTP/1.1\r\n"
        b"Host: clickhouse\r\nContent-Length: %d\r\n\r\n" % length
    )


def test_many_requests_share_one_connection(real: ClickHouseServer) -> None:
    """A pool counts on keep-alive, after errors too: the rest of a failed insert is not read as a request."""

    async def talk(url: str) -> None:
        addresses = []
        async with client(url) as session:
            for content in (
                "SELECT 1",
                "INSERT INTO x FORMAT JSONEachRow\n" + '{"k":"a"}' * 9000,
                "SELECT z FROM s",
                "SELECT 1",
            ):
                response = await session.post("/", content=content)
                addresses.append(response.extensions["network_stream"].get_extra_info("client_addr"))
            assert response.text == "1\n"
        assert addresses == addresses[:1] * 4

    both(talk, real)


def test_chunked_bodies_are_read(real: ClickHouseServer) -> None:
    """A client that streams its rows sends no Content-Length, and cuts where it likes."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"INSERT INTO s FOR", b'MAT JSONEachRow {"k":"', "é".encode()[:1], "é".encode()[1:] + b'"}'):
            yield piece

    async def talk(url: str) -> None:
        async with client(url) as session:
            assert (await session.post("/", content=pieces())).status_code == 200
            assert (await session.post("/", content="SELECT k FROM s")).text == "é\n"

    both(talk, real)


def test_a_head_is_answered_without_a_body(real: ClickHouseServer) -> None:
    """A health check must neither end the server nor leave bytes that the next answer would begin with."""

    async def talk(url: str) -> None:
        async with await connect(url) as stream:
            for path in (b"/", b"/ping"):
                await stream.send_all(b"HEAD %s HTTP/1.1\r\nHost: clickhouse\r\n\r\n" % path)
                head = bytes(await stream.receive_some())
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"Content-Length: 4\r\n" in head
                assert head.endswith(b"\r\n\r\n")

    both(talk, real)


def test_a_post_without_a_length_is_refused(real: ClickHouseServer) -> None:
    """Otherwise a forgotten header would look like an empty insert."""

    async def talk(url: str) -> None:
        async with await connect(url) as stream:
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: clickhouse\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 411 Length Required\r\n")

    both(talk, real)


@pytest.mark.parametrize(("body", "kept"), [(b'{"k":"a"}\n{"k":"b"}\n', 2), (b'{"k":"a"}\n{"k":"b', 0)])
def test_a_client_that_closes_ends_the_body_there(body: bytes, kept: int, real: ClickHouseServer) -> None:
    """The server cannot tell the end of the rows from the end of the client: a trap that a retry falls into."""

    async def talk(url: str) -> None:
        async with await connect(url) as stream:
            await stream.send_all(insert_head(500) + body)
            await stream.send_eof()
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200" if kept else b"HTTP/1.1 400")
        assert await count(url) == kept

    both(talk, real)


async def insert_and_begin_another(url: str) -> trio.SocketStream:
    async with client(url) as session:
        assert (await session.post("/", content='INSERT INTO s FORMAT JSONEachRow {"k":"kept"}')).status_code == 200
    stream = await connect(url)
    await stream.send_all(insert_head(500) + b'{"k":"lost"}\n')
    assert await count(url) == 1  # an answer on another connection, sent later: the beginning has been received
    return stream


async def gone(stream: trio.SocketStream) -> bool:
    async with stream:
        try:
            return not await stream.receive_some()
        except trio.BrokenResourceError:
            return True


def test_a_crash_of_the_real_server_keeps_what_was_acknowledged(real: ClickHouseServer) -> None:
    """This is what the simulated crash below imitates."""

    async def main() -> None:
        async with client(real.url) as session:
            await session.post("/", content="DROP TABLE IF EXISTS s")
            await session.post("/", content=SMALL)
        stream = await insert_and_begin_another(real.url)
        real.kill()
        assert await gone(stream)
        await trio.to_thread.run_sync(real.start)
        assert await count(real.url) == 1

    trio.run(main)


def test_a_crash_of_the_simulated_server_keeps_what_was_acknowledged() -> None:
    """An insert that was still being received is lost whole, with its connection."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            url = f"http://127.0.0.1:{server.port}"
            async with client(url) as session:
                await session.post("/", content=SMALL)
            stream = await insert_and_begin_another(url)
            server.crash()
            nursery.cancel_scope.cancel()
        assert await gone(stream)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            assert await count(url) == 1
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_nothing_is_inserted_after_the_instant_of_a_crash() -> None:
    """The tasks of a crashed process are cancelled a little later; what they still do must not reach the disk."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        async with client(url) as session:
            await session.post("/", content=SMALL)
        row = b'{"k":"late"}'
        plain = socket.create_connection(("127.0.0.1", server.port))  # no checkpoint: the server cannot run in between
        plain.sendall(insert_head(len(row)) + row)
        server.crash()
        plain.setblocking(False)
        assert await gone(trio.SocketStream(trio.socket.from_stdlib_socket(plain)))
        assert answer(Request("GET", "/?query=SELECT+count()+FROM+s", {}, b""), server._engine).body == "0\n"

    simulate(talk)


def test_an_idle_connection_is_closed() -> None:
    """A pool that keeps a connection for too long meets a server that has closed it."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1", keep_alive_timeout_s=3)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            assert await gone(await trio.open_tcp_stream("127.0.0.1", server.port))
            assert trio.current_time() >= 3
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
