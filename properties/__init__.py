"""The promises of a multi-user chat platform. They judge a history and import nothing of the platform."""

from properties.auth import AUTH
from properties.breaker import BREAKER
from properties.contract import CONTRACT
from properties.coverage import COVERAGE
from properties.degradation import DEGRADATION
from properties.delivery import DELIVERY
from properties.durability import DURABILITY
from properties.fallback import FALLBACK
from properties.isolation import ISOLATION
from properties.latency import LATENCY
from properties.resources import RESOURCES
from properties.workflow import WORKFLOW
from simulator.property import Property

__all__ = ["PROMISES"]

PROMISES: tuple[Property, ...] = (
    ISOLATION,
    DURABILITY,
    DELIVERY,
    BREAKER,
    FALLBACK,
    WORKFLOW,
    AUTH,
    CONTRACT,
    DEGRADATION,
    RESOURCES,
    LATENCY,
    *COVERAGE,
)
