"""Weather: what decides the order of runnable tasks and the lateness of messages between one step and the next."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import trio

from simulator.deviation import LATE_MAX_S, Delay, Deviation, Hold
from simulator.world.explorers import PORTFOLIO, Explorer
from simulator.world.explorers.deviating import Deviating
from simulator.world.names import TaskPath, task_name
from simulator.world.recorder import Recorder

__all__ = ["Weather"]

JITTERS = ((0.0, 0, 0.0), (4.0, 16, LATE_MAX_S), (4.0, 16, LATE_MAX_S), (4.0, 4, 0.01))
"""How late messages are in storms of several kinds: up to so many nominal latencies, but one in so many up to so long.

Never longer than any time-out of a system worth testing: what breaks things for longer is a fault, and a step.
"""
CALM_ORDER_ONE_IN = 20
"""So many storms leave the order of tasks alone and only make messages late."""
_MASK = (1 << 64) - 1


class Weather:
    """Calm: default order and nominal latency. A storm: an explorer's order and jitter, both drawn from its seed.

    In calm weather there may be explicit deviations instead. `digest` folds every choice made, so that two runs that
    chose differently cannot have the same history hash. With a `recorder`, what a storm does is kept as deviations.
    """

    def __init__(self, paths: Mapping[trio.lowlevel.Task, TaskPath] | None = None) -> None:
        self._paths = paths if paths is not None else {}
        self.digest = 0
        self.choices = 0
        self.recorder: Recorder | None = None
        self.change(0)

    def change(self, seed: int, deviations: Iterable[Deviation] = ()) -> None:
        """Begin the weather of the next step. Deviations are from calm: they count only where the seed is 0."""
        self._explorer: Explorer | None = None
        self._holds: dict[tuple[str, str, int], float] = {}
        self._sent: Counter[tuple[str, str]] = Counter()
        self._latencies, self._rare_one_in, self._rare_s = 0.0, 0, 0.0
        if seed:
            chance = random.Random(seed)
            self._random = chance.random
            self._latencies, self._rare_one_in, self._rare_s = chance.choice(JITTERS)
            if not self._rare_one_in or chance.random() * CALM_ORDER_ONE_IN >= 1:
                self._explorer = chance.choice(PORTFOLIO)(chance)
        else:
            self._deviate(tuple(deviations))
        if self.recorder is not None:
            self.recorder.begin_step()

    def _deviate(self, deviations: tuple[Deviation, ...]) -> None:
        delays = [each for each in deviations if isinstance(each, Delay)]
        if delays:
            self._explorer = Deviating(delays, self._name_of)
        self._holds = {
            (each.source, each.destination, each.nth): each.for_s for each in deviations if isinstance(each, Hold)
        }

    def _fold(self, choice: int) -> None:
        self.digest = (self.digest * 1_000_003 + choice + 1) & _MASK

    def _name_of(self, task: trio.lowlevel.Task) -> str:
        return task_name(self._paths[task])

    # The order of tasks

    @property
    def picks_singly(self) -> bool:
        """Whether tasks are picked one at a time, instead of in rounds."""
        return self._explorer is not None

    def pick(self, runnable: Sequence[trio.lowlevel.Task], in_round: int) -> int:
        """Choose one of the runnable tasks; see `Explorer.pick`."""
        assert self._explorer is not None
        chosen = self._explorer.pick(runnable, in_round)
        if len(runnable) > 1:
            self.choices += 1
            self._fold(chosen)
        if self.recorder is not None:
            self.recorder.picked(runnable, chosen, self._name_of)
        return chosen

    # The lateness of messages

    def late_s(self, source: str, destination: str, nominal_s: float, item: object = None) -> float:
        """Return by how much the next message from one host to another is late; `item` is what is in it."""
        if self._rare_one_in:
            late_s = self.jitter_s(nominal_s)
        elif self._holds or self.recorder is not None:
            late_s = 0.0
        else:
            return 0.0
        if self._holds or self.recorder is not None:
            link = source, destination
            self._sent[link] = nth = self._sent[link] + 1
            late_s += self._holds.get((source, destination, nth), 0.0)
            if self.recorder is not None:
                self.recorder.sent(source, destination, nth, late_s, item)
        return late_s

    def jitter_s(self, nominal_s: float) -> float:
        """Return by how much a storm makes the next message late: usually a few nominal latencies, rarely much more."""
        drawn = self._random()
        self._fold(int(drawn * _MASK))
        if int(drawn * 1_000_003) % self._rare_one_in == 0:
            return drawn * self._rare_s
        return drawn * self._latencies * nominal_s
