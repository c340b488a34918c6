"""Exchanges: each message that a user sent, what the user was told about it, and the reply that came."""

import attrs

from simulator.history import Event, Operation, Reading

__all__ = ["ASKING", "Exchange", "exchanges", "user_of"]

ASKING = ("ask", "run_workflow")


@attrs.define
class Exchange:
    """One message. `operation` is None while it is open; `reply` is the first that reached the user."""

    message: str
    user: str
    sent: Event
    operation: Operation | None = None
    reply: Event | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the user was told that the message is durable and will be answered."""
        return self.operation is not None and self.operation.ok

    @property
    def refused(self) -> bool:
        """Whether the user was told that the message was not accepted."""
        return self.operation is not None and self.operation.failed

    @property
    def acknowledged_s(self) -> float | None:
        """When it was acknowledged, if it was."""
        completed = self.operation.completed if self.operation is not None and self.operation.ok else None
        return completed.at_s if completed is not None else None


def exchanges(history: Reading) -> dict[str, Exchange]:
    """Return every message that was sent, by its id, in the order of sending."""
    found = {
        str(event.data["message"]): Exchange(str(event.data["message"]), user_of(event), event)
        for event in history.observed("message_sent")
    }
    for operation in history.operations(*ASKING):
        exchange = found.get(_message_of(operation, found))
        if exchange is not None:
            exchange.operation = operation
    for frame in history.observed("frame"):
        if frame.data["type"] == "reply":
            answered = found.get(str(frame.data["to"]))
            if answered is not None and answered.reply is None and answered.user == user_of(frame):
                answered.reply = frame
    return found


def user_of(event: Event) -> str:
    """Return the user on whose device something happened."""
    return event.host.removeprefix("user:")


def _message_of(operation: Operation, sent: dict[str, Exchange]) -> str:
    """Return which message an operation sent: its result, or the one that its error names."""
    if operation.completed is None:
        return ""
    if operation.ok:
        return str(operation.result)
    words = str(operation.completed.data.get("error", "")).split()
    return next((word for word in words if word in sent), "")
