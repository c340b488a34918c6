"""Latency: while all is well a question is acknowledged and answered in time, whatever other users do.

A sample is a question to one agent, on a connection that was there all the time, of a user who had nothing open before,
sent nothing else meanwhile and did nothing that delays the answer: cancelling, leaving, logging out, not reading.
"""

from collections.abc import Iterator, Mapping, Sequence

from properties.exchange import Exchange, exchanges
from properties.presence import Connection, Interludes, connections
from simulator.history import Reading, Value
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["LATENCY", "LATENCY_S_MAX", "latency_s_of"]

ACKNOWLEDGED_WITHIN_S = 0.5
ACKNOWLEDGED_WITHIN_LATENCIES = 100
ANSWERED_WITHIN_S = 1.0
ANSWERED_WITHIN_LATENCIES = 200
"""Of the nominal latency. In bad weather a message takes three times as long on average, and there are dozens."""
LATENCY_S_MAX = 0.005
"""Above it the platform's own time limits may be exceeded, by a hundred messages one after another."""
DELAYING = ("cancel", "leave", "log_out", "stall")


def check_latency(history: Reading) -> Violation | Unknown | None:
    """Time every question that can be timed, up to the first fault."""
    latency_s = latency_s_of(history)
    if latency_s > LATENCY_S_MAX:
        return Unknown(f"with a latency of {latency_s:g} s nothing is promised")
    samples = list(_samples(history))
    history.examined["sample"] += len(samples)
    if not samples:
        return Unknown("no question could be timed")
    for exchange in samples:
        violation = _judged(exchange, latency_s)
        if violation is not None:
            return violation
    return None


def _judged(exchange: Exchange, latency_s: float) -> Violation | None:
    assert exchange.acknowledged_s is not None
    assert exchange.reply is not None
    took_s = exchange.acknowledged_s - exchange.sent.at_s
    limit_s = ACKNOWLEDGED_WITHIN_S + ACKNOWLEDGED_WITHIN_LATENCIES * latency_s
    if took_s > limit_s:
        return Violation(f"{exchange.message} was acknowledged after {took_s:.3f} s instead of {limit_s:g} s", "ack")
    took_s = exchange.reply.at_s - exchange.acknowledged_s
    limit_s = ANSWERED_WITHIN_S + ANSWERED_WITHIN_LATENCIES * latency_s
    if took_s > limit_s:
        return Violation(f"{exchange.message} was answered after {took_s:.3f} s instead of {limit_s:g} s", "answer")
    return None


def _samples(history: Reading) -> Iterator[Exchange]:
    """Yield the questions whose times say something of the platform."""
    struck_s = min((fault.at_s for fault in history.faults()), default=None)
    connected, delayed = connections(history), Interludes.of(history, *DELAYING)
    by_user: dict[str, list[Exchange]] = {}
    for exchange in exchanges(history).values():
        by_user.setdefault(exchange.user, []).append(exchange)
    for user, sent in by_user.items():
        for place, exchange in enumerate(sent):
            if exchange.reply is None or exchange.acknowledged_s is None or _is_workflow(exchange):
                continue
            from_s, to_s = exchange.sent.at_s, exchange.reply.at_s
            if struck_s is not None and struck_s <= to_s:
                continue
            if not _is_alone(sent, place, to_s) or delayed.during(user, from_s, to_s):
                continue
            if _was_connected(connected, user, from_s, to_s):
                yield exchange


def _is_workflow(exchange: Exchange) -> bool:
    return exchange.operation is None or exchange.operation.name != "ask"


def _is_alone(sent: Sequence[Exchange], place: int, to_s: float) -> bool:
    """Whether everything before was answered, and nothing was sent until this was."""
    from_s = sent[place].sent.at_s
    before = all(each.refused or (each.reply is not None and each.reply.at_s < from_s) for each in sent[:place])
    return before and all(each.sent.at_s > to_s for each in sent[place + 1 :])


def _was_connected(connected: Mapping[str, Sequence[Connection]], user: str, from_s: float, to_s: float) -> bool:
    return any(each.lasted(from_s, to_s) for each in connected.get(user, ()))


def latency_s_of(history: Reading) -> float:
    """Return the nominal latency of a run, as its start tells; 0 when it does not."""
    starts: Iterator[Value] = (event.data.get("latency_s") for event in history.events[:1])
    latency_s = next(starts, None)
    return float(latency_s) if isinstance(latency_s, int | float) else 0.0


LATENCY = Property(
    "latency",
    Expectation.ALWAYS,
    check_latency,
    "while all is well a question is acknowledged and answered in time, whatever other users do",
)
