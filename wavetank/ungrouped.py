"""One error in place of a group: what a Trio run tells the person who started it."""

from collections.abc import Iterator
from contextlib import contextmanager

from simulator.errors import WavetankError

__all__ = ["leaves", "ungrouped"]


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
