"""What can go wrong, sorted by whose fault it is. Every message says what happened, on what evidence, and the cure."""

import difflib
from collections.abc import Iterable

__all__ = [
    "AdapterFailedError",
    "DivergenceError",
    "EnvironmentFailedError",
    "InputError",
    "SystemFailedError",
    "UnsupportedError",
    "WavetankError",
    "known_names",
]

LISTED_MAX = 9
NEAR_MAX = 2


class WavetankError(Exception):
    """The root of every error that a user of wavetank meets. A bug of ours is an assertion instead."""

    exit_code = 2


class InputError(WavetankError):
    """The user's input is wrong: a name, a file, a declaration."""


class AdapterFailedError(InputError):
    """The user's code that connects wavetank to their deployment raised. No promise is broken by that: the run ends."""


class EnvironmentFailedError(WavetankError):
    """Something outside could not be reached or started: a server, a port, a file system."""


class SystemFailedError(WavetankError):
    """The system under test could not be run at all (failing a property is not an error but a result)."""


class UnsupportedError(WavetankError):
    """A simulated service was asked for something it does not model; it refuses rather than guess."""


class DivergenceError(WavetankError):
    """Two runs of one plan differ: a source of nondeterminism inside the world, ours or the system's."""

    exit_code = 3


def known_names(names: Iterable[str], command: str = "", meant: str = "") -> str:
    """Return what there is, or of many the nearest to what was meant, and the command, if any, that lists them."""
    known = list(names)
    if not known:
        return f"This system declares none (see {command})." if command else "There are none."
    if not meant or len(known) <= LISTED_MAX:
        return f"Known: {', '.join(known)}."
    near = " or ".join(map(repr, difflib.get_close_matches(meant, known, NEAR_MAX)))
    all_of_them = f"{command} lists them all." if command else f"Known: {', '.join(known)}."
    return f"Did you mean {near}? {all_of_them}" if near else all_of_them
