"""How likely a failure is after each step of its plan: runs that begin alike, and go on at random."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Self

from simulator.generation import draw_runs
from simulator.interrupts import Interrupts
from simulator.machine import Drawing
from simulator.plan import Plan
from simulator.property import Property
from simulator.rate import Rate
from simulator.run import Result
from simulator.system import System

__all__ = ["Likelihood", "jump"]

RUNS_PER_ROUND = 20


def jump(rates: Sequence[Rate]) -> int | None:
    """Return the step, counted from 1, with which the rate rises most; `rates` are those after 0, 1, 2 ... steps.

    A rise counts when the whole interval after the step is above the whole interval before it, which chance alone
    does about once in 300 times. None when no step is such.
    """
    rises = {
        step: after.share - before.share
        for step, (before, after) in enumerate(pairwise(rates), 1)
        if after.interval[0] > before.interval[1]
    }
    return max(rises, key=lambda step: rises[step], default=None)


class Likelihood:
    """Measures, for each prefix of a plan, how many runs that begin with it break a promise at the same site.

    `rates` has one for each number of steps, from none to all. Every prefix gets `runs` runs, in the plan's setting,
    each with `steps` drawn steps after the prefix. `on_run` is called after every run with how many there were. Raises
    InputError for a declaration of which no run can be made.
    """

    def __init__(
        self,
        system: System,
        plan: Plan,
        broken: Property,
        site: str,
        *,
        runs: int,
        steps: int,
        seed: int,
        on_run: Callable[[int], None] = lambda _runs: None,
    ) -> None:
        system.check_declared()
        self.rates = [Rate() for _ in range(len(plan.steps) + 1)]
        self.interrupted = False
        self._broken = broken
        self._site = site
        self._runs = runs
        self._steps = steps
        self._seed = seed
        self._on_run = on_run
        self._interrupts = Interrupts()
        self._is_drawn = False
        self._drawings = [
            Drawing(system, (broken,), partial(self._ran, count), [Plan(plan.setting, plan.steps[:count])])
            for count in range(len(self.rates))
        ]

    def run(self) -> Self:
        """Measure in rounds, each of which has runs of every prefix: an interrupt leaves all about equally known."""
        rounds = product(range(0, self._runs, RUNS_PER_ROUND), self._drawings)
        try:
            with self._interrupts:
                for number, (done, drawing) in enumerate(rounds):
                    self._is_drawn = False
                    runs = min(RUNS_PER_ROUND, self._runs - done)
                    draw_runs(drawing, runs=1 + runs, steps=self._steps, seed=self._seed, number=number)
        except KeyboardInterrupt:
            self.interrupted = True
        return self

    def _ran(self, count: int, _plan: Plan, result: Result, _frame: str) -> None:
        if self._is_drawn:
            violation = result.verdicts[self._broken.name].violation
            failed = violation is not None and violation.site == self._site
            self.rates[count] = Rate(self.rates[count].failed + failed, self.rates[count].runs + 1)
            self._on_run(sum(rate.runs for rate in self.rates))
        self._is_drawn = True  # the first of a search is the simplest of all, and says nothing about the others
        self._interrupts.check()
