"""Shuffled rounds of short bursts: all tasks stay near each other, but the order within each round is any."""

import random
from collections.abc import Sequence

import trio

__all__ = ["Rounds"]

TURNS_MAX = (1, 2, 3)


class Rounds:
    """Near lockstep: finds what needs several tasks to be at certain places at the same time."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random
        self._turns_max = chance.choice(TURNS_MAX)
        self._task: trio.lowlevel.Task | None = None
        self._left = 0

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of the task that has a burst, or begin one of a task that had none in this round."""
        if self._left and self._task in runnable:
            self._left -= 1
            return runnable.index(self._task)
        index = int(self._random() * in_round)
        self._task = runnable[index]
        self._left = int(self._random() * self._turns_max)
        return index
