"""Explorers: the ways in which a storm chooses among runnable tasks. No single one finds every bug."""

import random
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from simulator.world.explorers.bursts import Bursts
from simulator.world.explorers.delays import Delays
from simulator.world.explorers.laggard import Laggard
from simulator.world.explorers.priorities import Priorities
from simulator.world.explorers.rounds import Rounds
from simulator.world.explorers.uniform import UniformPicks

__all__ = ["PORTFOLIO", "Explorer"]


class Explorer(Protocol):
    """Chooses which task takes the next turn."""

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of one of the runnable tasks. Asked also when there is only one.

        The first `in_round` of them have not run since the others became runnable; those run next in calm weather,
        in this order, and then begins the next round. All in front of a task have waited at least as long as it has.
        """


PORTFOLIO: tuple[Callable[[random.Random], Explorer], ...] = (
    *(UniformPicks,) * 4,
    *(Laggard,) * 3,
    Priorities,
    Bursts,
    Rounds,
    Delays,
)
"""What a storm draws its explorer from: most races are shallow, and found by uniform picks; most others need that one
task is far behind."""
