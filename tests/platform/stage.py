"""A platform on real services for one test: two gateways and the agents in one Trio run, its users, and what is seen.

The language model is the simulated one, served on loopback. A killed process is a cancelled one: its tasks end at
their next checkpoint, and its connections are closed.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import attrs
import httpx
import psycopg
import structlog
import trio
from coredis import Redis
from structlog.contextvars import bind_contextvars, merge_contextvars
from trio_websocket import WebSocketConnection, wrap_client_stream

from models.client import ChatClient, Outcome, converse_once
from models.config import PlatformConfig
from models.platform import serve
from models.protocol import (
    CHAT,
    AgentEvent,
    ClientFrame,
    ErrorFrame,
    Hello,
    Reply,
    ServerFrame,
    Welcome,
    decode_server,
    encode,
)
from models.tokens import issue_login
from models.wire import WireDatabase
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.redis import RedisServer
from simulator.services.llm import SimulatedLLM

SECRET = "a secret that only the tests know"
HOST = "127.0.0.1"
NOWHERE = 9
"""A port on which nobody serves."""
GATEWAYS = ("gateway-a", "gateway-b")
PROCESSES = (*GATEWAYS, "agents")
WAIT_MAX_S = 20.0
LISTENING_S = 0.005
DATABASE_TIMEOUT_S = 5.0
FROM_THE_BEGINNING = "0-0"
LOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted"

Observed = Mapping[str, object]
Graph = Mapping[str, tuple[str, ...]]


@attrs.frozen
class Services:
    """The real servers."""

    redis: RedisServer
    postgresql: PostgreSQLServer
    clickhouse: ClickHouseServer

    def connection(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a session of our own in PostgreSQL. What it does blocks, and is over at once."""
        return psycopg.connect(f"host={HOST} port={self.postgresql.port} user=wavetank dbname=wavetank")

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return what the ledger shows."""
        with self.connection() as connection:
            return connection.execute(sql.encode()).fetchall()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Let nobody write to a table of the ledger for a block."""
        with self.connection() as connection:
            connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE".encode())
            yield

    async def wait_somebody_waits(self) -> None:
        """Wait until a transaction waits for a lock."""
        await until(lambda: self.rows(LOCKS) != [(0,)])

    def redis_client(self) -> "Redis[str]":
        """Return a client of our own for Redis."""
        return Redis(host=HOST, port=self.redis.port, decode_responses=True, verify_version=False)

    async def analytics(self) -> Sequence[str]:
        """Return `user message` of each row that ClickHouse shows, sorted."""
        query = "SELECT user, message FROM analytics FINAL ORDER BY user, message FORMAT TabSeparated"
        async with httpx.AsyncClient() as http:
            response = await http.post(self.clickhouse.url, content=query)
        response.raise_for_status()
        return [line.replace("\t", " ") for line in response.text.splitlines()]


@attrs.define
class User:
    """A client with everything that it was shown, and when each reply came."""

    client: ChatClient
    frames: list[ServerFrame] = attrs.field(factory=list)
    states: list[str] = attrs.field(factory=list)
    answered_at_s: dict[str, float] = attrs.field(factory=dict)

    @property
    def replies(self) -> list[Reply]:
        return [frame for frame in self.frames if isinstance(frame, Reply)]

    @property
    def events(self) -> list[AgentEvent]:
        return [frame for frame in self.frames if isinstance(frame, AgentEvent)]

    @property
    def errors(self) -> list[str]:
        return [frame.code for frame in self.frames if isinstance(frame, ErrorFrame)]

    @property
    def session(self) -> str:
        """The session that the user was welcomed to last."""
        return [frame.session for frame in self.frames if isinstance(frame, Welcome)][-1]

    def note(self, frame: ServerFrame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Reply):
            self.answered_at_s[frame.to] = trio.current_time()

    async def ask(self, id: str, text: str, workflow: Graph = CHAT) -> Outcome:
        return await self.client.send(id, text, f"{self.client.user}/1", workflow)

    async def answer(self, id: str, text: str, workflow: Graph = CHAT) -> Reply:
        """Ask, and return the reply."""
        assert await self.ask(id, text, workflow) is Outcome.OK
        await until(lambda: id in self.answered_at_s)
        return next(reply for reply in self.replies if reply.to == id)

    async def come_and_stay(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.client.run)
        await until(lambda: self.client.is_connected)


class Process:
    """One process of the platform."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = NOWHERE
        self.has_ended = False
        self._stopping = trio.Event()
        self._scope = trio.CancelScope()

    async def run(
        self,
        config: PlatformConfig,
        postgres_port: int,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        bind_contextvars(host=self.name)
        opened = WireDatabase.opened(host=HOST, port=postgres_port, timeout_s=DATABASE_TIMEOUT_S)
        with self._scope:
            async with opened as database, trio.open_nursery() as nursery:
                role = "agents" if self.name == "agents" else "gateway"
                main = partial(serve, config, database=database, roles=(role,), stopping=self._stopping)
                self.port = await nursery.start(main) or NOWHERE
                task_status.started()
        self.has_ended = True

    def stop(self) -> None:
        """Tell the process to finish and end."""
        self._stopping.set()

    async def kill(self) -> None:
        """End the process where it is."""
        self._scope.cancel()
        await self.wait_ended()

    async def wait_ended(self) -> None:
        await until(lambda: self.has_ended)


@attrs.define
class Stage:
    """A served platform."""

    services: Services
    llm: SimulatedLLM
    config: PlatformConfig
    observed: list[Observed]
    nursery: trio.Nursery
    processes: dict[str, Process] = attrs.field(factory=dict)

    async def start(self, name: str, *, postgres_port: int | None = None, **changes: object) -> Process:
        """Start a process, again if it has run before, perhaps with a configuration of its own."""
        process = self.processes[name] = Process(name)
        port = self.services.postgresql.port if postgres_port is None else postgres_port
        await self.nursery.start(process.run, attrs.evolve(self.config, **changes), port)  # type: ignore[arg-type]
        return process

    def port(self, name: str) -> int:
        return self.processes[name].port

    def absent_user(
        self, name: str, *, at: str = "gateway-a", login: str | None = None, after: User | None = None
    ) -> User:
        """Return a user who is not connected yet; `after` is what has seen and proven so much on another gateway."""
        frames: list[ServerFrame] = []
        client = ChatClient(
            user=name,
            login=issue_login(name, SECRET) if login is None else login,
            host=HOST,
            port=self.port(at),
            on_frame=lambda frame: user.note(frame),
            on_state=lambda state: user.states.append(state),
        )
        client.last_event = FROM_THE_BEGINNING
        if after is not None:
            earlier = after.client
            client.token, client.last_seen, client.last_event = earlier.token, earlier.last_seen, earlier.last_event
        user = User(client, frames)
        return user

    async def user(self, name: str, *, at: str = "gateway-a", after: User | None = None) -> User:
        """Return a user who is connected and stays."""
        user = self.absent_user(name, at=at, after=after)
        await user.come_and_stay(self.nursery)
        return user

    async def say(self, *frames: ClientFrame, at: str = "gateway-a") -> list[ServerFrame]:
        """Say frames on a connection of their own, as another device would, and return the answers."""
        return await converse_once(HOST, self.port(at), *frames)

    def happened(self, event: str, **fields: object) -> list[Observed]:
        """Return what was observed under that name with those fields."""
        return [each for each in self.observed if each["event"] == event and fields.items() <= each.items()]

    async def wait_for(self, event: str, **fields: object) -> None:
        await until(lambda: bool(self.happened(event, **fields)))


@asynccontextmanager
async def staged(
    services: Services, *, processes: Sequence[str] = PROCESSES, llm: SimulatedLLM | None = None, **changes: object
) -> AsyncIterator[Stage]:
    """Serve a platform for a block and collect its events, each with the process as `host`."""
    served = SimulatedLLM(port=0, host=HOST) if llm is None else llm
    with structlog.testing.capture_logs([merge_contextvars]) as observed:
        async with trio.open_nursery() as nursery:
            await nursery.start(served.main)
            config = attrs.evolve(_config(services, served), **changes)  # type: ignore[arg-type]
            stage = Stage(services, served, config, observed, nursery)  # type: ignore[arg-type]
            for name in processes:
                await stage.start(name)
            yield stage
            # A request that is cancelled while it is written leaves a generator of httpx's to the garbage collector,
            # of which Trio warns: so the one process that makes requests ends in good order.
            for process in stage.processes.values():
                if process.name == "agents":
                    process.stop()
                    await process.wait_ended()
            nursery.cancel_scope.cancel()


def _config(services: Services, llm: SimulatedLLM) -> PlatformConfig:
    """Return a configuration with quick constants."""
    return PlatformConfig(
        redis_port=services.redis.port,
        clickhouse_url=services.clickhouse.url,
        llm_url=f"http://{HOST}:{llm.port}/v1",
        listen_host=HOST,
        listen_port=0,
        secret=SECRET,
        block_s=0.5,
        poll_s=0.5,
        retry_s=0.05,
        breaker_reset_s=0.4,
        drain_interval_s=0.1,
    )


@asynccontextmanager
async def raw_connection(port: int, *, receive_bytes: int | None = None) -> AsyncIterator[WebSocketConnection]:
    """Provide a connection that does nothing by itself; with `receive_bytes` it takes hardly anything unread."""
    socket = trio.socket.socket()
    if receive_bytes is not None:
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_bytes)
    await socket.connect((HOST, port))
    async with trio.SocketStream(socket) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, HOST, "/")
        nursery.cancel_scope.cancel()


async def exchange(socket: WebSocketConnection, frame: ClientFrame) -> ServerFrame:
    """Say a frame on a raw connection and return what comes next."""
    await socket.send_message(encode(frame))
    return await hear(socket)


async def hear(socket: WebSocketConnection) -> ServerFrame:
    """Return the next frame on a raw connection."""
    with trio.fail_after(WAIT_MAX_S):
        return decode_server(await socket.get_message())


def login(user: str) -> Hello:
    """Return the hello of a user who logs in."""
    return Hello(token=issue_login(user, SECRET))


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; a condition that never comes fails the test."""
    with trio.fail_after(WAIT_MAX_S):
        while not condition():
            await trio.sleep(LISTENING_S)


async def empty(services: Services) -> None:
    """Forget everything that an earlier test stored."""
    async with services.redis_client() as client:
        await client.flushall()
    with services.connection() as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    async with httpx.AsyncClient() as http:
        for table in ("analytics", "facts"):
            (await http.post(services.clickhouse.url, content=f"DROP TABLE IF EXISTS {table}")).raise_for_status()
