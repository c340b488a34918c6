"""The promises of a multi-user chat platform. They judge a history and import nothing of the platform."""

from properties.breaker import BREAKER
from properties.coverage import COVERAGE
from properties.delivery import DELIVERY
from properties.durability import DURABILITY
from properties.fallback import FALLBACK
from properties.isolation import ISOLATION
from simulator.property import Property

__all__ = ["PROMISES"]

PROMISES: tuple[Property, ...] = (ISOLATION, DURABILITY, DELIVERY, BREAKER, FALLBACK, *COVERAGE)
