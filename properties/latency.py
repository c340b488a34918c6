"""Latency: while all is well every question and log-in is served, and in time, whatever other users do.

That it is served at all is judged in `properties/service.py`. Timed is a question to one agent, on a connection that
was there all the time, of a user who had nothing open before, sent nothing else meanwhile and did nothing that delays
the answer: cancelling, leaving, logging out, not reading.
"""

from collections.abc import Iterator, Sequence
from math import inf

from properties.exchange import Exchange, exchanges
from properties.observed import are_told
from properties.presence import Interludes, connections
from properties.service import LATENCY_S_MAX, SERVED, latency_s_of, struck_s_of, unserved
from simulator.history import Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["LATENCY"]

ACKNOWLEDGED_WITHIN_S = 0.5
ACKNOWLEDGED_WITHIN_LATENCIES = 100
ANSWERED_WITHIN_S = 1.5
ANSWERED_WITHIN_LATENCIES = 200
"""Of the nominal latency. In bad weather a message takes three times as long on average, and there are dozens.

Of these dozens one in sixteen is late by up to 0.1 s, whatever is nominal. That adds up to 0.6 s once in some ten
thousand runs; the language model alone takes 0.5 s.
"""
DELAYING = ("cancel", "leave", "log_out", "stall")


def check_latency(history: Reading) -> Violation | Unknown | None:
    """Judge what was served, and time every question that can be timed, up to the first fault."""
    latency_s = latency_s_of(history)
    if latency_s > LATENCY_S_MAX:
        return Unknown(f"with a latency of {latency_s:g} s nothing is promised")
    if not are_told(history, "ack", "reply"):
        return Unknown("nobody tells of acknowledgements or of replies")
    violation = next(unserved(history), None) or next(_late(history, latency_s), None)
    if violation is None and not any(history.examined[each] for each in (*SERVED, "sample")):
        return Unknown("nobody logged in or asked anything while all was well")
    return violation


def _late(history: Reading, latency_s: float) -> Iterator[Violation]:
    acknowledged_within_s = ACKNOWLEDGED_WITHIN_S + ACKNOWLEDGED_WITHIN_LATENCIES * latency_s
    answered_within_s = ANSWERED_WITHIN_S + ANSWERED_WITHIN_LATENCIES * latency_s
    for exchange in _samples(history, answered_within_s):
        history.examined["sample"] += 1
        took_s = exchange.acknowledged_s - exchange.sent.at_s
        if took_s > acknowledged_within_s:
            said = f"{exchange.message} was acknowledged after {took_s:.3f} s instead of {acknowledged_within_s:g} s"
            yield Violation(said, "ack")
        took_s = exchange.answered_s - exchange.acknowledged_s
        if took_s > answered_within_s:
            said = f"{exchange.message} was not answered within {answered_within_s:g} s of its acknowledgement"
            yield Violation(said if took_s == inf else f"{said}, but after {took_s:.3f} s", "answer")


def _samples(history: Reading, answered_within_s: float) -> Iterator[Exchange]:
    """Yield the questions that were acknowledged and whose times say something of the platform."""
    struck_s, ended_s = struck_s_of(history), max((event.at_s for event in history.events[-1:]), default=0.0)
    connected, delayed = connections(history), Interludes.of(history, *DELAYING)
    by_user: dict[str, list[Exchange]] = {}
    for exchange in exchanges(history).values():
        by_user.setdefault(exchange.user, []).append(exchange)
    for user, sent in by_user.items():
        for place, exchange in enumerate(sent):
            from_s, to_s = exchange.sent.at_s, min(exchange.answered_s, exchange.acknowledged_s + answered_within_s)
            if not exchange.acknowledged or not exchange.is_to_one_agent or to_s >= struck_s or to_s > ended_s:
                continue
            if not _is_alone(sent, place, to_s) or delayed.during(user, from_s, to_s):
                continue
            if any(each.lasted(from_s, to_s) for each in connected.get(user, ())):
                yield exchange


def _is_alone(sent: Sequence[Exchange], place: int, to_s: float) -> bool:
    """Whether everything before was answered, and nothing was sent until this was."""
    from_s, before, after = sent[place].sent.at_s, sent[:place], sent[place + 1 :]
    return not any(each.is_open_at(from_s) for each in before) and all(each.sent.at_s > to_s for each in after)


LATENCY = Property(
    "latency",
    Expectation.ALWAYS,
    check_latency,
    "while all is well every question and log-in is served, and in time, whatever other users do",
)
