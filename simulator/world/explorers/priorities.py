"""Random priorities with a few change points: probabilistic concurrency testing (PCT).

Burckhardt, Kothari, Musuvathi and Nagarakatti, "A randomized scheduler with probabilistic guarantees of finding
bugs", ASPLOS 2010. Where this departs from the paper: a change point is a turn of one task, not of the whole run, so
that it needs no estimate of the run's length, and lies as densely in a task of few turns as in one of many.
"""

import random
from collections.abc import Sequence

import trio

__all__ = ["Priorities"]

CHANGES_PER_TASK = (0.0, 0.1, 0.5)
"""How likely a task is to have a change point, in weathers of three sizes."""

TURN_LOG2_MAX = 5.0
"""Change points are at turns up to 32, those of early turns as likely as those of late ones."""


class Priorities:
    """The runnable task of the highest priority takes every turn, so that others fall behind as far as they can."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._changes = chance.choice(CHANGES_PER_TASK)
        self._priority: dict[trio.lowlevel.Task, float] = {}
        self._turns_left: dict[trio.lowlevel.Task, int] = {}  # until the change point, of tasks that have one
        self._lowest = 0.0

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of the task with the highest priority; new tasks draw theirs."""
        priority = self._priority
        best, best_priority = 0, -1e9
        for index, task in enumerate(runnable):
            its = priority.get(task)
            if its is None:
                its = self._drawn(task)
            if its > best_priority:
                best, best_priority = index, its
        self._count_turn(runnable[best])
        return best

    def _drawn(self, task: trio.lowlevel.Task) -> float:
        drawn = self._priority[task] = self._chance.random()
        if self._chance.random() < self._changes:
            self._turns_left[task] = int(2 ** (self._chance.random() * TURN_LOG2_MAX))
        return drawn

    def _count_turn(self, task: trio.lowlevel.Task) -> None:
        left = self._turns_left.get(task)
        if left is not None:
            self._turns_left[task] = left - 1
            if left == 1:
                self._lowest -= 1.0
                self._priority[task] = self._lowest
