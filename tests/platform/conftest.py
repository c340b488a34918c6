"""The real services, started once for the package's tests; tests that kill one get it back for the next."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio

from simulator.live.clickhouse import ClickHouseServer
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.redis import RedisServer
from tests.platform.stage import Services, empty


@pytest.fixture(scope="session")
def started_services() -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(
            stack.enter_context(RedisServer()),
            stack.enter_context(PostgreSQLServer()),
            stack.enter_context(ClickHouseServer()),
        )


@pytest.fixture
def services(started_services: Services) -> Services:
    """Redis, PostgreSQL and ClickHouse, running and without data."""
    for server in (started_services.redis, started_services.postgresql, started_services.clickhouse):
        server.thaw()
        if server.pid is None:
            server.start()
    trio.run(empty, started_services)
    return started_services
