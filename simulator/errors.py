"""What can go wrong, sorted by whose fault it is. Every message says what happened, on what evidence, and the cure."""

__all__ = [
    "DivergenceError",
    "EnvironmentFailedError",
    "InputError",
    "SystemFailedError",
    "UnsupportedError",
    "WavetankError",
]


class WavetankError(Exception):
    """The root of every error that a user of wavetank meets. A bug of ours is an assertion instead."""

    exit_code = 2


class InputError(WavetankError):
    """The user's input is wrong: a name, a file, a declaration."""


class EnvironmentFailedError(WavetankError):
    """Something outside could not be reached or started: a server, a port, a file system."""


class SystemFailedError(WavetankError):
    """The system under test could not be run at all (failing a property is not an error but a result)."""


class UnsupportedError(WavetankError):
    """A simulated service was asked for something it does not model; it refuses rather than guess."""


class DivergenceError(WavetankError):
    """Two runs of one plan differ: a source of nondeterminism inside the world, ours or the system's."""

    exit_code = 3
