"""wavetank: model-based, deterministic simulation testing of multi-user platforms.

What a user of the tool writes against is listed here; everything else is the tool's own.
"""

from typing import TYPE_CHECKING

from simulator.errors import (
    DivergenceError,
    EnvironmentFailedError,
    InputError,
    SystemFailedError,
    UnsupportedError,
    WavetankError,
)
from simulator.fault import Trouble
from simulator.history import Event, History, Kind, Operation, Reading
from simulator.host import Host
from simulator.load.profile import Mixed
from simulator.load.sample import Sample
from simulator.operation import Failed, Invocation, operation
from simulator.pending import Pending
from simulator.property import Expectation, Property, Unknown, Violation, always, eventually, sometimes
from simulator.system import System
from simulator.user import Observer, User
from simulator.world import World

if TYPE_CHECKING:
    from simulator.testcase import machine_for

__all__ = [
    "DivergenceError",
    "EnvironmentFailedError",
    "Event",
    "Expectation",
    "Failed",
    "History",
    "Host",
    "InputError",
    "Invocation",
    "Kind",
    "Mixed",
    "Observer",
    "Operation",
    "Pending",
    "Property",
    "Reading",
    "Sample",
    "System",
    "SystemFailedError",
    "Trouble",
    "Unknown",
    "UnsupportedError",
    "User",
    "Violation",
    "WavetankError",
    "World",
    "always",
    "eventually",
    "machine_for",
    "operation",
    "sometimes",
]


def __getattr__(name: str) -> object:
    """Import what needs Hypothesis when it is asked for: who only serves a platform does without, and starts sooner."""
    if name == "machine_for":
        from simulator.testcase import machine_for

        return machine_for
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
