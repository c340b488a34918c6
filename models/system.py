"""Assembles the platform into a `System`: the one module that knows both the platform and the simulator."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import attrs
import msgspec
import trio
from hypothesis import strategies as st

from models.adapted_client import AdaptedClient
from models.adapter import Adapter, AdapterError, check_adapter, fault_in
from models.client import REFRESH_AFTER, ChatClient, converse_once, read_back
from models.components import COMPONENTS
from models.config import PlatformConfig
from models.defects import DEFECTS
from models.device import (
    BACKOFF_MAX_S,
    CLOSE_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    Device,
    Outcome,
)
from models.inspection import inspect_clickhouse, inspect_postgres, inspect_redis
from models.malformed import malformed_frames, malformed_texts
from models.platform import serve
from models.protocol import CHAT, ClientFrame, ErrorFrame, Hello, LoggedOut, Logout, ServerFrame, Token, Welcome, encode
from models.requests import SERVICE_REQUESTS
from models.secret import DEMO_SECRET
from models.tokens import claimed_by, issue_login
from models.trespass import TRESPASSES, Trespasser
from models.unfinished import unfinished
from models.wire import WireDatabase
from models.workflow import KINDS
from properties import PROMISES
from properties.conformance import conformities
from properties.measures import OBJECTIVES, measures
from properties.places import GATEWAYS
from properties.transitions import transitions, transitions_in
from simulator import (
    Event,
    Failed,
    History,
    Host,
    Invocation,
    Observer,
    Pending,
    Property,
    System,
    Trouble,
    User,
    operation,
)
from simulator.component import Component
from simulator.conformity import Conformity
from simulator.errors import AdapterFailedError, InputError
from simulator.journeys.journey import Journey, Leg
from simulator.load.profile import Mixed
from simulator.load.sample import Sample
from simulator.load.service_request import ServiceRequest
from simulator.redaction import conceal
from simulator.services.clickhouse import SimulatedClickHouse
from simulator.services.llm import SimulatedLLM
from simulator.services.postgresql import SimulatedPostgreSQL
from simulator.services.redis import SimulatedRedis

__all__ = ["ChatSystem", "deployed", "system"]

GATEWAY_PORT = 8000
REDIS_PORT = 6379
POSTGRES_PORT = 5432
CLICKHOUSE_PORT = 8123
LLM_PORT = 8080
TOKEN_S = 12
LLM_LATENCY_S = 0.5
CLICKHOUSE_LATENCY_S = 0.05
LLM_CHARACTERS_MAX = 400

PERSONAL = "who is on call?"
"""Asked with the name of the conversation, and so known for whose it is wherever it turns up; all others are asked by
everybody, so that a cache has something to mix up."""
QUESTIONS = ("what is our uptime?", PERSONAL, "why is it slow?", "and then? " * 40)
"""The last one is longer than the LLM takes, and so of little use for keeping many agents busy."""
THREADS = (1, 2)
DIAMOND: dict[str, Any] = {
    "triage-1": [],
    "data-2": ["triage-1"],
    "optimisation-3": ["triage-1"],
    "action-4": ["data-2", "optimisation-3"],
    "report-5": ["action-4"],
}
"""A workflow of every kind of agent, two of them side by side."""
NODES_MAX = 6
WELCOME_WITHIN_S = 3.0
STALL_S_MAX = 9.0
EXPIRED_FOR_S = 0.5
"""How long ago a token must have expired to be tried as one that has."""
CONFIG = PlatformConfig(
    redis_host="redis",
    redis_port=REDIS_PORT,
    clickhouse_url=f"http://clickhouse:{CLICKHOUSE_PORT}",
    llm_url=f"http://llm:{LLM_PORT}/v1",
    listen_port=GATEWAY_PORT,
    secret=DEMO_SECRET,
    token_s=TOKEN_S,
)
LLM_PROBED = "a probe that fails, and one that closes a breaker"
PATIENCE: Mapping[str, float] = {
    "a device that does not read": STALL_S_MAX,
    "a dead connection to be noticed": PING_INTERVAL_S + PING_TIMEOUT_S,
    "a device to come to the gateway that is well": 2 * (3 * CONNECT_TIMEOUT_S + CLOSE_TIMEOUT_S + BACKOFF_MAX_S),
    LLM_PROBED: 2 * CONFIG.llm_timeout_s + CONFIG.breaker_reset_s,
    "work to be looked for": CONFIG.poll_s + CONFIG.retry_s,
    "all agents of all open messages": CONFIG.open_messages_max * NODES_MAX * CONFIG.clickhouse_timeout_s,
    "analytics to be gathered and drained": CONFIG.analytics_linger_s + CONFIG.drain_interval_s,
}
MIX = (
    Mixed("ask", 6.0, {"question": "how was minute {number}?", "thread": THREADS[0]}),
    Mixed("ask", 2.0, {"question": PERSONAL, "thread": THREADS[1]}),
    Mixed(
        "run_workflow", 2.0, {"question": "why was minute {number} slow?", "thread": THREADS[0], "workflow": DIAMOND}
    ),
)
"""What users do under load. Most questions are new: answers to the others come from the cache."""
NEXT_RELEASE = "next-release"
NEXT_RELEASE_SENTENCE = "{0} runs the next release from its next start on, for {for_s} s"
STAY_S = 2.0
MALFORMED_PAUSE_S = 0.2
BAD_REQUEST = "bad_request"
TOKEN = re.compile(r'("token"\s*:\s*)"[^"]*"')


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


def has_asked(user: User) -> bool:
    """Whether the user is connected and has asked something that could be cancelled."""
    return is_connected(user) and "asked" in user.memory


def has_session(user: User) -> bool:
    """Whether the user is logged in."""
    return is_connected(user) and chat_client_of(user).token is not None


def workflows() -> st.SearchStrategy[dict[str, list[str]]]:
    """Directed acyclic graphs of agents, from one node to diamonds and wide fans."""
    node = st.tuples(st.sampled_from(KINDS), st.integers(0, 2**NODES_MAX - 1))
    return st.lists(node, min_size=1, max_size=NODES_MAX).map(_graph)


def _graph(drawn: list[tuple[str, int]]) -> dict[str, list[str]]:
    """Each node is its kind and place, and needs those earlier ones that the bits of its number name."""
    names = [f"{kind}-{place}" for place, (kind, _) in enumerate(drawn, 1)]
    return {
        name: [names[earlier] for earlier in range(place) if bits >> earlier & 1]
        for place, (name, (_, bits)) in enumerate(zip(names, drawn, strict=True))
    }


class ChatSystem(System):
    """Users chat with agents over WebSocket; PostgreSQL is the ledger, Redis has the news, ClickHouse the analytics."""

    users: ClassVar[tuple[int, int]] = (1, 3)
    replicas: ClassVar[Mapping[str, tuple[int, ...]]] = {"gateways": (2, 1, 3)}
    arrival: ClassVar[str] = "connect"
    mix: ClassVar[tuple[Mixed, ...]] = MIX
    objectives: ClassVar[Mapping[str, str]] = OBJECTIVES
    experiments: ClassVar[Path | None] = Path(__file__).with_name("experiments")
    components: ClassVar[Mapping[str, Component]] = COMPONENTS
    journeys: ClassVar[Path | None] = Path(__file__).with_name("journeys")
    service_requests: ClassVar[Mapping[str, ServiceRequest]] = SERVICE_REQUESTS
    patience: ClassVar[Mapping[str, float]] = PATIENCE
    unawaited: ClassVar[tuple[str, ...]] = ("frame_sent",)
    properties: ClassVar[tuple[Property, ...]] = PROMISES
    defects: ClassVar[Mapping[str, str]] = {
        each.name: f"{each.breaks}: {each.summary} (Imitates {each.imitates}.)" for each in DEFECTS
    }

    token_s: ClassVar[int] = TOKEN_S
    """How long a token is valid: for a moment, so that it ends in runs of a minute."""

    next_releases: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """What is another in the platform's next release: a host can be made to run it from its next start on."""

    sessions: dict[str, str]
    """The session that each user of a run was welcomed in last: what others may have got hold of."""
    adapter: type[Adapter] | None = None
    """What speaks for users where the platform of a live deployment is another one."""

    def adapted(self, adapter: object) -> Self:
        """Return a copy whose users speak as an adapter does. Raises InputError for what is none."""
        copied = copy.copy(self)
        try:
            copied.adapter = check_adapter(adapter)
        except AdapterError as error:
            raise InputError(f"the target's adapter cannot be used: {error}.") from error
        copied.unexpressed = frozenset(self.operations()) - {*copied.adapter.operations}
        told = {_type_of(kind) for kind in copied.adapter.tells}
        copied.untold = frozenset(_type_of(kind) for kind in get_args(ServerFrame)) - told
        return copied

    logged_in: dict[tuple[str, object], tuple[str, str]]
    """User and session of each connection that a log told of, by gateway and number."""

    def for_run(self) -> Self:
        """Return the copy that one run works on, in which nobody has a session yet."""
        copied = super().for_run()
        copied.sessions = {}
        copied.logged_in = {}
        return copied

    def hosts(self) -> Iterator[Host]:
        """The stores, the LLM, the gateways behind one name, and the agents."""
        redis = SimulatedRedis(port=REDIS_PORT, capacity=self.capacity_of("redis"))
        postgres = SimulatedPostgreSQL(port=POSTGRES_PORT, capacity=self.capacity_of("postgres"))
        clickhouse = SimulatedClickHouse(
            port=CLICKHOUSE_PORT, latency_s=CLICKHOUSE_LATENCY_S, capacity=self.capacity_of("clickhouse")
        )
        llm = SimulatedLLM(
            port=LLM_PORT,
            latency_s=LLM_LATENCY_S,
            context_characters_max=LLM_CHARACTERS_MAX,
            capacity=self.capacity_of("llm"),
        )
        config = attrs.evolve(CONFIG, defects=self.planted, token_s=self.token_s)
        releases = (config, *(attrs.evolve(config, **each) for each in self.next_releases))
        yield Host("redis", redis.main, on_crash=redis.crash, hands_on={"agents": ("gateway",)})
        yield Host(
            "postgres",
            postgres.main,
            on_crash=postgres.crash,
            troubles=postgres_troubles(postgres),
            hands_on={"gateway": ("agents",)},
        )
        yield Host("clickhouse", clickhouse.main, on_crash=clickhouse.crash, troubles=clickhouse.troubles())
        yield Host("llm", llm.main, on_crash=llm.crash, troubles=llm.troubles())
        for name in GATEWAYS[: self.count_of("gateways")]:
            yield _platform_host(
                name, releases, "gateway", needs=("redis", "postgres"), open_to_users=True, behind="gateway"
            )
        yield _platform_host(
            "agents", releases, "agents", needs=("redis", "postgres", "clickhouse", "llm"), optional=("clickhouse",)
        )

    # Operations

    @operation(when=is_away, needs=(), weight=4, sentence="{user} connects")
    async def connect(self, user: User) -> None:
        """Log in, or come back and resume from what was seen last."""
        await self._connect(user)

    @operation(when=is_here, needs=(), clean=st.booleans(), sentence="{user} leaves (clean={clean})")
    async def leave(self, user: User, clean: bool) -> None:
        """Disconnect and stay away: with a closing handshake, or as if the device were switched off."""
        left = user.memory["left"] = trio.Event()
        await client_of(user).leave(clean=clean)
        user.memory["wants_connection"] = False
        left.set()

    @operation(
        when=is_connected,
        needs=(),
        weight=6,
        question=st.sampled_from(QUESTIONS[:3]),
        thread=st.sampled_from(THREADS),
        sentence="{user} asks {question!r}",
    )
    async def ask(self, user: User, question: str, thread: int) -> str:
        """Send a message to one agent; it happened when the platform acknowledged it."""
        return await _send(user, question, thread, CHAT)

    @operation(
        when=is_connected,
        needs=(),
        weight=8,
        question=st.sampled_from((*QUESTIONS[:3], *QUESTIONS)),
        thread=st.sampled_from(THREADS),
        workflow=workflows(),
        sentence="{user} asks {question!r} of {workflow}",
    )
    async def run_workflow(self, user: User, question: str, thread: int, workflow: dict[str, list[str]]) -> str:
        """Send a message to several agents."""
        return await _send(user, question, thread, {node: tuple(needed) for node, needed in workflow.items()})

    @operation(when=has_asked, needs=(), sentence="{user} cancels what they asked last")
    async def cancel(self, user: User) -> str:
        """Ask for the last message to be given up; it happened when the platform said so."""
        message = f"{user.name}-{user.memory['asked']}"
        return _confirmed(await client_of(user).cancel(message), f"the cancellation of {message}", message)

    @operation(when=has_session, needs=(), sentence="{user} logs out from another device")
    async def log_out(self, user: User) -> str:
        """End the session, on a connection beside the one that is open."""
        token = chat_client_of(user).token
        assert token is not None
        session = user.memory["session"]
        answers = await _say(Hello(token=token), Logout(), on_sent=_observing(user))
        for answer in answers:
            user.observe("answered_beside", frame=_as_observed(answer))
        if isinstance(answers[-1], ErrorFrame) and answers[-1].code in ("unauthorised", "expired"):
            raise Failed(answers[-1].code)
        if not isinstance(answers[-1], LoggedOut):
            raise ConnectionError(f"no confirmation of the log-out: {answers[-1]}")
        user.memory["ended"] = (session, token)
        return str(session)

    @operation(when=has_session, needs=(), weight=0, sentence="{user} looks in from another device")
    async def look_in(self, user: User) -> list[str]:
        """Connect a device that has seen nothing to the same session, and read there what this one has read."""
        client = chat_client_of(user)
        assert client.token is not None
        seen = client.last_seen
        replies = await read_back("gateway", GATEWAY_PORT, Hello(token=client.token), seen)
        if [each.seq for each in replies] != [*range(1, seen + 1)]:
            raise Failed(f"the other device was told {[each.seq for each in replies]}, and this one 1 to {seen}")
        return [each.to for each in replies]

    @operation(
        when=is_connected,
        needs=(),
        weight=3,
        how=st.sampled_from(TRESPASSES),
        sentence="{user} tries to trespass ({how})",
    )
    async def trespass(self, user: User, how: str) -> str:
        """Connect once more in a way that must be refused, and say what came of it."""
        attempt = self._trespasser(user).attempt(how)
        answer = (await _say(attempt.frame))[-1]
        told = {"token": claimed_by(attempt.token)} if attempt.token else {}
        user.observe("trespassed", how=attempt.how, session=attempt.session, frame=_as_observed(answer), **told)
        return answer.code if isinstance(answer, ErrorFrame) else str(_as_observed(answer)["type"])

    @operation(when=is_connected, needs=(), text=malformed_frames(), sentence="{user} sends {text!r}")
    async def send_malformed(self, user: User, text: str) -> str:
        """Send what is no frame of the protocol; it must be refused and nothing else may happen."""
        code = await chat_client_of(user).send_malformed(text)
        if code is None:
            raise Failed("not sent: not connected, or the last one is not answered yet")
        if not code:
            raise ConnectionError("the malformed frame was not refused")
        return code

    @operation(
        when=is_connected,
        needs=(),
        for_s=st.sampled_from((0.5, STALL_S_MAX)),
        sentence="{user}'s device does not read for {for_s} s",
    )
    async def stall(self, user: User, for_s: float) -> None:
        """Read nothing for a while."""
        client_of(user).stall(for_s)

    # The end of a run

    async def settle(self, user: User) -> None:
        """Let users who left come back, so that they get what they missed."""
        if "left" in user.memory:
            await user.memory["left"].wait()
        if is_known(user):
            client_of(user).logs_in_again = True
            if is_away(user):
                await self._connect(user)

    def pending(self, history: History) -> Iterable[Pending]:
        """Name messages under way or unanswered, connections just ending, undrained analytics, breakers not closed."""
        return unfinished(history)

    async def inspect(self, observer: Observer) -> None:
        """Record what the stores hold."""
        observe: Any = observer.observe
        if observer.reaches("postgres"):
            async with WireDatabase.opened(host="postgres", port=POSTGRES_PORT, timeout_s=WELCOME_WITHIN_S) as database:
                await inspect_postgres(observe, database)
        if observer.reaches("redis"):
            await inspect_redis(observe, "redis", REDIS_PORT)
        if observer.reaches("clickhouse"):
            await inspect_clickhouse(observe, f"http://clickhouse:{CLICKHOUSE_PORT}/")

    def samples(self, history: History) -> Iterable[Sample]:
        """Return how long users waited for acknowledgements and answers, and agents for ClickHouse."""
        return measures(history)

    def conformities(self, history: History) -> Iterable[Conformity]:
        """Return how every frame of a gateway, and every document between services, compares with asyncapi.json."""
        return conformities(history)

    def transitions(self) -> Iterable[str]:
        """Name those of every breaker, of the frames of a connection, and of an agent's events."""
        processes = [host for host in self.for_run().hosts() if host.on_terminate is not None]
        return transitions({host.name: host.needs for host in processes})

    def transitions_in(self, history: History) -> Iterable[str]:
        """Name those that a history shows."""
        return transitions_in(history)

    def contract_journeys(self) -> Mapping[str, Journey]:
        """Return the users' own, a long stay, and one per way in which a frame can be malformed."""
        connect, leave = Leg("connect"), Leg("leave", {"clean": True})
        stay = Leg("connect", pause=self.token_s * REFRESH_AFTER + STAY_S)
        malformed = {
            f"malformed: {wrong}": Journey(
                f"{wrong.capitalize()}: refused, and served all the same",
                (
                    connect,
                    *(Leg("send_malformed", {"text": text}, MALFORMED_PAUSE_S, result=BAD_REQUEST) for text in texts),
                    Leg("ask", {"question": "what went wrong on visit {number}?", "thread": 1}, 3.0),
                    leave,
                ),
            )
            for wrong, texts in malformed_texts().items()
        }
        return {**super().contract_journeys(), "stay": Journey("A token that is refreshed", (stay, leave)), **malformed}

    def operation_behind(self, logged: Event) -> Invocation | None:
        """Say what a user did by what the gateways log. What they asked is not told: it is the first of the questions.

        A connection beside another, and the end of one of several, are no operations of their own.
        """
        place = logged.host, logged.data.get("connection")
        match logged.name:
            case "connection_opened":
                user = str(logged.data.get("user"))
                is_first = all(user != each for each, _ in self.logged_in.values())
                self.logged_in[place] = user, str(logged.data.get("session"))
                return Invocation(user, "connect") if is_first else None
            case "connection_closed" if place in self.logged_in:
                user, _ = self.logged_in.pop(place)
                is_last = all(user != each for each, _ in self.logged_in.values())
                return Invocation(user, "leave", {"clean": True}) if is_last else None
            case "message_accepted":
                asked: dict[str, Any] = {"question": QUESTIONS[0], "thread": THREADS[0]}
                return Invocation(str(logged.data.get("user")), "ask", asked)
            case "session_ended":
                ended = [user for user, session in self.logged_in.values() if session == logged.data.get("session")]
                return Invocation(ended[0], "log_out") if ended else None
            case _:
                return None

    async def _connect(self, user: User) -> None:
        user.memory["wants_connection"] = True
        connected = user.memory["connected"] = trio.Event()
        if not is_known(user):
            user.memory["client"] = _new_client(user, self)
        client = client_of(user)
        user.start_soon(client.run)
        with trio.fail_after(WELCOME_WITHIN_S):
            await connected.wait()

    def _trespasser(self, user: User) -> Trespasser:
        return Trespasser(
            user=user.name,
            other="bob" if user.name == "alice" else "alice",
            secret=DEMO_SECRET,
            token=chat_client_of(user).token,
            ended=user.memory.get("ended"),
            expired=_expired_token(user, self.token_s),
            others_session=next((each for name, each in self.sessions.items() if name != user.name), None),
        )


def client_of(user: User) -> Device:
    """Return the client that the user made when they first connected."""
    client: Device = user.memory["client"]
    return client


def chat_client_of(user: User) -> ChatClient:
    """Return the client of a user of this platform, for what only its protocol has."""
    client = client_of(user)
    assert isinstance(client, ChatClient)
    return client


def postgres_troubles(postgres: SimulatedPostgreSQL) -> tuple[Trouble, ...]:
    """Return what the simulated PostgreSQL can be made to do."""
    switches = (
        ("postgres-slow-commits", postgres.slow_commits, "commits take a second longer in {0}, for {for_s} s"),
        ("postgres-lost-commits", postgres.lose_commits, "{0} cuts connections at their commit, for {for_s} s"),
        ("postgres-lost-answers", postgres.lose_commit_answers, "{0} commits and does not say so, for {for_s} s"),
        ("postgres-refusing", postgres.refuse_connections, "{0} has too many connections for {for_s} s"),
    )
    return tuple(
        Trouble(name, begin=partial(switch, True), end=partial(switch, False), sentence=sentence)
        for name, switch, sentence in switches
    )


def _platform_host(name: str, releases: Sequence[PlatformConfig], role: str, **host: Any) -> Host:
    """Return a host on which one role of the platform runs.

    It runs the first of the releases. With a second one the host can be made to run that when it is started next.
    """
    stopping: list[trio.Event] = []
    installed = [releases[0]]

    async def main() -> None:
        stopping[:] = [trio.Event()]
        async with WireDatabase.opened(host="postgres", port=POSTGRES_PORT) as database:
            await serve(installed[0], database=database, roles=(role,), stopping=stopping[0])

    def terminate() -> None:
        for event in stopping:
            event.set()

    def install(release: PlatformConfig) -> None:
        installed[:] = [release]

    troubles = [
        Trouble(NEXT_RELEASE, partial(install, each), partial(install, releases[0]), NEXT_RELEASE_SENTENCE)
        for each in releases[1:]
    ]
    return Host(name, main, on_terminate=terminate, troubles=tuple(troubles), **host)


async def _send(user: User, question: str, thread: int, workflow: Mapping[str, tuple[str, ...]]) -> str:
    number = user.memory["asked"] = user.memory.get("asked", 0) + 1
    message, context = f"{user.name}-{number}", f"{user.name}/{thread}"
    text = f"{question} ({context})" if question == PERSONAL else question
    drawn: dict[str, Any] = {node: list(needed) for node, needed in workflow.items()}
    user.observe("message_sent", message=message, context=context, text=text, workflow=drawn)
    return _confirmed(await client_of(user).send(message, text, context, workflow), message, message)


def _confirmed(outcome: Outcome, what: str, result: str) -> str:
    """Return the result of something that was acknowledged; raise what says that it was not."""
    match outcome:
        case Outcome.OK:
            return result
        case Outcome.FAIL:
            raise Failed(f"{what} was refused or never sent")
        case _:
            raise ConnectionError(f"no acknowledgement of {what}")


async def _say(*frames: ClientFrame, on_sent: Callable[[ClientFrame], None] = lambda _frame: None) -> list[ServerFrame]:
    """Say something on a connection of its own."""
    return await converse_once("gateway", GATEWAY_PORT, *frames, on_sent=on_sent)


def _observing(user: User) -> Callable[[ClientFrame], None]:
    """Return what observes the frames that a user's devices send, but for those that are meant to be refused."""
    return lambda frame: user.observe("frame_sent", **_as_observed(frame))


def _as_observed(frame: ClientFrame | ServerFrame) -> dict[str, Any]:
    """Return a frame's fields as they travel. A token is a secret: of one there is only what it claims."""
    fields: dict[str, Any] = msgspec.json.decode(encode(frame))
    if "token" in fields:
        fields["token"] = claimed_by(fields["token"])
    return fields


def _expired_token(user: User, token_s: float) -> str | None:
    """Return the newest of the user's tokens that has certainly expired."""
    received_until_s = trio.current_time() - token_s - EXPIRED_FOR_S
    tokens: list[tuple[float, str]] = user.memory.get("tokens", [])
    return next((token for received_s, token in reversed(tokens) if received_s < received_until_s), None)


def _new_client(user: User, system: ChatSystem) -> Device:
    def on_state(state: str) -> None:
        user.observe("client_state", state=state)
        if state == "connected":
            user.memory["connected"].set()
        elif state == "ended" and client_of(user).logs_in_again:
            user.start_soon(client_of(user).run)
        elif state in ("ended", "refused"):
            user.memory["wants_connection"] = False

    if system.adapter is not None:
        return _adapted_client(user, system.adapter, system.credentials, on_state)
    sessions = system.sessions

    def on_frame(frame: ServerFrame) -> None:
        user.observe("frame", **_as_observed(frame))
        if isinstance(frame, Welcome | Token):
            user.memory.setdefault("tokens", []).append((trio.current_time(), frame.token))
        if isinstance(frame, Welcome):
            user.memory["session"] = sessions[user.name] = frame.session

    def on_unreadable(text: str) -> None:
        user.observe("frame_unreadable", text=TOKEN.sub(r'\1"..."', text))

    return ChatClient(
        user=user.name,
        login=issue_login(user.name, DEMO_SECRET),
        host="gateway",
        port=GATEWAY_PORT,
        on_frame=on_frame,
        on_state=on_state,
        on_unreadable=on_unreadable,
        on_sent=_observing(user),
    )


def _adapted_client(
    user: User, adapter: type[Adapter], credentials: Mapping[str, str], on_state: Callable[[str], None]
) -> Device:
    def on_frame(frame: ServerFrame) -> None:
        fields: dict[str, Any] = msgspec.to_builtins(frame)
        user.observe("frame", **fields | ({"token": "..."} if "token" in fields else {}))

    def on_error(error: Exception) -> None:
        told = fault_in(adapter, error)
        if told is not None:
            raise AdapterFailedError(told) from error

    try:
        speaks = adapter(user.name, credentials)
    except Exception as error:
        on_error(error)
        raise
    return AdaptedClient(
        adapter=speaks,
        host="gateway",
        port=GATEWAY_PORT,
        on_frame=on_frame,
        on_state=on_state,
        on_secret=conceal,
        on_error=on_error,
    )


def _type_of(frame: type) -> str:
    """Return the type of a kind of frame, as it is observed."""
    assert issubclass(frame, msgspec.Struct)
    return str(frame.__struct_config__.tag)


class DeployedChatSystem(ChatSystem):
    """The platform with tokens that are valid for as long as in a deployment: what is put under load."""

    token_s: ClassVar[int] = 300
    next_releases: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"runs_at_once": 4, "cache_s": 30, "poll_s": 1.0, "drain_batch": 50},
    )


system = ChatSystem()
deployed = DeployedChatSystem()
