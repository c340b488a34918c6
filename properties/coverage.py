"""Coverage: the states a campaign must have reached, or it has not tested what it claims."""

from simulator.history import Kind, Reading
from simulator.property import Expectation, Property

__all__ = ["COVERAGE"]


def breaker_opened(history: Reading) -> bool:
    """Whether some breaker opened."""
    return any(event.data["new"] == "open" for event in history.observed("breaker_moved"))


def fallback_drained(history: Reading) -> bool:
    """Whether analytics went to the buffer and from there to ClickHouse."""
    buffered = {event.data["message"] for event in history.observed("analytics_buffered")}
    drained = (event for event in history.observed("analytics_written") if event.data["path"] == "drain")
    return any(event.data["message"] in buffered for event in drained)


def resumed_with_missed(history: Reading) -> bool:
    """Whether a user came back and was sent replies that they had missed."""
    return any(event.data["missed"] for event in history.observed("resumed"))


def crashed_in_flight(history: Reading) -> bool:
    """Whether a host crashed while an operation was open."""
    open_operations: set[int | None] = set()  # only its size is read
    for event in history.events:
        if event.kind is Kind.INVOKE:
            open_operations.add(event.operation)
        elif event.kind in (Kind.OK, Kind.FAIL, Kind.INFO):
            open_operations.discard(event.operation)
        elif event.name in ("crash", "vanish") and event.data.get("phase") == "begin" and open_operations:
            return True
    return False


COVERAGE = (
    Property("breaker-opened", Expectation.SOMETIMES, breaker_opened, "a breaker opened"),
    Property("fallback-drained", Expectation.SOMETIMES, fallback_drained, "the fallback buffer was used and drained"),
    Property("resumed-with-missed", Expectation.SOMETIMES, resumed_with_missed, "a user resumed with missed replies"),
    Property("crashed-in-flight", Expectation.SOMETIMES, crashed_in_flight, "a host crashed with work in flight"),
)
