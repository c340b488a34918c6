"""Assembles the chat platform into a `System`: the one module that knows both the platform and the simulator."""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import httpx
import msgspec
import trio
from coredis import Redis
from hypothesis import strategies as st

from models.client import ChatClient, Outcome
from models.config import PlatformConfig
from models.defects import DEFECTS
from models.platform import serve
from models.protocol import Reply, ServerFrame
from models.secret import DEMO_SECRET
from models.streams import BUFFER, WORK
from models.tokens import issue
from properties import PROMISES
from simulator import Event, Failed, History, Host, Kind, Observer, Property, System, User, operation
from simulator.services.clickhouse import SimulatedClickHouse
from simulator.services.redis import SimulatedRedis

__all__ = ["ChatSystem", "system"]

PLATFORM_PORT = 8000
REDIS_PORT = 6379
CLICKHOUSE_PORT = 8123

QUESTIONS = ("what is our uptime?", "who is on call?", "why is it slow?")
WELCOME_WITHIN_S = 3.0
ROWS = "SELECT event_id, user, message FROM analytics FINAL FORMAT JSONEachRow"
NO_SUCH_TABLE = "Code: 60"


def is_known(user: User) -> bool:
    """Whether the user has connected before, and so has a client."""
    return "client" in user.memory


def is_connected(user: User) -> bool:
    """Whether the user's client is connected and lets them type."""
    return is_known(user) and client_of(user).is_connected


def is_away(user: User) -> bool:
    """Whether the user is not connected and does not try to be."""
    return not user.memory.get("wants_connection", False)


def is_here(user: User) -> bool:
    """Whether the user is connected or tries to be."""
    return not is_away(user)


class ChatSystem(System):
    """Users chat with an agent over WebSocket; Redis keeps their streams, ClickHouse the analytics."""

    users: ClassVar[tuple[int, int]] = (1, 3)
    quiet_within_s: ClassVar[float] = 20.0
    properties: ClassVar[tuple[Property, ...]] = PROMISES
    defects: ClassVar[Mapping[str, str]] = {each.name: f"{each.breaks}: {each.summary}" for each in DEFECTS}

    def hosts(self) -> Iterator[Host]:
        """Redis, ClickHouse, and the platform that needs them."""
        redis, clickhouse = SimulatedRedis(port=REDIS_PORT), SimulatedClickHouse(port=CLICKHOUSE_PORT)
        config = PlatformConfig(
            redis_host="redis",
            redis_port=REDIS_PORT,
            clickhouse_url=f"http://clickhouse:{CLICKHOUSE_PORT}",
            listen_port=PLATFORM_PORT,
            secret=DEMO_SECRET,
            defects=self.planted,
        )

        async def platform() -> None:
            await serve(config)

        yield Host("redis", redis.main, on_crash=redis.crash)
        yield Host("clickhouse", clickhouse.main, on_crash=clickhouse.crash)
        yield Host("platform", platform, needs=("redis", "clickhouse"), open_to_users=True)

    # Operations

    @operation(when=is_away, sentence="{user} connects")
    async def connect(self, user: User) -> None:
        """Connect, or come back and resume from the last reply seen."""
        await self._connect(user)

    @operation(
        when=is_here,
        clean=st.booleans(),
        sentence="{user} leaves (clean={clean})",
    )
    async def leave(self, user: User, clean: bool) -> None:
        """Disconnect and stay away: with a closing handshake, or as if the device were switched off."""
        left = user.memory["left"] = trio.Event()
        await client_of(user).leave(clean=clean)
        user.memory["wants_connection"] = False
        left.set()

    @operation(when=is_connected, weight=4, question=st.sampled_from(QUESTIONS), sentence="{user} asks {question!r}")
    async def ask(self, user: User, question: str) -> str:
        """Send a message; it happened when the platform acknowledged it."""
        number = user.memory["asked"] = user.memory.get("asked", 0) + 1
        message, context = f"{user.name}-{number}", f"{user.name}/{number}"
        user.observe("message_sent", message=message, context=context, text=question)
        match await client_of(user).send(message, question, context):
            case Outcome.OK:
                return message
            case Outcome.FAIL:
                raise Failed(f"{message} was not sent")
            case _:
                raise ConnectionError(f"no acknowledgement of {message}")

    # The end of a run

    async def settle(self, user: User) -> None:
        """Let users who left come back, so that they get what they missed."""
        if "left" in user.memory:
            await user.memory["left"].wait()
        if is_known(user) and is_away(user):
            await self._connect(user)

    def pending(self, history: History) -> Iterable[str]:
        """Name unanswered messages, undrained analytics and a breaker that is not closed."""
        answered = {event.data["to"] for event in history.observed("frame") if event.data["type"] == "reply"}
        for each in history.operations("ask"):
            if each.ok and each.result not in answered:
                yield f"{each.user} waits for the reply to {each.result}"
        for message, state in analytics_of(history).items():
            if state != "analytics_written":
                yield f"the analytics of {message} are not written yet ({state})"
        for breaker, state in breakers_of(history).items():
            if state != "closed":
                yield f"the breaker of {breaker} is {state}"

    async def inspect(self, observer: Observer) -> None:
        """Record every stored message and reply, and every analytics row."""
        await _inspect_redis(observer)
        await _inspect_clickhouse(observer)

    async def _connect(self, user: User) -> None:
        user.memory["wants_connection"] = True
        connected = user.memory["connected"] = trio.Event()
        if not is_known(user):
            user.memory["client"] = _new_client(user)
        client = client_of(user)
        user.start_soon(client.run)
        with trio.fail_after(WELCOME_WITHIN_S):
            await connected.wait()


def analytics_of(history: History) -> dict[str, str]:
    """Return, per message, the last that was heard of its analytics.

    What the platform had neither written nor buffered when it crashed is lost, as it may be: nobody was promised it.
    """
    states: dict[str, str] = {}
    for event in history.events:
        if event.name in ("reply_stored", "analytics_buffered", "analytics_written"):
            states[str(event.data["message"])] = event.name
        elif event.name == "analytics_lost":
            states.pop(str(event.data["message"]), None)
        elif is_platform_crash(event):
            states = {message: state for message, state in states.items() if state != "reply_stored"}
    return states


def is_platform_crash(event: Event) -> bool:
    """Whether the platform lost, at this event, what it had in memory."""
    return event.kind is Kind.FAULT and event.host == "platform" and event.name in ("crash", "vanish")


def breakers_of(history: History) -> dict[str, str]:
    """Return each breaker's present state. It lives in the platform's memory: after a crash it begins anew."""
    states: dict[str, str] = {}
    for event in history.events:
        if event.name == "breaker_moved":
            states[str(event.data["breaker"])] = str(event.data["new"])
        elif is_platform_crash(event):
            states.clear()
    return states


def client_of(user: User) -> ChatClient:
    """Return the client that the user made when they first connected."""
    client: ChatClient = user.memory["client"]
    return client


def _new_client(user: User) -> ChatClient:
    def on_frame(frame: ServerFrame) -> None:
        if isinstance(frame, Reply):
            user.observe("frame", type="reply", to=frame.to, seq=frame.seq, text=frame.text)
        else:
            user.observe("frame", type=type(frame).__name__.lower())

    def on_state(state: str) -> None:
        user.observe("client_state", state=state)
        if state == "connected":
            user.memory["connected"].set()

    return ChatClient(
        user=user.name,
        token=issue(user.name, DEMO_SECRET),
        host="platform",
        port=PLATFORM_PORT,
        on_frame=on_frame,
        on_state=on_state,
    )


async def _inspect_redis(observer: Observer) -> None:
    async with Redis(host="redis", port=REDIS_PORT, decode_responses=True, verify_version=False) as redis:
        for entry in await redis.xrange(WORK):
            fields = entry.field_values
            observer.observe(
                "stored_message",
                user=str(fields["user"]),
                message=str(fields["id"]),
                text=str(fields["text"]),
                context=str(fields["context"]),
            )
        for key in sorted([str(key) async for key in redis.scan_iter(match="replies:*")]):
            for entry in await redis.xrange(key):
                fields = entry.field_values
                observer.observe("stored_reply", key=key, to=str(fields["to"]), text=str(fields["text"]))
        observer.observe("inspected", store="redis", buffered=await redis.llen(BUFFER))


async def _inspect_clickhouse(observer: Observer) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=None, verify=False) as http:
        response = await http.post(f"http://clickhouse:{CLICKHOUSE_PORT}/", content=ROWS)
    if response.status_code != httpx.codes.OK:
        if NO_SUCH_TABLE not in response.text:
            response.raise_for_status()
        rows = []  # the platform makes the table with its first row
    else:
        rows = [msgspec.json.decode(line, type=dict[str, str]) for line in response.text.splitlines()]
    for row in sorted(rows, key=lambda row: (row["message"], row["event_id"])):
        observer.observe("row", event_id=row["event_id"], user=row["user"], message=row["message"])
    observer.observe("inspected", store="clickhouse")


system = ChatSystem()
