"""Long bursts: one task runs as long as it can, up to a drawn number of turns; then any other does."""

import random
from collections.abc import Sequence

import trio

__all__ = ["Bursts"]

TURNS_LOG2_MAX = (2.0, 4.0, 8.0)
"""The longest burst of weathers of three sizes: 4, 16 or 256 turns. Short and long ones are equally likely."""


class Bursts:
    """Few switches, at random places: what threads see on a machine that is busy with something else."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random
        self._log2_max = chance.choice(TURNS_LOG2_MAX)
        self._task: trio.lowlevel.Task | None = None
        self._left = 0

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of the task that has a burst, or begin the burst of any other."""
        if self._left and self._task in runnable:
            self._left -= 1
            return runnable.index(self._task)
        index = int(self._random() * len(runnable))
        self._task = runnable[index]
        self._left = int(2 ** (self._random() * self._log2_max)) - 1
        return index
