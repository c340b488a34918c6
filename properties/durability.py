"""Durability: what was acknowledged is stored once and unaltered, whatever crashed since; what was refused is not."""

from collections import defaultdict

from properties.exchange import Exchange, exchanges
from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["DURABILITY"]


def check_durability(history: Reading) -> Violation | Unknown | None:
    """Compare what users sent and were told with what the ledger held when all was quiet."""
    if not any(event.data["store"] == "postgres" for event in history.observed("inspected")):
        return Unknown("the ledger was not inspected")
    sent = exchanges(history)
    stored: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history.observed("stored_message"):
        stored[str(event.data["message"])].append(event)
    for message, copies in stored.items():
        violation = _foreign(sent.get(message), copies[0])
        if violation is not None:
            return violation
    for exchange in sent.values():
        violation = _kept(exchange, len(stored[exchange.message]))
        if violation is not None:
            return violation
    judged = sum(each.acknowledged or each.refused or bool(stored[each.message]) for each in sent.values())
    history.examined["message"] += judged
    return _cancelled(history) or (None if judged else Unknown("no message was stored, acknowledged or refused"))


def _foreign(exchange: Exchange | None, stored: Event) -> Violation | None:
    """Compare what is stored with what was sent."""
    message, user = stored.data["message"], stored.data["user"]
    if exchange is None:
        return Violation(f"the message {message} is stored for {user}, and nobody has sent it", "not sent")
    if user != exchange.user:
        return Violation(f"{message}, which {exchange.user} sent, is stored for {user}", "user")
    for field in ("text", "context", "workflow"):
        if stored.data[field] != exchange.sent.data[field]:
            return Violation(
                f"{message} was stored with {field}={stored.data[field]!r} instead of {exchange.sent.data[field]!r}",
                "altered",
            )
    return None


def _kept(exchange: Exchange, copies: int) -> Violation | None:
    """Compare how often it is stored with what the user was told."""
    message, user = exchange.message, exchange.user
    if exchange.acknowledged and not copies:
        return Violation(f"{message} was acknowledged to {user} and is not stored", "lost")
    if exchange.refused and copies:
        return Violation(f"{message} was refused to {user} and is stored all the same", "refused")
    if copies > 1:
        return Violation(f"{message} of {user} is stored {copies} times", "twice")
    return None


def _cancelled(history: Reading) -> Violation | None:
    """Look how the messages ended that the platform said it would give up."""
    status = {str(reply.data["to"]): reply.data["status"] for reply in history.observed("stored_reply")}
    for cancel in history.operations("cancel"):
        ended = status.get(str(cancel.result), "cancelled")
        if cancel.ok and ended != "cancelled":
            return Violation(
                f"{cancel.user} was told that {cancel.result} would be cancelled, and it was answered as {ended}",
                "cancelled",
            )
    return None


DURABILITY = Property(
    "durability",
    Expectation.ALWAYS,
    check_durability,
    "an acknowledged message is stored once and unaltered after crash and heal, and a refused one is not",
)
