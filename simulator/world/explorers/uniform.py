"""Uniform picks: every runnable task is as likely as any other, at every turn."""

import random
from collections.abc import Sequence

import trio

__all__ = ["UniformPicks"]


class UniformPicks:
    """A random walk. It finds races of a few turns; that a task falls far behind, it practically never shows."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance.random

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return any index."""
        return int(self._random() * len(runnable))
