"""The real services, started once for the package's tests; tests that kill one bring it back."""

from collections.abc import Iterator

import httpx
import pytest
import trio

from simulator.live.clickhouse import ClickHouseServer
from simulator.live.redis import RedisServer
from tests.platform.stage import empty


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[ClickHouseServer]:
    with ClickHouseServer() as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """A running Redis without data."""
    if redis_server.pid is None:
        redis_server.start()
    trio.run(empty, redis_server)
    return redis_server


@pytest.fixture
def clickhouse(clickhouse_server: ClickHouseServer) -> ClickHouseServer:
    """A running ClickHouse without tables."""
    if clickhouse_server.pid is None:
        clickhouse_server.start()
    httpx.post(clickhouse_server.url, content="DROP TABLE IF EXISTS analytics").raise_for_status()
    return clickhouse_server
