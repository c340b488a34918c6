"""Interrupts: a Ctrl-C that is remembered, whatever it comes in the middle of."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

__all__ = ["Interrupts", "is_ours"]

IMPATIENT = 3
"""So many interrupts are more than a wish to end in order: the last of them is raised in any case."""


class Interrupts:
    """While entered, raises KeyboardInterrupt at an interrupt, and once more at the next `check`.

    Python drops what is raised in a finaliser, or in a function that watches the garbage collector, as Hypothesis has
    one. A handler that somebody else has installed is left in place.
    """

    def __init__(self) -> None:
        self._came = 0
        self._is_installed = False
        self.is_deferring = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.note)
            self._is_installed = True
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Remember an interrupt and raise it (a signal handler)."""
        self._came += 1
        if not self.is_deferring or self._came >= IMPATIENT:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only remember interrupts meanwhile: what is done here takes a moment, and must not be lost."""
        self.is_deferring = True
        try:
            yield
        finally:
            self.is_deferring = False

    @property
    def came(self) -> bool:
        """Whether an interrupt has come."""
        return self._came > 0

    def check(self) -> None:
        """Raise KeyboardInterrupt if an interrupt has come."""
        if self._came:
            raise KeyboardInterrupt


def is_ours(handler: object) -> bool:
    """Say whether a signal handler is Python's own, or one that remembers: one that a world may stand in for."""
    owner = getattr(handler, "__self__", None)
    return handler is signal.default_int_handler or (isinstance(owner, Interrupts) and not owner.is_deferring)
