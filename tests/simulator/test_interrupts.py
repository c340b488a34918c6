"""Interrupts: none is lost, also where Python drops what is raised."""

import gc
import signal
from collections.abc import Iterator

import pytest

from simulator.interrupts import Interrupts


@pytest.fixture
def watched() -> Iterator[None]:
    """A function that watches the collector, in which an interrupt comes."""

    def interrupt(phase: str, _info: object) -> None:
        if phase == "stop":
            signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(interrupt)
    yield
    gc.callbacks.remove(interrupt)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_raised_at_the_next_check(watched: None) -> None:
    """It was asked for once, and must not have to be asked for again."""
    with Interrupts() as interrupts:
        interrupts.check()
        gc.collect()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_an_interrupt_is_raised_at_once_and_the_handler_given_back() -> None:
    """As without it."""
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferred_interrupts_are_raised_at_the_next_check() -> None:
    """What takes a moment and must not be lost is finished first; who asks three times does not wait."""
    with Interrupts() as interrupts:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with interrupts.deferred(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
