"""The agents: what each kind does with a message and the results it needs, with which tools, and how it fails.

`triage`, `optimisation` and `report` ask the LLM, and do without its answer while it is away (`degraded`). `data` looks
a fact up in ClickHouse, and fails without it. `action` does something on the user's behalf: its effect is stored with
its result, in one transaction.
"""

import hashlib
import re
from collections.abc import AsyncIterable, Callable
from functools import partial
from typing import NoReturn

import attrs
import msgspec
import stamina
import stamina.instrumentation
import structlog
import trio

from models.breaker import Breaker, BreakerOpenError
from models.cache import AnswerCache
from models.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from models.config import PlatformConfig
from models.events import Events
from models.ledger import OpenMessage
from models.llm import LLM, ChatMessage, LLMRefusedError, LLMUnavailableError, RateLimitedError
from models.protocol import AgentEvent
from models.workflow import NodeOutcome, kind_of

__all__ = ["FACTS", "Agents", "Task"]

FACTS = (("uptime", "99"), ("latency", "120"), ("cost", "7"))
CREATE_FACTS = (
    "CREATE TABLE IF NOT EXISTS facts (name String, value String) ENGINE = ReplacingMergeTree() ORDER BY name"
)
ADD_FACTS = "INSERT INTO facts FORMAT JSONEachRow"
FIND_FACT = "SELECT value FROM facts FINAL WHERE name = '{name}' FORMAT TabSeparated"
RETRY_FIRST_S = 0.1
RETRY_LAST_S = 1.0
RETRY_AFTER_S_MAX = 2.0
"""A service that wants more rest than that is done without for now."""
ECHO = "Begin your answer with the next line, word for word."
"""What every LLM is told, so that an answer to another conversation is recognised: see `_is_to`."""

# Retries are events of ours; stamina would log them with times of a clock that is not the platform's.
stamina.instrumentation.set_on_retry_hooks(())
log = structlog.get_logger()


@attrs.frozen
class Task:
    """One node of one run, with the results of those it depends on, by their names."""

    message: OpenMessage
    node: str
    inputs: tuple[str, ...]

    @property
    def question(self) -> str:
        """What is asked of the agent: the user's words and, in short, what others found."""
        if not self.inputs:
            return self.message.text
        return f"{self.message.text} given {digest(self.inputs)}"


def _system(task: Task) -> str:
    """Word who is asked: the agent's kind, and the conversation, which every answer then names."""
    return f"{kind_of(task.node)} for {task.message.context}"


def _is_to(system: str, answer: str) -> bool:
    """Say whether an answer names its conversation: not only the beginning of its name, which may be another's."""
    return re.search(rf"(?<!\S){re.escape(system)}(?!\S)", answer) is not None


def digest(inputs: tuple[str, ...]) -> str:
    """Return results in eight characters."""
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:8]


class Agents:
    """Performs tasks. What goes wrong is an outcome, not an error."""

    def __init__(
        self,
        *,
        llm: LLM,
        llm_breaker: Breaker,
        clickhouse: ClickHouse,
        cache: AnswerCache,
        events: Events,
        config: PlatformConfig,
    ) -> None:
        self._llm = llm
        self._llm_breaker = llm_breaker
        self._clickhouse = clickhouse
        self._cache = cache
        self._events = events
        self._config = config
        self._has_facts = False
        self._rests_until_s = 0.0  # before that the LLM does not want to be asked
        self._latest: Task | None = None  # read by planted defects only

    async def perform(self, task: Task) -> NodeOutcome:
        """Do the work of a node and tell of it."""
        tell = partial(self._tell, task)
        self._latest = task
        tell("agent_started")
        outcome = NodeOutcome("failed", "timed out")
        with trio.move_on_after(self._node_timeout_s()):
            outcome = await self._work(task, tell)
        if self._config.has("context-logged"):
            at_hand = self._latest.message
            log.info("agent_finished", user=task.message.user, context=at_hand.context, question=at_hand.text)
        if outcome.has_result:
            tell("agent_completed", detail=outcome.status)
        else:
            tell("agent_failed", detail=outcome.result)
        return outcome

    def skip(self, message: OpenMessage, node: str) -> NodeOutcome:
        """Leave a node out because of what failed before it."""
        self._tell(Task(message, node, ()), "agent_skipped")
        return NodeOutcome("skipped")

    def acts(self, node: str) -> bool:
        """Say whether a node has an effect."""
        return kind_of(node) == "action"

    async def probe_forever(self) -> NoReturn:
        """Ask the LLM for next to nothing whenever its breaker is not closed, until cancelled."""
        ping = [ChatMessage("user", "ping")]
        await self._llm_breaker.probe_forever(
            lambda: self._llm_breaker.call(lambda: self._llm.complete(ping, user="platform"), counts=self._llm_failed)
        )

    async def _work(self, task: Task, tell: Callable[..., None]) -> NodeOutcome:
        match kind_of(task.node):
            case "data":
                return await self._look_up(task, tell)
            case "action":
                return NodeOutcome("completed", f"{task.node} did {task.question} for {task.message.context}")
            case _:
                return await self._think(task, tell)

    async def _think(self, task: Task, tell: Callable[..., None]) -> NodeOutcome:
        user, system = task.message.user, _system(task)
        answer = await self._cache.load(user, system, task.question)
        while answer is None:
            try:
                async for attempt in self._attempts(LLMUnavailableError):
                    with attempt:
                        tell("agent_thinking", attempt=attempt.num)
                        answer = await self._ask(user, self._system_now(task, attempt.num), task)
            except LLMRefusedError:
                return NodeOutcome("failed", "refused")
            except (LLMUnavailableError, BreakerOpenError):
                if self._config.has("llm-outage-waited-out"):
                    await trio.sleep(self._config.retry_s)
                    continue
                return NodeOutcome("degraded", f"{task.question}: nobody to ask for {system}")
            assert answer is not None
            await self._cache.keep(user, system, task.question, answer)
        return NodeOutcome("completed", answer)

    def _system_now(self, task: Task, attempt: int) -> str:
        shared = self._config.has("context-shared-between-runs")
        if shared or (attempt > 1 and self._config.has("retry-rebuilds-context")):
            assert self._latest is not None
            return _system(attrs.evolve(task, message=self._latest.message))
        return _system(task)

    def _node_timeout_s(self) -> float:
        waits = self._config.has("llm-outage-waited-out") or self._config.has("cache-is-mandatory")
        return float("inf") if waits else self._config.node_timeout_s

    async def _ask(self, user: str, system: str, task: Task) -> str:
        async def complete() -> str:
            prompt = [ChatMessage("system", ECHO), ChatMessage("system", system), ChatMessage("user", task.question)]
            answer = await self._llm.complete(prompt, user=user)
            if not _is_to(system, answer) and not self._config.has("answer-not-checked"):
                raise LLMUnavailableError("the answer is not to this conversation")
            return answer

        rest_s = self._rests_until_s - trio.current_time()
        if rest_s > 0:
            raise RateLimitedError("still limited", retry_after_s=rest_s)
        try:
            return await self._llm_breaker.call(complete, counts=self._llm_failed)
        except RateLimitedError as error:
            self._rests_until_s = trio.current_time() + (error.retry_after_s or 0.0)
            raise

    def _llm_failed(self, error: Exception) -> bool:
        """A refusal is our mistake, and who limits our rate is well."""
        if isinstance(error, LLMRefusedError):
            return self._config.has("refusals-count-as-failures")
        return isinstance(error, LLMUnavailableError) and not isinstance(error, RateLimitedError)

    async def _look_up(self, task: Task, tell: Callable[..., None]) -> NodeOutcome:
        name, _ = FACTS[len(task.message.text) % len(FACTS)]
        value = None
        try:
            async for attempt in self._attempts(ClickHouseUnavailableError):
                with attempt:
                    tell("tool_executing", attempt=attempt.num, detail="clickhouse")
                    try:
                        value = await self._find(name)
                    finally:
                        if self._config.has("completed-before-tool") and value is not None:
                            tell("agent_completed", detail="completed")
                        tell("tool_completed", attempt=attempt.num, detail="failed" if value is None else "ok")
        except (ClickHouseUnavailableError, ClickHouseRefusedError):
            return NodeOutcome("failed", "no data")
        return NodeOutcome(
            "completed", f"{task.node} found {name}={value} given {digest(task.inputs)} for {task.message.context}"
        )

    async def _find(self, name: str) -> str:
        if not self._has_facts:
            rows = b"\n".join(msgspec.json.encode({"name": key, "value": value}) for key, value in FACTS)
            await self._clickhouse.query((CREATE_FACTS, b""), (ADD_FACTS, rows))
            self._has_facts = True
        found = await self._clickhouse.query((FIND_FACT.format(name=name), b""))
        if not found:
            self._has_facts = False
            raise ClickHouseUnavailableError("the facts are not visible")
        return found.strip()

    def _attempts(self, error: type[Exception]) -> AsyncIterable[stamina.Attempt]:
        def backoff(raised: Exception) -> bool | float:
            if isinstance(raised, RateLimitedError) and raised.retry_after_s is not None:
                return raised.retry_after_s if raised.retry_after_s <= RETRY_AFTER_S_MAX else False
            return isinstance(raised, error)

        return stamina.retry_context(
            on=backoff,
            attempts=self._config.node_tries,
            timeout=None,
            wait_initial=RETRY_FIRST_S,
            wait_max=RETRY_LAST_S,
            wait_jitter=RETRY_FIRST_S,
        )

    def _tell(self, task: Task, event: str, *, attempt: int = 1, detail: str = "") -> None:
        self._events.emit(
            task.message.user,
            AgentEvent(id="", event=event, to=task.message.id, node=task.node, attempt=attempt, detail=detail),
        )
