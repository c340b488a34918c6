"""The troubles of the simulated ClickHouse: what it answers under them is what the real one answers in that state."""

import re
from collections.abc import Awaitable, Callable, Iterator

import attrs
import httpx
import pytest
import trio
import trio.testing

from simulator.live.chdb import ChdbServer
from simulator.live.clickhouse import ClickHouseServer
from simulator.services.clickhouse import Release, SimulatedClickHouse
from tests.conformance.clickhouse_cases import SMALL
from tests.conformance.test_clickhouse import client, count, simulate

SERVERS: dict[Release, type[ClickHouseServer] | type[ChdbServer]] = {
    Release.V18_16: ClickHouseServer,
    Release.CURRENT: ChdbServer,
}
TABLE_FULL = f"{SMALL} SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 1"
ROW = 'INSERT INTO s FORMAT JSONEachRow {"k":"a"}'
NUMBERS = re.compile(r"\d+(?:\.\d+)?(?: [KMG]?i?B)?| \([0-9a-f-]{36}\)")


@attrs.frozen
class Real:
    """A real server, and which release it is."""

    release: Release
    url: str


@pytest.fixture(scope="module", params=Release)
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    with SERVERS[request.param]() as server:
        yield Real(request.param, server.url)


def reply(response: httpx.Response, *, prefix: bool) -> tuple[object, ...]:
    """Return what does not depend on the numbers: status, headers, and the text, or the beginning of it."""
    text = response.text.partition("would use")[0] if prefix else NUMBERS.sub("N", response.text)
    headers = ("content-type", "x-clickhouse-exception-code")
    return response.status_code, *(response.headers.get(name) for name in headers), text


async def posted(url: str, *statements: str, prefix: bool = False, **settings: str) -> list[tuple[object, ...]]:
    async with client(url) as session:
        responses = [await session.post("/", params=settings, content=statement) for statement in statements]
    return [reply(response, prefix=prefix) for response in responses]


def in_virtual_time(talk: Callable[[SimulatedClickHouse, str], Awaitable[None]], release: Release) -> None:
    """Run `talk` with a simulated server that has one empty table s."""

    async def main(server: SimulatedClickHouse, url: str) -> None:
        await posted(url, SMALL)
        await talk(server, url)

    simulate(main, release=release, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_too_many_parts_is_answered_as_by_the_real_server(real: Real) -> None:
    """A full table refuses rows; what is read before the parts are counted fails first, release by release."""
    asks = (ROW, "INSERT INTO s FORMAT JSONEachRow nonsense", "INSERT INTO s VALUES ('a', 1)", "SELECT k FROM s")

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        await posted(real.url, "DROP TABLE IF EXISTS s", TABLE_FULL, ROW)
        await posted(url, SMALL, ROW)
        server.too_many_parts(True)
        answers = await posted(real.url, *asks)
        assert answers[0][0] == 500
        assert "Too many parts (N" in str(answers[0][-1])
        assert [answer[0] for answer in answers[2:]] == [500, 200]
        assert await posted(url, *asks) == answers
        server.too_many_parts(False)
        assert (await posted(url, ROW))[0][0] == 200

    simulate(talk, release=real.release)


def test_an_exceeded_memory_limit_is_answered_as_by_the_real_server(real: Real) -> None:
    """Queries that could be executed fail; inserts and the questions for tables go on."""
    asks = ("SELECT k FROM s", "SELECT count() FROM s WHERE k = 'a' FORMAT JSONEachRow")

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        await posted(real.url, "DROP TABLE IF EXISTS s", SMALL, ROW)
        await posted(url, SMALL, ROW)
        server.memory_limit(True)
        answers = await posted(real.url, *asks, prefix=True, max_memory_usage="1")
        assert [answer[0] for answer in answers] == [500, 500]
        assert "exceeded: " in str(answers[0][-1])
        assert await posted(url, *asks, prefix=True) == answers
        unknown = await posted(real.url, "SELECT z FROM s", max_memory_usage="1")
        assert (await posted(url, "SELECT z FROM s"))[0][:3] == unknown[0][:3]
        assert [answer[0] for answer in await posted(url, ROW, "SHOW TABLES")] == [200, 200]
        server.memory_limit(False)
        assert await count(url) == 2

    simulate(talk, release=real.release)


@pytest.mark.parametrize("release", Release)
def test_slow_queries_show_what_was_there_when_they_came(release: Release) -> None:
    """A query works on the parts that it found; inserts are not slow."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        server.slow_queries(True)
        began_s = trio.current_time()
        counts = []

        async def query() -> None:
            counts.append(await count(url))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(query)
            await trio.sleep(1)
            assert (await posted(url, ROW))[0][0] == 200
            assert trio.current_time() < began_s + 2
        assert trio.current_time() >= began_s + 3
        server.slow_queries(False)
        assert [*counts, await count(url)] == [0, 1]

    in_virtual_time(talk, release)


@pytest.mark.parametrize("release", Release)
def test_delayed_rows_are_acknowledged_then_shown(release: Release) -> None:
    """A platform that reads its own writes from a replica does not find them."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        await posted(url, ROW)
        server.delay_visibility(True)
        assert (await posted(url, ROW))[0][0] == 200
        assert await count(url) == 1
        await trio.sleep(5)
        await posted(url, ROW)
        assert await count(url) == 2
        server.delay_visibility(False)
        assert await count(url) == 3

    in_virtual_time(talk, release)


def test_delayed_rows_survive_a_crash_and_count_for_deduplication() -> None:
    """They are not shown, but they are there."""

    async def main() -> None:
        server = SimulatedClickHouse(port=0, host="127.0.0.1", release=Release.CURRENT)
        for number in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.main)
                url = f"http://127.0.0.1:{server.port}"
                if number == 0:
                    await posted(url, f"{SMALL} SETTINGS non_replicated_deduplication_window = 9")
                    server.delay_visibility(True)
                    await posted(url, ROW, ROW)
                    assert await count(url) == 0
                    server.crash()
                else:
                    await trio.sleep(5)
                    assert await count(url) == 1
                nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_delayed_rows_stay_in_the_order_of_insertion() -> None:
    """Otherwise the last of a key, which FINAL keeps, would be another one."""

    async def talk(server: SimulatedClickHouse, url: str) -> None:
        await posted(url, "CREATE TABLE r (k String, n UInt64) ENGINE = ReplacingMergeTree ORDER BY k")
        server.delay_visibility(True)
        await posted(url, "INSERT INTO r VALUES ('a', 1)")
        server.delay_visibility(False)
        await posted(url, "INSERT INTO r VALUES ('a', 2)")
        assert (await posted(url, "SELECT n FROM r FINAL"))[0][-1] == "N\n"
        async with client(url) as session:
            assert (await session.post("/", content="SELECT n FROM r FINAL")).text == "2\n"

    in_virtual_time(talk, Release.V18_16)


def test_every_trouble_begins_ends_and_has_its_words() -> None:
    """The search switches them on and off by these, and a report says these."""
    server = SimulatedClickHouse()
    switches = server._engine.switches
    untroubled = attrs.asdict(switches)
    for trouble, name in zip(server.troubles(), untroubled, strict=True):
        trouble.begin()
        assert attrs.asdict(switches) == {**untroubled, name: True}
        assert trouble.end is not None
        trouble.end()
        assert attrs.asdict(switches) == untroubled
        assert "clickhouse" in trouble.sentence.format("clickhouse", for_s="4")
    assert [trouble.name for trouble in server.troubles()] == [
        "clickhouse-too-many-parts",
        "clickhouse-memory-limit",
        "clickhouse-slow-queries",
        "clickhouse-delayed-visibility",
    ]
