"""One error in place of a group: what a Trio run tells the person who started it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio

from simulator.errors import WavetankError

__all__ = ["leaves", "run_ungrouped", "ungrouped"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def run_ungrouped(function: Callable[[*Ts], Awaitable[R]], *arguments: *Ts) -> R:
    """Run it in Trio, and return its result or raise one error.

    An interrupt is raised at a checkpoint. By Python's own way it would be raised in the middle of whatever runs, and
    not every library bears that.
    """
    with ungrouped():
        return trio.run(function, *arguments, restrict_keyboard_interrupt_to_checkpoints=True)


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise, in place of a group, the interrupt in it, or else the error that knows whose fault it is.

    A group that holds neither is a bug of ours, and passes as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        for kind in (KeyboardInterrupt, WavetankError):
            for leaf in leaves(group):
                if isinstance(leaf, kind):
                    raise leaf from group
        raise


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the errors that a group holds, at whatever depth; a lone error holds itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error
