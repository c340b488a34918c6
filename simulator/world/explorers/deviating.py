"""Calm order, but for a few tasks that wait for others: what shrinking leaves of a storm."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import trio

from simulator.deviation import Delay

__all__ = ["Deviating"]

Turn = tuple[str, int]
"""The nth turn of a task, counted from 1."""


class Deviating:
    """Follows explicit deviations; with none, it is the calm order, one task at a time."""

    def __init__(self, delays: Iterable[Delay], name_of: Callable[[trio.lowlevel.Task], str]) -> None:
        self._name_of = name_of
        self._waits_for: dict[Turn, list[Turn]] = {}
        for each in delays:
            self._waits_for.setdefault((each.task, each.nth), []).append((each.until, each.until_nth))
        self._turns: Counter[str] = Counter()

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Return the index of the first task that waits for no other; of the first of all, if all do."""
        index = next((index for index, task in enumerate(runnable) if not self._waits(task)), 0)
        self._turns[self._name_of(runnable[index])] += 1
        return index

    def _waits(self, task: trio.lowlevel.Task) -> bool:
        name = self._name_of(task)
        return any(self._turns[other] < nth for other, nth in self._waits_for.get((name, self._turns[name] + 1), ()))
