"""Durability: what was acknowledged is stored, once and unaltered, whatever crashed since."""

from collections import defaultdict

from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["DURABILITY"]


def check_durability(history: Reading) -> Violation | Unknown | None:
    """Compare what users sent and saw acknowledged with what the store held when all was quiet."""
    if not any(event.data["store"] == "redis" for event in history.observed("inspected")):
        return Unknown("the message store was not inspected")
    sent = {str(event.data["message"]): event for event in history.observed("message_sent")}
    stored: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history.observed("stored_message"):
        stored[str(event.data["message"])].append(event)
    for asked in history.operations("ask"):
        message = str(asked.result)
        if not asked.ok:
            continue
        copies = stored[message]
        if len(copies) != 1:
            times = "not stored" if not copies else f"stored {len(copies)} times"
            return Violation(f"{message} was acknowledged to {asked.user} and is {times}", site="stored message")
        for field in ("text", "context"):
            if copies[0].data[field] != sent[message].data[field]:
                return Violation(
                    f"{message} was stored with {field}={copies[0].data[field]!r} "
                    f"instead of {sent[message].data[field]!r}",
                    site="stored message",
                )
    return None


DURABILITY = Property(
    "durability",
    Expectation.ALWAYS,
    check_durability,
    "an acknowledged message is stored once and unaltered after crash and heal",
)
