"""What a Trio run tells the person who started it: one error, and an interrupt where nothing is half done."""

import signal

import pytest
import trio

from simulator.errors import InputError
from wavetank.ungrouped import run_ungrouped


@pytest.mark.parametrize("is_main", [True, False])
def test_an_interrupt_is_raised_at_a_checkpoint(is_main: bool) -> None:
    """Whichever task runs when it comes; what that has begun is done."""
    done: list[str] = []

    async def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("what was begun")
        await trio.sleep(60)
        done.append("what comes after the checkpoint")

    async def beside() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupted)

    with pytest.raises(KeyboardInterrupt):
        run_ungrouped(interrupted if is_main else beside)
    assert done == ["what was begun"]


def test_a_group_is_told_as_the_error_that_knows_whose_fault_it_is() -> None:
    async def fail() -> None:
        raise InputError("Say it otherwise.")

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)

    with pytest.raises(InputError, match="Say it otherwise"):
        run_ungrouped(both)
