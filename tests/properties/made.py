"""Histories made by hand: what a promise is shown, without a platform."""

from typing import Self

import pytest

from properties.oracle import Question
from simulator import History, Kind, Property
from simulator.history import Value
from simulator.property import Outcome, Verdict

CHAT: dict[str, Value] = {"triage": []}
WHY = "why?"


class Made:
    """A history that a test writes line by line; each line is a tenth of a second after the one before."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self.history = History(lambda: self._now_s)

    # Lines of any kind

    def wait(self, for_s: float) -> Self:
        """Let time pass."""
        self._now_s += for_s
        return self

    def record(self, kind: Kind, host: str, name: str, number: int | None = None, **data: Value) -> Self:
        """Write one event."""
        self._now_s += 0.1
        self.history.record(kind, host, name, data, number)
        return self

    def observe(self, host: str, name: str, /, **data: Value) -> Self:
        """Write an observation. Its data may hold a `name` of their own."""
        self._now_s += 0.1
        self.history.record(Kind.OBSERVE, host, name, data)
        return self

    def mark(self, *names: str, **data: Value) -> Self:
        """Enter phases."""
        for name in names:
            self._now_s += 0.1
            self.history.record(Kind.MARK, "", name, data)
        return self

    def fault(self, kind: str, *at: str, phase: str = "begin", for_s: float = 0.0) -> Self:
        """Begin or end a fault."""
        return self.record(Kind.FAULT, at[0], kind, at=list(at), phase=phase, for_s=for_s)

    def operation(self, user: str, name: str, result: Value = None, how: Kind | None = Kind.OK, **data: Value) -> Self:
        """A user does something; `how` it ended, or None while it is open."""
        number = self.begin(user, name, **data)
        return self if how is None else self.record(how, f"user:{user}", name, number, result=result)

    def begin(self, user: str, name: str, **data: Value) -> int:
        """A user begins to do something; return its number."""
        number = self.history.next_operation()
        self.record(Kind.INVOKE, f"user:{user}", name, number, **data)
        return number

    # Messages

    def ask(
        self, message: str, how: Kind | None = Kind.OK, *, text: str = WHY, workflow: dict[str, Value] | None = None
    ) -> Self:
        """A user asks, on the thread of the message's number; `how` it ended, or None while it is open."""
        user, name = user_of(message), "ask" if workflow is None else "run_workflow"
        number = self.begin(user, name)
        self.observe(
            f"user:{user}",
            "message_sent",
            message=message,
            context=context_of(message),
            text=text,
            workflow=CHAT if workflow is None else workflow,
        )
        if how is Kind.OK:
            self._now_s += 0.1
            self.history.record(Kind.OBSERVE, f"user:{user}", "frame", {"type": "ack", "id": message})
            self.history.record(how, f"user:{user}", name, {"result": message}, number)
        elif how is not None:
            self.record(how, f"user:{user}", name, number, error=f"{message} was refused or never sent")
        return self

    def frame(self, user: str, type: str, /, **data: Value) -> Self:
        """A frame arrives at a user's device."""
        return self.observe(f"user:{user}", "frame", **({"type": type} | data))

    def reply(self, message: str, seq: int, *, user: str = "", **changes: Value) -> Self:
        """The reply to a message arrives at its user, or at another."""
        return self.frame(user or user_of(message), "reply", **(reply_to(message, seq) | changes))

    def error(self, user: str, code: str, id: str | None = None) -> Self:
        """An error frame arrives."""
        return self.frame(user, "error", code=code, id=id)

    def welcome(self, user: str, session: str = "s1") -> Self:
        """A user is welcomed in a session that was begun for them."""
        self.observe("gateway-a", "session_begun", user=user, session=session)
        self.frame(user, "welcome", user=user, session=session, token="...", expires_in=12)
        return self.observe(f"user:{user}", "client_state", state="connected")

    def disconnected(self, user: str) -> Self:
        """A user's device loses its connection."""
        return self.observe(f"user:{user}", "client_state", state="disconnected")

    # What agents tell

    def agent(self, message: str, node: str, name: str, *, attempt: int = 1, detail: str = "") -> Self:
        """An agent tells what it does."""
        return self.observe(
            "agents",
            "agent_event",
            user=user_of(message),
            message=message,
            node=node,
            name=name,
            attempt=attempt,
            detail=detail,
        )

    def replied(self, message: str, seq: int = 1, status: str = "done") -> Self:
        """The agents know that a reply is stored."""
        return self.observe("agents", "reply_stored", user=user_of(message), message=message, seq=seq, status=status)

    def analytics(self, how: str, message: str) -> Self:
        """The agents tell what became of the analytics of a message: written, drained, buffered or lost."""
        name = "written" if how == "drained" else how
        path = "drain" if how == "drained" else "direct"
        return self.observe("agents", f"analytics_{name}", event_id=message, message=message, path=path)

    # What the stores hold

    def stored(self, message: str, /, **changes: Value) -> Self:
        """The ledger holds a message."""
        fields: dict[str, Value] = {
            "user": user_of(message),
            "message": message,
            "text": WHY,
            "context": context_of(message),
            "workflow": CHAT,
            "state": "answered",
        }
        return self.observe("observer", "stored_message", **(fields | changes))

    def stored_reply(self, message: str, number: int = 1, /, **changes: Value) -> Self:
        """The ledger holds a reply."""
        return self.observe(
            "observer", "stored_reply", **({"user": user_of(message)} | reply_to(message, number) | changes)
        )

    def result(self, message: str, node: str, result: str, status: str = "completed") -> Self:
        """The ledger holds what an agent came to."""
        run = f"{user_of(message)}:{message}"
        return self.observe("observer", "stored_result", run=run, node=node, status=status, result=result)

    def action(self, message: str, node: str, user: str = "") -> Self:
        """The ledger holds an agent's effect."""
        run = f"{user_of(message)}:{message}"
        return self.observe("observer", "stored_action", run=run, node=node, user=user or user_of(message))

    def row(self, message: str, user: str = "", event_id: str = "") -> Self:
        """ClickHouse holds an analytics row."""
        return self.observe(
            "observer", "row", event_id=event_id or message, user=user or user_of(message), message=message
        )

    def inspected(self, *stores: str) -> Self:
        """Stores were looked into completely."""
        for store in stores or ("postgres", "redis", "clickhouse"):
            self.observe("observer", "inspected", store=store, buffered=0)
        return self

    def holdings(self, host: str, tasks: int, **sockets: int) -> Self:
        """A host has tasks, and sockets open to others."""
        return self.observe(host, "holdings", tasks=tasks, sockets=dict(sockets))

    def judged_by(self, promise: Property) -> Verdict:
        """Return what a promise says of it."""
        return promise.judge(self.history)


def user_of(message: str) -> str:
    """Return who sent a message."""
    return message.partition("-")[0]


def context_of(message: str) -> str:
    """Return the conversation of a message; in these histories each has one of its own."""
    return f"{user_of(message)}/{message[-1]}"


def reply_to(message: str, seq: int) -> dict[str, Value]:
    """Return the fields of the right reply to a question."""
    text = Question(WHY, context_of(message), {"triage": ()}).result("triage", "completed", ())
    return {"to": message, "seq": seq, "status": "done", "text": text, "nodes": {"triage": "completed"}}


def evidence(made: Made, promise: Property) -> tuple[str, str]:
    """Return a violation's evidence and site; it must read as a sentence."""
    verdict = made.judged_by(promise)
    assert verdict.outcome is Outcome.VIOLATED, verdict
    assert verdict.violation is not None
    said = verdict.violation.evidence
    assert said == said.strip()
    assert len(said.split()) >= 5
    assert verdict.violation.site
    return said, verdict.violation.site


def outcome(made: Made, promise: Property) -> Outcome:
    """Return how a promise judges."""
    return made.judged_by(promise).outcome


def holds(made: Made, promise: Property) -> None:
    """Fail with the verdict unless the promise was kept."""
    verdict = made.judged_by(promise)
    if verdict.outcome is not Outcome.HOLDS:
        pytest.fail(f"{promise.name}: {verdict}")


def site(made: Made, promise: Property) -> str:
    """Return where a promise says that it was broken."""
    return evidence(made, promise)[1]
