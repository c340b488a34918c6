"""The supervisor: runs the workflow of every open message in the ledger, each user's messages one after another.

It keeps nothing that the ledger does not: after a crash the runs go on from the results that are stored there.
"""

from typing import NoReturn

import structlog
import trio

from models.agents import Agents, Task
from models.analytics import Analytics, Event
from models.config import PlatformConfig
from models.ledger import Ledger, LedgerRefusedError, LedgerUnavailableError, OpenMessage
from models.protocol import Reply
from models.store import STREAM_START, StoreUnavailableError
from models.streams import Streams
from models.workflow import NodeOutcome, Workflow

__all__ = ["Supervisor"]

log = structlog.get_logger()


class Supervisor:
    """Looks for work, and sees it done."""

    def __init__(
        self, *, ledger: Ledger, streams: Streams, agents: Agents, analytics: Analytics, config: PlatformConfig
    ) -> None:
        self._ledger = ledger
        self._streams = streams
        self._agents = agents
        self._analytics = analytics
        self._config = config
        self._limit = trio.CapacityLimiter(config.runs_at_once)
        # Per user who has a task, what it will do next, by run: each as the ledger had it when we looked last.
        self._waiting: dict[str, dict[str, OpenMessage]] = {}
        self._known: set[str] = set()  # runs that are waiting, under way, or answered a moment ago; only looked up
        self._answered: list[str] = []
        self._under_way: dict[str, trio.CancelScope] = {}
        self._work_is_there = trio.Event()
        self._nursery: trio.Nursery

    async def run(self, stopping: trio.Event) -> None:
        """Work until `stopping`; then finish what is under way, within `drain_s`, and return.

        What is not finished by then is still in the ledger.
        """
        async with trio.open_nursery() as self._nursery, trio.open_nursery() as looking:
            looking.start_soon(self._listen)
            looking.start_soon(self._look)
            await stopping.wait()
            looking.cancel_scope.cancel()
            for waiting in self._waiting.values():
                waiting.clear()
            self._nursery.cancel_scope.deadline = trio.current_time() + self._config.drain_s

    async def _listen(self) -> NoReturn:
        """Look at once when work is announced."""
        seen = STREAM_START
        while True:
            try:
                last = await self._streams.wait_work(seen)
            except StoreUnavailableError as error:
                log.info("supervisor_cannot_listen", error=str(error))
                await trio.sleep(self._config.retry_s)
            else:
                if last != seen:
                    self._work_is_there.set()
                seen = last

    async def _look(self) -> NoReturn:
        """Look into the ledger when work is announced, and from time to time."""
        is_first = True
        while True:
            answered, self._answered = self._answered, []
            try:
                messages = await self._ledger.open_messages()
            except LedgerUnavailableError as error:
                log.info("supervisor_cannot_look", error=str(error))
                self._answered += answered
                await trio.sleep(self._config.retry_s)
                continue
            # What was answered before this look began is not in it any more, and need not be remembered.
            self._known.difference_update(answered)
            if is_first and messages and self._config.has("recovery-waits-for-clickhouse"):
                await self._analytics.wait_for_table()
            is_first = False
            for message in messages:
                self._take(message)
            with trio.move_on_after(self._config.poll_s):
                await self._work_is_there.wait()
            self._work_is_there = trio.Event()

    def _take(self, message: OpenMessage) -> None:
        """Give a message that is new to its user's task."""
        if message.is_cancelled and message.run in self._under_way:
            if self._config.has("cancelled-run-goes-on"):
                self._nursery.start_soon(self._store, message, _cancelled(message))
            else:
                self._under_way[message.run].cancel()
        waiting = self._waiting.get(message.user)
        if message.run in self._known:
            if waiting is not None and message.run in waiting:
                waiting[message.run] = message  # it may have been cancelled
            return
        self._known.add(message.run)
        if waiting is not None:
            waiting[message.run] = message
        else:
            self._waiting[message.user] = {message.run: message}
            self._nursery.start_soon(self._work_for, message.user)

    async def _work_for(self, user: str) -> None:
        """Answer a user's messages in the order in which they were accepted."""
        waiting = self._waiting[user]
        while waiting:
            async with self._limit:
                if not waiting:
                    break  # we are to end, and have begun nothing
                message = waiting.pop(next(iter(waiting)))
                if self._config.has("answers-overtake"):
                    self._nursery.start_soon(self._answer, message)
                else:
                    await self._answer(message)
        del self._waiting[user]

    async def _answer(self, message: OpenMessage) -> None:
        log.info("run_started", user=message.user, message=message.id)
        reply = _cancelled(message)
        if not message.is_cancelled:
            with trio.CancelScope() as self._under_way[message.run]:
                reply = await self._execute(message)
            del self._under_way[message.run]
            if self._config.has("analytics-in-the-way"):
                await self._analytics.write_directly(Event.of(message))
        stored = await self._store(message, reply)
        self._answered.append(message.run)
        self._analytics.record(Event.of(message))
        try:
            await self._streams.publish_reply(message.user, stored)
        except StoreUnavailableError as error:
            # Who waits for it finds it in the ledger.
            log.info("reply_not_published", user=message.user, message=message.id, error=str(error))

    async def _store(self, message: OpenMessage, reply: Reply) -> Reply:
        """Store the reply, however long that takes; a message that is to be cancelled by now is cancelled."""
        while True:
            try:
                stored = await self._ledger.answer(message, reply)
            except LedgerUnavailableError as error:
                log.info("reply_not_stored", user=message.user, message=message.id, error=str(error))
                await trio.sleep(self._config.retry_s)
            else:
                if stored is not None:
                    log.info(
                        "reply_stored", user=message.user, message=message.id, seq=stored.seq, status=stored.status
                    )
                    return stored
                reply = _cancelled(message)

    async def _execute(self, message: OpenMessage) -> Reply:
        """Run the workflow from where the ledger says it is, and word the reply."""
        workflow = Workflow(message.workflow, any_suffices=self._config.has("dependents-start-early"))
        outcomes = await self._load_results(message)
        started = set(outcomes)  # only looked up

        def start_more() -> None:
            if self._config.has("failed-dependency-ignored"):
                outcomes.update({each: NodeOutcome("completed") for each in outcomes if not outcomes[each].has_result})
            for node in workflow.pointless(outcomes):
                outcomes[node] = self._agents.skip(message, node)
                started.add(node)
            for node in workflow.startable(outcomes):
                if node not in started:
                    started.add(node)
                    nursery.start_soon(perform, node)

        async def perform(node: str) -> None:
            inputs = tuple(outcomes[each].result for each in workflow.needed_by(node) if each in outcomes)
            outcome = await self._agents.perform(Task(message, node, inputs))
            outcomes[node] = await self._store_result(message, node, outcome)
            start_more()

        async with trio.open_nursery() as nursery:
            start_more()
        return _worded(message, workflow, outcomes)

    async def _load_results(self, message: OpenMessage) -> dict[str, NodeOutcome]:
        while True:
            try:
                outcomes = await self._ledger.results(message.run)
            except LedgerUnavailableError:
                await trio.sleep(self._config.retry_s)
            else:
                if outcomes:
                    log.info("run_resumed", user=message.user, message=message.id, known=len(outcomes))
                return outcomes

    async def _store_result(self, message: OpenMessage, node: str, outcome: NodeOutcome) -> NodeOutcome:
        """Store what became of a node, and return what is stored: another process may have been there first."""
        while True:
            acts = self._agents.acts(node) and outcome.has_result
            try:
                return await self._ledger.store_result(message, node, outcome, acts=acts)
            except LedgerRefusedError as error:
                log.info("result_refused", message=message.id, node=node, error=str(error))
                outcome = NodeOutcome("failed", "cannot be stored")
            except LedgerUnavailableError as error:
                log.info("result_not_stored", message=message.id, node=node, error=str(error))
            await trio.sleep(self._config.retry_s)


def _cancelled(message: OpenMessage) -> Reply:
    return Reply(to=message.id, seq=0, status="cancelled", text="", nodes={})


def _worded(message: OpenMessage, workflow: Workflow, outcomes: dict[str, NodeOutcome]) -> Reply:
    nodes = {node: outcomes[node].status for node in workflow.nodes}
    results = [outcomes[node].result for node in workflow.sinks() if outcomes[node].has_result]
    status = "done" if all(outcome.has_result for outcome in outcomes.values()) else "partial"
    return Reply(to=message.id, seq=0, status=status, text="; ".join(results), nodes=nodes)
