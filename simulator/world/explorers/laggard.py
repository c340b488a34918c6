"""One task falls far behind while all others are picked uniformly; after a while it is another one."""

import random
from collections.abc import Sequence

import trio

__all__ = ["Laggard"]

TURNS_LOG2 = (4.0, 8.0)
"""So long does a task fall behind: 16 to 256 turns of others, short and long times equally likely."""


class Laggard:
    """Finds races among tasks of which one is far behind: uniform picks do not get there, and priorities do not race.

    All others that are runnable go before the laggard; where there is no other, it does not wait.
    """

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random
        self._laggard: trio.lowlevel.Task | None = None
        self._left = 0

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return any index but that of the laggard."""
        count = len(runnable)
        if count == 1:
            return 0
        if not self._left:
            least, most = TURNS_LOG2
            self._left = int(2 ** (least + self._random() * (most - least)))
            self._laggard = runnable[int(self._random() * count)]
        self._left -= 1
        index = int(self._random() * count)
        if runnable[index] is self._laggard:
            index = (index + 1 + int(self._random() * (count - 1))) % count
        return index
