"""A platform on real services for one test: its events, its users, and conditions to wait for."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import httpx
import structlog
import trio
from coredis import Redis

from models.client import ChatClient, Outcome
from models.config import PlatformConfig
from models.platform import serve
from models.protocol import Reply, ServerFrame
from models.tokens import issue
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.redis import RedisServer

SECRET = "a secret that only the tests know"
WAIT_MAX_S = 20.0
Event = Mapping[str, object]


def config_for(
    redis: RedisServer, clickhouse: ClickHouseServer | None = None, *, defect: str | None = None
) -> PlatformConfig:
    """Return a configuration with quick constants; without a ClickHouse, of one that nobody serves."""
    return PlatformConfig(
        redis_port=redis.port,
        clickhouse_url=clickhouse.url if clickhouse is not None else "http://127.0.0.1:9",
        listen_host="127.0.0.1",
        listen_port=0,
        secret=SECRET,
        defects=frozenset(() if defect is None else (defect,)),
        redis_timeout_s=0.5,
        block_s=0.5,
        breaker_reset_s=0.4,
        drain_interval_s=0.1,
        think_s=0.0,
        retry_s=0.05,
    )


@attrs.define
class User:
    """A client with everything that it was shown."""

    client: ChatClient
    frames: list[ServerFrame] = attrs.field(factory=list)
    states: list[str] = attrs.field(factory=list)

    @property
    def replies(self) -> list[Reply]:
        return [frame for frame in self.frames if isinstance(frame, Reply)]

    async def ask(self, id: str, text: str) -> Outcome:
        return await self.client.send(id, text, f"{self.client.user}/{id}")


@attrs.define
class Stage:
    """A served platform."""

    port: int
    config: PlatformConfig
    events: list[Event]
    nursery: trio.Nursery

    def user(self, name: str, *, token: str | None = None) -> User:
        """Return a user who connects at once and stays."""
        user = self.absent_user(name, token=token)
        self.nursery.start_soon(user.client.run)
        return user

    def absent_user(self, name: str, *, token: str | None = None) -> User:
        frames: list[ServerFrame] = []
        states: list[str] = []
        client = ChatClient(
            user=name,
            token=issue(name, SECRET) if token is None else token,
            host="127.0.0.1",
            port=self.port,
            on_frame=frames.append,
            on_state=states.append,
        )
        return User(client, frames, states)

    async def connected_user(self, name: str) -> User:
        user = self.user(name)
        await until(lambda: user.client.is_connected)
        return user

    def happened(self, event: str, **fields: object) -> list[Event]:
        """Return the observed events of that name with those fields."""
        return [e for e in self.events if e["event"] == event and fields.items() <= e.items()]

    async def wait_for(self, event: str, **fields: object) -> None:
        await until(lambda: bool(self.happened(event, **fields)))


@asynccontextmanager
async def staged(config: PlatformConfig) -> AsyncIterator[Stage]:
    """Serve a platform for a block and collect its events."""
    with structlog.testing.capture_logs() as events:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve, config))
            yield Stage(port, config, events, nursery)  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; a condition that never comes fails the test."""
    with trio.fail_after(WAIT_MAX_S):
        while not condition():
            await trio.sleep(0.005)


async def rows_of(server: ClickHouseServer) -> Sequence[str]:
    """Return `user message` of each analytics event that ClickHouse shows, sorted."""
    query = "SELECT user, message FROM analytics FINAL ORDER BY user, message FORMAT TabSeparated"
    async with httpx.AsyncClient() as http:
        response = await http.post(server.url, content=query)
    response.raise_for_status()
    return [line.replace("\t", " ") for line in response.text.splitlines()]


async def empty(server: RedisServer) -> None:
    """Forget everything an earlier test stored."""
    async with Redis(host="127.0.0.1", port=server.port) as client:
        await client.flushall()
