"""Exchanges: each message that a user sent, what the user was told about it, and the reply that came."""

from collections import defaultdict
from collections.abc import Iterable
from math import inf

import attrs

from simulator.history import Event, Operation, Reading

__all__ = ["ASKING", "Exchange", "exchanges", "has_all_places", "user_of"]

ASKING = ("ask", "run_workflow")
REFUSALS = ("bad_request", "overloaded", "try_later")
"""After these nothing is stored. After `unavailable` nobody knows."""
OPEN_MESSAGES_MAX = 8


@attrs.define
class Exchange:
    """One message, with the first frame that told of its acceptance, and the first reply that reached the user.

    Told is what a frame says, also to a device that has given up waiting. From the operation, None while it is open,
    follows only that a message was never sent.
    """

    message: str
    user: str
    sent: Event
    operation: Operation | None = None
    told: Event | None = None
    reply: Event | None = None

    @property
    def is_to_one_agent(self) -> bool:
        """Whether it is a plain question, and no workflow."""
        return self.sent.data["workflow"] == {"triage": []}

    @property
    def acknowledged(self) -> bool:
        """Whether the user was told that the message is durable and will be answered."""
        return self.told is not None and self.told.data["type"] == "ack"

    @property
    def error(self) -> str:
        """The code with which the user was told that the message may not be durable; empty if they were not."""
        return str(self.told.data["code"]) if self.told is not None and not self.acknowledged else ""

    @property
    def unsent(self) -> bool:
        """Whether it never left the device."""
        return self.told is None and self.operation is not None and self.operation.failed

    @property
    def refused(self) -> bool:
        """Whether the user knows that the message was not accepted."""
        return self.error in REFUSALS or self.unsent

    @property
    def told_s(self) -> float:
        """When the user was told; inf if they were not."""
        return self.told.at_s if self.told is not None else inf

    @property
    def acknowledged_s(self) -> float:
        """When it was acknowledged; inf if it was not."""
        return self.told_s if self.acknowledged else inf

    @property
    def answered_s(self) -> float:
        """When the reply reached the user; inf if it did not."""
        return self.reply.at_s if self.reply is not None else inf

    @property
    def over_s(self) -> float:
        """When it was answered, or refused; inf if nobody knows what came of it."""
        if self.unsent and self.operation is not None and self.operation.completed is not None:
            return self.operation.completed.at_s
        return self.told_s if self.refused else self.answered_s

    def is_open_at(self, at_s: float) -> bool:
        """Whether a message that had been sent by then was neither refused nor answered before."""
        return not self.refused and self.answered_s >= at_s


def exchanges(history: Reading) -> dict[str, Exchange]:
    """Return every message that was sent, by its id, in the order of sending."""
    found: dict[str, Exchange] = {}
    # Errors about a cancellation carry the message's id, too. What tells of a message comes before those, and on the
    # connection on which it was sent.
    untold: defaultdict[str, dict[str, Exchange]] = defaultdict(dict)
    for event in history.observed("message_sent", "frame"):
        user = user_of(event)
        if event.name == "message_sent":
            message = str(event.data["message"])
            found[message] = untold[user][message] = Exchange(message, user, event)
        elif event.data["type"] == "welcome":
            untold[user].clear()
        elif event.data["type"] in ("ack", "error"):
            told = untold[user].pop(str(event.data["id"]), None)
            if told is not None:
                told.told = event
        elif event.data["type"] == "reply":
            answered = found.get(str(event.data["to"]))
            if answered is not None and answered.reply is None and answered.user == user:
                answered.reply = event
    for operation in history.operations(*ASKING):
        exchange = found.get(_message_of(operation, found))
        if exchange is not None:
            exchange.operation = operation
    return found


def has_all_places(before: Iterable[Exchange], at_s: float) -> bool:
    """Whether a user who had sent these had as many messages open at a moment as they may."""
    return sum(each.is_open_at(at_s) for each in before) >= OPEN_MESSAGES_MAX


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
