"""Workflow: agents start when what they need is done, act once, and come to the result that the oracle states.

What is not judged: runs that were still under way when the stores were looked into.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from properties.exchange import Exchange, exchanges
from properties.observed import leave_unjudged
from properties.oracle import FAILURES, LLM_CHARACTERS_MAX, Question, kind_of
from properties.places import AGENTS
from properties.storm import FELT_S, Storm
from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["WORKFLOW"]

HAS_RESULT = ("completed", "degraded")
ASKS: Mapping[str, str] = {"data": "clickhouse"}
"""Whom an agent of a kind depends on; all others ask the LLM."""


@attrs.define
class _Run:
    """Everything that is known of the run of one message."""

    name: str
    user: str
    question: Question
    sent: Event
    told: list[Event] = attrs.field(factory=list)  # what its agents told
    replied: Event | None = None  # that its reply is stored, as far as it is known
    results: dict[str, tuple[str, str]] = attrs.field(factory=dict)  # status and result by node, as stored
    effects: Counter[str] = attrs.field(factory=Counter)
    reply: Event | None = None  # as stored

    def add(self, event: Event) -> None:
        """Take what was told of it, or is stored."""
        data = event.data
        match event.name:
            case "agent_event":
                self.told.append(event)
            case "reply_stored":
                self.replied = self.replied or event
            case "stored_result":
                self.results[str(data["node"])] = (str(data["status"]), str(data["result"]))
            case "stored_action":
                self.effects[str(data["node"])] += 1
            case "stored_reply":
                self.reply = event

    def told_at(self, node: str, *names: str) -> float | None:
        """Return when a node's agent last told one of these."""
        told = [event.at_s for event in self.told if event.data["node"] == node and event.data["name"] in names]
        return told[-1] if told else None


def check_workflow(history: Reading) -> Violation | Unknown | None:
    """Follow every run through what its agents told, and compare what is stored with the oracle."""
    runs, strays = _runs(history)
    leave_unjudged(history, {"after the reply": (AGENTS,), "started early": (AGENTS,), "excuse": (AGENTS,)})
    for stray in (*strays, *(each for run in runs.values() for each in _order(run))):
        return stray
    if not any(run.told or run.replied or run.reply for run in runs.values()):
        return Unknown("nothing was worked on")
    if not any(event.data["store"] == "postgres" for event in history.observed("inspected")):
        return Unknown("the ledger was not inspected")
    storm, late = Storm.of(history), _late(history)
    for run in runs.values():
        if run.reply is not None and run.sent.data["message"] not in late:
            violation = next(_result(run, run.reply, storm), None)
            if violation is not None:
                return violation
    return None


def _runs(history: Reading) -> tuple[dict[str, _Run], list[Violation]]:
    """Return every run that was asked for, by its name, and what is of none, or of an agent that is not in it."""
    runs = {f"{exchange.user}:{exchange.message}": _run_of(exchange) for exchange in exchanges(history).values()}
    strays = []
    for event in history.observed("agent_event", "reply_stored", "stored_result", "stored_action", "stored_reply"):
        name, node = _name_in(event), event.data.get("node")
        told = f"{event.name} at {event.at_s:.3f} s is of "
        if name not in runs:
            strays.append(Violation(f"{told}run {name}, and nobody asked for that", "unknown run"))
        elif node is not None and node not in runs[name].question.workflow:
            strays.append(Violation(f"{told}{node} in run {name}, which has no such agent", "unknown node"))
        else:
            runs[name].add(event)
    return runs, strays


def _name_in(event: Event) -> str:
    data = event.data
    return str(data["run"]) if "run" in data else f"{data['user']}:{data['message' if 'message' in data else 'to']}"


def _run_of(exchange: Exchange) -> _Run:
    data = exchange.sent.data
    workflow: Mapping[str, Sequence[str]] = data["workflow"]  # type: ignore[assignment]
    question = Question(str(data["text"]), str(data["context"]), workflow)
    return _Run(f"{exchange.user}:{exchange.message}", exchange.user, question, exchange.sent)


def _late(history: Reading) -> set[str]:
    """Return the messages on which something was still done when the stores were looked into."""
    quiet_s = history.marked_at("quiet")
    late = ("message_accepted", "agent_event", "reply_stored")
    return {str(event.data["message"]) for event in history.observed(*late) if quiet_s and event.at_s >= quiet_s}


# As it is told


def _order(run: _Run) -> Iterator[Violation]:
    """A node starts when all that it needs have a result, in this life of the agents or in an earlier one."""
    completed: set[str] = set()  # only looked up
    for event in run.told:
        node, name = str(event.data["node"]), event.data["name"]
        if run.replied is not None and event.index > run.replied.index:
            yield Violation(
                f"{node} told {name} of run {run.name} at {event.at_s:.3f} s, after its reply was stored "
                f"at {run.replied.at_s:.3f} s",
                "after the reply",
            )
        if name == "agent_completed":
            completed.add(node)
        missing = [needed for needed in run.question.workflow.get(node, ()) if needed not in completed]
        if name == "agent_started" and missing:
            yield Violation(
                f"{node} of run {run.name} started at {event.at_s:.3f} s, and {', '.join(missing)} had no result yet",
                "started early",
            )


# As it is stored


def _result(run: _Run, reply: Event, storm: Storm) -> Iterator[Violation]:
    yield from _effects(run)
    for node in sorted(run.results):
        yield from _found(run, node, storm)
    if reply.data["status"] == "cancelled":
        if reply.data["text"] or reply.data["nodes"]:
            yield Violation(f"run {run.name} was cancelled and answered {reply.data['text']!r}", "cancelled")
        return
    yield from _nodes(run, reply)
    yield from _text(run, reply)


def _effects(run: _Run) -> Iterator[Violation]:
    """An action's effect is stored with its result: both once, or neither."""
    for node in sorted({*run.effects, *run.results}):
        is_done = kind_of(node) == "action" and run.results.get(node, ("",))[0] == "completed"
        if run.effects[node] != is_done:
            result = "stored" if is_done else "not stored"
            yield Violation(
                f"the effect of {node} in run {run.name} is there {run.effects[node]} times, and its result {result}",
                "effect",
            )


def _found(run: _Run, node: str, storm: Storm) -> Iterator[Violation]:
    """Compare what one agent found with what it must have found, given what those before it found."""
    status, result = run.results[node]
    needed = [run.results.get(each, ("missing", "")) for each in run.question.needed_by(node)]
    if any(each not in HAS_RESULT for each, _ in needed):
        yield Violation(f"{node} of run {run.name} has a result, and one that it needs has none", "worked without")
        return
    inputs = [each for _, each in needed]
    if status == "failed":
        yield from _failed(run, node, result, inputs, storm)
        return
    expected = run.question.result(node, status, inputs)
    if result != expected:
        yield Violation(f"{node} of run {run.name} is {status} with {result!r} instead of {expected!r}", "result")
    if status == "degraded":
        yield from _excuse(run, node, "degraded", "agent_completed", storm)


def _failed(run: _Run, node: str, reason: str, inputs: Sequence[str], storm: Storm) -> Iterator[Violation]:
    if reason not in FAILURES[kind_of(node)]:
        yield Violation(f"{node} of run {run.name} failed as {reason!r}, which none of its kind can", "reason")
    elif reason != "refused":
        yield from _excuse(run, node, f"failed ({reason})", "agent_failed", storm)
    elif not run.question.is_too_long(node, inputs):
        yield Violation(
            f"{node} of run {run.name} was refused, and its question is not over {LLM_CHARACTERS_MAX} characters",
            "refused",
        )


def _excuse(run: _Run, node: str, how: str, name: str, storm: Storm) -> Iterator[Violation]:
    """Who could not do all has an excuse: shortly before, something struck the agents or whom they asked."""
    asked = ASKS.get(kind_of(node), "llm")
    at_s = run.told_at(node, name)
    # A process that crashed may not have told. Then it had an excuse.
    if at_s is None or storm.felt(at_s, at_s, lambda each: each.is_among(asked, AGENTS)):
        return
    yield Violation(
        f"{node} of run {run.name} was {how} at {at_s:.3f} s, and for {FELT_S:g} s nothing had happened to {asked} "
        "or the agents",
        "excuse",
    )


def _nodes(run: _Run, reply: Event) -> Iterator[Violation]:
    """Compare what the reply says of each agent with what is stored, and with who can have been skipped."""
    nodes: Mapping[str, str] = reply.data["nodes"]  # type: ignore[assignment]
    if sorted(nodes) != sorted(run.question.workflow):
        yield Violation(f"the reply of run {run.name} tells of {', '.join(sorted(nodes))}", "nodes")
        return
    skipped = run.question.pointless([node for node, status in nodes.items() if status == "failed"])
    for node, status in sorted(nodes.items()):
        expected = "skipped" if node in skipped else run.results.get(node, ("missing", ""))[0]
        if status != expected:
            yield Violation(f"the reply of run {run.name} says that {node} is {status}, and it is {expected}", "nodes")


def _text(run: _Run, reply: Event) -> Iterator[Violation]:
    results = {node: result for node, (status, result) in run.results.items() if status in HAS_RESULT}
    status = "done" if len(results) == len(run.question.workflow) else "partial"
    for field, expected in (("status", status), ("text", run.question.answer(results))):
        if reply.data[field] != expected:
            yield Violation(
                f"the reply of run {run.name} has {field}={reply.data[field]!r} instead of {expected!r}", "reply"
            )


WORKFLOW = Property(
    "workflow",
    Expectation.ALWAYS,
    check_workflow,
    "agents start when what they need is done, act once, and come to the result that the oracle states",
)
