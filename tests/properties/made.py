"""Histories made by hand: what a promise is shown, without a platform."""

from simulator import History, Kind, Property
from simulator.history import Value
from simulator.property import Outcome, Verdict


class Made:
    """A history that a test writes line by line; each line is a tenth of a second after the one before."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self.history = History(lambda: self._now_s)

    def record(self, kind: Kind, host: str, name: str, number: int | None = None, **data: Value) -> "Made":
        """Write one event."""
        self._now_s += 0.1
        self.history.record(kind, host, name, data, number)
        return self

    def observe(self, host: str, name: str, /, **data: Value) -> "Made":
        """Write an observation."""
        return self.record(Kind.OBSERVE, host, name, None, **data)

    def mark(self, *names: str) -> "Made":
        """Enter phases."""
        for name in names:
            self.record(Kind.MARK, "", name)
        return self

    def fault(self, kind: str, host: str, phase: str = "begin") -> "Made":
        """Begin or end a fault."""
        return self.record(Kind.FAULT, host, kind, phase=phase)

    def ask(self, message: str, how: Kind | None = Kind.OK) -> "Made":
        """A user asks; `how` it ended, or None while it is open."""
        user = message.partition("-")[0]
        number = self.history.next_operation()
        self.record(Kind.INVOKE, f"user:{user}", "ask", number)
        self.observe(f"user:{user}", "message_sent", message=message, context=f"{user}/{message[-1]}", text="why?")
        if how is not None:
            self.record(how, f"user:{user}", "ask", number, result=message if how is Kind.OK else None)
        return self

    def reply(self, user: str, to: str, seq: str, text: str = "an answer") -> "Made":
        """A user's client receives a reply."""
        return self.observe(f"user:{user}", "frame", type="reply", to=to, seq=seq, text=text)

    def stored(self, message: str, **changes: Value) -> "Made":
        """The message store holds a message."""
        user = message.partition("-")[0]
        fields: dict[str, Value] = {
            "user": user,
            "message": message,
            "text": "why?",
            "context": f"{user}/{message[-1]}",
        }
        return self.observe("observer", "stored_message", **(fields | changes))

    def inspected(self, store: str) -> "Made":
        """A store was looked into completely."""
        return self.observe("observer", "inspected", store=store)

    def judged_by(self, promise: Property) -> Verdict:
        """Return what a promise says of it."""
        return promise.judge(self.history)


def evidence(made: Made, promise: Property) -> tuple[str, str]:
    """Return a violation's evidence and site; it must read as a sentence."""
    verdict = made.judged_by(promise)
    assert verdict.outcome is Outcome.VIOLATED
    assert verdict.violation is not None
    said = verdict.violation.evidence
    assert said == said.strip()
    assert len(said.split()) >= 5
    assert verdict.violation.site
    return said, verdict.violation.site


def outcome(made: Made, promise: Property) -> Outcome:
    """Return how a promise judges."""
    return made.judged_by(promise).outcome
