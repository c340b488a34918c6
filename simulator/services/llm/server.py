"""A language model's service: HTTP over Trio's sockets, in front of a rule in place of a model."""

import hmac
import time
from functools import partial
from http import HTTPStatus

import attrs
import h11
import msgspec
import structlog
import trio

from simulator.errors import InputError
from simulator.fault import Trouble
from simulator.services.answer import send_answer
from simulator.services.capacity import Capacity
from simulator.services.http import Request, serve_requests
from simulator.services.llm.reply import MODELS, Reply, from_json, refusal, reply_to
from simulator.services.llm.request import Conversation, RefusedError, conversation
from simulator.services.llm.troubles import CROSS_TALK, CUT, FAIL, MALFORM, RATE_LIMIT, SLOW, TROUBLES

__all__ = ["SimulatedLLM"]

SLOW_S = 3.0
ANSWERED = "answered"
GONE = "gone"
DECISIVE = (RATE_LIMIT, FAIL, MALFORM, CUT, CROSS_TALK)
"""The troubles that decide what becomes of a request: of several, the first."""

log = structlog.get_logger()


class _Order(msgspec.Struct):
    """The body of a request to `/_trouble`."""

    name: str
    on: bool


@attrs.define
class _Memory:
    """What one process remembers: how often it was asked, and the answers to the last two users, the latest last."""

    asked: int = 0
    answers: tuple[tuple[str, str], ...] = ()

    def tell(self, user: str, answer: str) -> str | None:
        """Note a user's answer. Return the last one to somebody else, if there was one."""
        self.asked += 1
        others = [each for each in self.answers if each[0] != user][-1:]
        self.answers = (*others, (user, answer))
        return others[0][1] if others else None


class SimulatedLLM:
    """The machine that runs a language model's service.

    It speaks OpenAI's chat completions: POST /v1/chat/completions, streamed or not, and GET /v1/models. Its answer is a
    function of the conversation, "<last user message> -> <last system message>", whatever model is named. Of parameters
    it knows model, messages, user and stream, and refuses every other by name. What is asked is logged as `llm_asked`,
    what became of it as `llm_answered`: the outcome is `answered`, the name of the trouble, or `gone` for a client
    that was.

    Its troubles are switches that hold, through crashes too, until they are switched off. They strike requests that
    arrive meanwhile. Of several, the first of `llm-rate-limited`, `llm-failing`, `llm-malformed`, `llm-cut`
    and `llm-cross-talk` decides; `llm-slow` goes with all but the first of these.

    Not modelled: limits on rate and tokens, tools, several choices, content in parts, roles but three, idle connections
    that are closed, and a client that goes away before its answer is begun. A token is a word.
    """

    def __init__(
        self,
        *,
        port: int = 8080,
        host: str | None = None,
        latency_s: float = 0.02,
        api_key: str | None = None,
        context_characters_max: int | None = None,
        control: bool = False,
        capacity: Capacity | None = None,
    ) -> None:
        """Make a service that is not started yet.

        An answer takes `latency_s`, or as long as its `capacity` says; a streamed one begins at half of that. With an
        `api_key` nobody is served without it. Conversations of more than `context_characters_max` are refused.
        `control` says whether POST /_trouble, with a `name` and `on`, can switch troubles, without a key.
        """
        self._port = port
        self._host = host
        self._latency_s = latency_s
        self._capacity = capacity if capacity is not None else Capacity()
        self._api_key = api_key
        self._context_characters_max = context_characters_max
        self._control = control
        self._troubles: frozenset[str] = frozenset()
        self._memory = _Memory()

    @property
    def port(self) -> int:
        """The port; if 0 was asked for, from the first start on the one that was free then."""
        return self._port

    async def main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. `task_status` says when the service listens."""
        memory = self._memory = _Memory()
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(partial(self._serve, memory), listeners)

    def crash(self) -> None:
        """Take the process down at this instant: its tasks, still to be cancelled, change nothing any more."""
        self._memory = _Memory()

    # Troubles

    def slow(self, on: bool) -> None:
        """Take 3 s for every answer."""
        self.strike(SLOW, on=on)

    def rate_limit(self, on: bool) -> None:
        """Refuse every conversation at once, with 429 and Retry-After."""
        self.strike(RATE_LIMIT, on=on)

    def cut(self, on: bool) -> None:
        """End the connection after the first piece of a streamed answer, or in the middle of another's body."""
        self.strike(CUT, on=on)

    def malform(self, on: bool) -> None:
        """Send, with status 200, an event of broken JSON, or JSON that is no completion."""
        self.strike(MALFORM, on=on)

    def cross_talk(self, on: bool) -> None:
        """Answer with what the last other user was told, when there was one."""
        self.strike(CROSS_TALK, on=on)

    def fail(self, on: bool) -> None:
        """Answer 500."""
        self.strike(FAIL, on=on)

    def strike(self, name: str, *, on: bool) -> None:
        """Switch a trouble of TROUBLES. Raises InputError for another name."""
        if name not in TROUBLES:
            raise InputError(f"no trouble named {name!r}. Known: {', '.join(TROUBLES)}.")
        self._troubles = self._troubles | {name} if on else self._troubles - {name}

    def troubles(self) -> tuple[Trouble, ...]:
        """Return all of them, for the declaration of a host."""
        return tuple(
            Trouble(name, partial(self.strike, name, on=True), partial(self.strike, name, on=False), sentence)
            for name, sentence in TROUBLES.items()
        )

    # Requests

    async def _serve(self, memory: _Memory, stream: trio.SocketStream) -> None:
        async def handle(request: Request, connection: h11.Connection) -> bool:
            if memory is not self._memory:
                return False
            await self._answer(request, connection, stream)
            return True

        await serve_requests(stream, handle)

    async def _answer(self, request: Request, connection: h11.Connection, stream: trio.SocketStream) -> None:
        try:
            reply = self._route(request)
        except RefusedError as error:
            reply = refusal(error)
        if request.method == "HEAD" and isinstance(reply, Reply):
            reply = attrs.evolve(reply, parts=(b"",))
        if isinstance(reply, Reply):
            await _send(reply, connection, stream)
        else:
            await self._complete(reply, connection, stream)

    def _route(self, request: Request) -> Reply | Conversation:
        """Return the reply, or the conversation that wants one. Raises RefusedError."""
        path = request.target.partition("?")[0]
        if self._control and (request.method, path) == ("POST", "/_trouble"):
            return self._obey(request.body)
        self._check_key(request.headers.get("authorization", ""))
        match request.method, path:
            case "POST", "/v1/chat/completions":
                return self._fitting(conversation(request.body))
            case "GET", "/v1/models":
                return from_json(MODELS)
            case method, path:
                raise RefusedError(HTTPStatus.NOT_FOUND, f"Invalid URL ({method} {path})")

    def _fitting(self, asked: Conversation) -> Conversation:
        length, length_max = sum(len(content) for _role, content in asked.messages), self._context_characters_max
        if length_max is not None and length > length_max:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                f"This model's maximum context length is {length_max} characters. Your messages have {length}.",
                param="messages",
                code="context_length_exceeded",
            )
        return asked

    def _obey(self, body: bytes) -> Reply:
        try:
            order = msgspec.json.decode(body, type=_Order)
            self.strike(order.name, on=order.on)
        except (msgspec.DecodeError, UnicodeDecodeError, InputError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        return from_json({"name": order.name, "on": order.on})

    def _check_key(self, authorization: str) -> None:
        if self._api_key is None:
            return
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "You didn't provide an API key.")
        if not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided.", code="invalid_api_key")

    async def _complete(self, asked: Conversation, connection: h11.Connection, stream: trio.SocketStream) -> None:
        log.info("llm_asked", user=asked.user, system=asked.system, question=asked.question)
        other = self._memory.tell(asked.user, asked.answer)
        outcome = self._outcome(has_other=other is not None)
        reply = reply_to(
            asked,
            other if other is not None and outcome == CROSS_TALK else asked.answer,
            number=self._memory.asked,
            created=int(time.time()),
            outcome=outcome,
        )
        try:
            if outcome == RATE_LIMIT:
                await _send(reply, connection, stream)
            else:
                async with self._capacity.turn() as service_s:
                    delay_s = SLOW_S if SLOW in self._troubles else service_s or self._latency_s
                    await _send(reply, connection, stream, delay_s=delay_s)
        except trio.BrokenResourceError:
            log.info("llm_answered", user=asked.user, outcome=GONE)
            raise
        log.info("llm_answered", user=asked.user, outcome=outcome)

    def _outcome(self, *, has_other: bool) -> str:
        """Return what is to become of a request that arrives now."""
        candidates = DECISIVE if has_other else DECISIVE[:-1]
        return next((each for each in candidates if each in self._troubles), ANSWERED)


async def _send(reply: Reply, connection: h11.Connection, stream: trio.SocketStream, *, delay_s: float = 0.0) -> None:
    """Send a reply, each part after its share of the delay."""
    status = reply.status
    data = connection.send(h11.Response(status_code=status, headers=list(reply.headers), reason=status.phrase))
    for number, part in enumerate(reply.parts, 1):
        if delay_s:
            await trio.sleep(delay_s / len(reply.parts))
        data += connection.send(h11.Data(data=part))
        if reply.is_whole and number == len(reply.parts):
            data += connection.send(h11.EndOfMessage())
        await send_answer(stream, data)
        data = b""
