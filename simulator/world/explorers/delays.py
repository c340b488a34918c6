"""A few delays in an otherwise calm order: delay-bounded scheduling.

Emmi, Qadeer and Rakamaric, "Delay-bounded scheduling", POPL 2011. Where this departs from the paper: a delayed task
does not only lose one turn; it loses a drawn number of them.
"""

import random
from collections.abc import Sequence

import trio

__all__ = ["Delays"]

DELAYS_MAX = (1, 2, 5)
ONE_IN = (2, 4, 16)
"""How rare a delay is among the choices, in weathers of three sizes."""
TURNS_LOG2_MAX = 6.0


class Delays:
    """What shrinking leaves of the other explorers, drawn at once: such bugs need nothing else."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random
        self._left = 1 + int(chance.random() * chance.choice(DELAYS_MAX))
        self._chance_of_delay = 1 / chance.choice(ONE_IN)
        self._turn = 0
        self._waits_until: dict[trio.lowlevel.Task, int] = {}

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of the first task that is not delayed; of the first of all, if all are."""
        self._turn += 1
        for index, task in enumerate(runnable):
            if self._waits_until.get(task, 0) <= self._turn and not self._delays(task, len(runnable)):
                return index
        return 0

    def _delays(self, task: trio.lowlevel.Task, count: int) -> bool:
        if self._left and count > 1 and self._random() < self._chance_of_delay:
            self._left -= 1
            self._waits_until[task] = self._turn + int(2 ** (self._random() * TURNS_LOG2_MAX))
            return True
        return False
