"""The components of the platform, as its engineers speak of it: what each runs on, promises and decides."""

from collections.abc import Mapping

from properties.measures import OBJECTIVES
from simulator.component import Component

__all__ = ["COMPONENTS"]

OF_ALL = {**OBJECTIVES, "connect": "p(99) < 2s", "degraded_rate": "< 1%"}


def _objectives(*measures: str) -> dict[str, str]:
    return {each: OF_ALL[each] for each in measures}


COMPONENTS: Mapping[str, Component] = {
    "ClickHouse": Component(
        hosts=("clickhouse",),
        promises=("fallback", "breaker"),
        objectives=_objectives("clickhouse_query", "degraded_rate"),
        journeys=("workflow-with-tools",),
    ),
    "WebSocket": Component(
        hosts=("gateway-a", "gateway-b"),
        promises=("delivery", "contract", "latency"),
        objectives=_objectives("ws_latency", "connect"),
        journeys=("first-chat", "reconnect", "two-devices"),
    ),
    "Agents": Component(
        hosts=("agents",),
        promises=("workflow", "finishes"),
        objectives=_objectives("simple_agent", "complex_agent", "error_rate"),
        journeys=("workflow-with-tools", "change-of-mind"),
    ),
    "Redis": Component(
        hosts=("redis",),
        promises=("resources",),
        under_faults=("degradation",),
        objectives=_objectives("ws_latency", "connect"),
        journeys=("reconnect", "long-conversation"),
    ),
    "Auth": Component(
        hosts=("gateway-a", "gateway-b", "redis"),
        promises=("auth", "isolation"),
        objectives=_objectives("connect"),
        journeys=("logout-everywhere", "intruder"),
    ),
    "PostgreSQL": Component(
        hosts=("postgres",),
        promises=("durability", "delivery"),
        objectives=_objectives("ws_latency", "success_rate"),
        journeys=("long-conversation", "reconnect"),
    ),
    "LLM": Component(
        hosts=("llm",),
        promises=("isolation",),
        under_faults=("degradation",),
        objectives=_objectives("simple_agent", "complex_agent", "degraded_rate"),
        journeys=("first-chat", "workflow-with-tools"),
    ),
}
