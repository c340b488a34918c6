"""Measures: how long users wait for acknowledgements and answers, and agents for data, as samples for objectives."""

from collections.abc import Iterator

from properties.exchange import exchanges
from simulator.history import Event, History, Reading
from simulator.load.sample import Sample, outcome, samples_of

__all__ = ["OBJECTIVES", "measures"]

OBJECTIVES = {
    "ws_latency": "p(99) < 100ms",
    "simple_agent": "max < 5s",
    "complex_agent": "max < 30s",
    "clickhouse_query": "p(99) < 500ms",
    "memory": "max < 2GiB",
    "cpu": "p(95) < 70%",
    "error_rate": "< 0.1%",
    "success_rate": "> 99%",
}
"""What the platform must keep to under load."""


def measures(history: History) -> Iterator[Sample]:
    """Yield the samples of a history.

    `connect` is until the welcome, `told` until a user is told whether a message was accepted or why nobody knows,
    `ws_latency` until its acknowledgement, `simple_agent` and
    `complex_agent` until the reply to one that one agent answers, or several; each from when it was due. What was
    refused has no latency, and counts as an error. `degraded_rate` is of the replies that something was missing for.
    `clickhouse_query` is one query of an agent, from its own log.
    """
    yield from samples_of(history, "connect")
    for exchange in exchanges(Reading(history)).values():
        sent_s, number = exchange.sent.at_s, exchange.operation.number if exchange.operation is not None else None
        is_ok = exchange.acknowledged and exchange.reply is not None
        lasted_s = exchange.over_s - sent_s
        yield from outcome(sent_s, number, ok=is_ok, lasted_s=lasted_s)
        if not exchange.unsent:
            yield Sample("told", sent_s, exchange.told_s - sent_s, number)
        if not exchange.refused:
            agents = "simple_agent" if exchange.is_to_one_agent else "complex_agent"
            yield Sample("ws_latency", sent_s, exchange.acknowledged_s - sent_s, number)
            yield Sample(agents, sent_s, exchange.answered_s - sent_s, number)
        if exchange.reply is not None:
            yield Sample("degraded_rate", sent_s, float(_is_degraded(exchange.reply)), number, "%", lasted_s)
    yield from _queries(history)


def _is_degraded(reply: Event) -> bool:
    """Whether an agent did without what it should have asked, or could not do its part."""
    nodes = reply.data["nodes"]
    return reply.data["status"] == "partial" or (isinstance(nodes, dict) and "degraded" in nodes.values())


def _queries(history: History) -> Iterator[Sample]:
    begun: dict[tuple[object, ...], Event] = {}
    for event in history.observed("agent_event"):
        query = tuple(event.data.get(key) for key in ("message", "node", "attempt"))
        if event.data["name"] == "tool_executing" and event.data["detail"] == "clickhouse":
            begun[query] = event
        elif event.data["name"] == "tool_completed" and query in begun:
            since_s = begun.pop(query).at_s
            yield Sample("clickhouse_query", since_s, event.at_s - since_s)
