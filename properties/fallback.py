"""Fallback: analytics that went to the buffer while ClickHouse was away arrive there exactly once."""

from collections import Counter

from simulator.history import Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["FALLBACK"]


def check_fallback(history: Reading) -> Violation | Unknown | None:
    """Compare what was written or buffered with the rows that were there when all was quiet."""
    if not any(event.data["store"] == "clickhouse" for event in history.observed("inspected")):
        return Unknown("the analytics table was not inspected")
    rows = Counter(str(event.data["message"]) for event in history.observed("row"))
    for message, count in sorted(rows.items()):
        if count > 1:
            return Violation(f"the analytics of {message} are there {count} times", site="twice")
    for how in ("analytics_buffered", "analytics_written"):
        for event in history.observed(how):
            if rows[str(event.data["message"])] == 0:
                done = how.removeprefix("analytics_")
                return Violation(
                    f"the analytics of {event.data['message']} were {done} at {event.at_s:.3f} s and are gone",
                    site="lost",
                )
    return None


FALLBACK = Property(
    "fallback",
    Expectation.EVENTUALLY,
    check_fallback,
    "analytics that were written, or buffered while ClickHouse was away, arrive exactly once",
)
