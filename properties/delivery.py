"""Delivery: the reply to each accepted message reaches its user, in order, once, across reconnects."""

from collections import defaultdict

from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["DELIVERY"]


def check_delivery(history: Reading) -> Violation | Unknown | None:
    """Compare, per user, the acknowledged messages with the replies that arrived."""
    if history.marked_at("quiet") is None:
        return Unknown("the run ended before everything was quiet")
    replies: defaultdict[str, list[Event]] = defaultdict(list)
    for frame in history.observed("frame"):
        if frame.data["type"] == "reply":
            replies[frame.host.removeprefix("user:")].append(frame)
    for user, frames in sorted(replies.items()):
        violation = _disorder(user, frames)
        if violation is not None:
            return violation
    for asked in history.operations("ask"):
        if asked.ok and not any(frame.data["to"] == asked.result for frame in replies[asked.user]):
            return Violation(f"the reply to {asked.result} never reached {asked.user}", site="missing")
    return None


def _disorder(user: str, frames: list[Event]) -> Violation | None:
    last = (0, 0)
    seen: dict[str, float] = {}
    for frame in frames:
        to, seq = str(frame.data["to"]), _sequence(str(frame.data["seq"]))
        if to in seen:
            return Violation(
                f"{user} received the reply to {to} at {seen[to]:.3f} s and again at {frame.at_s:.3f} s", site="twice"
            )
        if seq <= last:
            return Violation(f"{user} received the reply to {to} after one with a later number", site="order")
        seen[to], last = frame.at_s, seq
    return None


def _sequence(number: str) -> tuple[int, int]:
    """Return a stream's sequence number ("1700-0": milliseconds and a counter) as it is ordered."""
    major, _, minor = number.partition("-")
    return int(major), int(minor or 0)


DELIVERY = Property(
    "delivery",
    Expectation.EVENTUALLY,
    check_delivery,
    "the reply to each accepted message reaches its user once and in order, across reconnects",
)
