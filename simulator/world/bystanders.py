"""Bystanders: threads that must stand still while a world is open, as it owns clock and randomness of the process."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

__all__ = ["all_standing_still", "standing_still"]

_holds: list[Callable[[], AbstractContextManager[None]]] = []


@contextlib.contextmanager
def standing_still(hold: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Within this, every world that opens enters `hold()` before, and leaves it when it has closed."""
    _holds.append(hold)
    try:
        yield
    finally:
        _holds.remove(hold)


def all_standing_still() -> ExitStack:
    """Hold all bystanders, until the stack that is returned is closed."""
    with ExitStack() as held:
        for hold in _holds:
            held.enter_context(hold())
        return held.pop_all()
