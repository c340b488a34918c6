"""wavetank: model-based, deterministic simulation testing of multi-user platforms.

What a user of the tool writes against is listed here; everything else is the tool's own.
"""

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
from simulator.operation import Failed, Invocation, operation
from simulator.pending import Pending
from simulator.property import Expectation, Property, Unknown, Violation, always, eventually, sometimes
from simulator.system import System
from simulator.testcase import machine_for
from simulator.user import Observer, User
from simulator.world import World

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
    "Observer",
    "Operation",
    "Pending",
    "Property",
    "Reading",
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
