"""A campaign: many runs of one system, until a promise is broken or the budget is used up."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import attrs

from simulator.batch import Batch, Searched, Seen, search
from simulator.beginnings import Beginnings
from simulator.divergence import divergence, record_of
from simulator.errors import InputError
from simulator.failure import Failure
from simulator.interrupts import Interrupts
from simulator.plan import Plan
from simulator.property import Expectation, Property, Violation
from simulator.reducer import Reduction
from simulator.run import Result
from simulator.shrinking import compared, shrink
from simulator.simulated_run import simulate
from simulator.statistics import Statistics
from simulator.system import System
from simulator.workers import Alone, Workers, check_portable

__all__ = ["Budget", "Campaign"]

RUNS_DEFAULT = 200
STEPS_DEFAULT = 30
SHRINK_BUDGET_S = 30.0
TRIES_MIN = 20
"""How many invocations of an operation must have failed before wavetank says that it cannot succeed."""

RUNS_PER_BATCH = 25
"""A worker's batch takes seconds; and Hypothesis remembers every run of one, so that memory stays flat."""

BATCHES_AT_FIRST = 4
"""After so many, then twice as many, and so on, runs begin to go on from what was reached rarely. That is decided only
then, so that the runs are the same with any number of workers."""


@attrs.frozen
class Budget:
    """How much a campaign may spend: runs (None: until the time is up), steps per run, seconds in all and to shrink.

    With `until_flat` it also ends when every *sometimes* was reached and no new behaviour has come for a while.
    """

    runs: int | None = RUNS_DEFAULT
    steps: int = STEPS_DEFAULT
    max_time_s: float | None = None
    shrink_s: float = SHRINK_BUDGET_S
    until_flat: bool = False


class Campaign:
    """Searches for a broken promise, then shrinks the plan that broke it.

    The same seed gives the same result, however many `workers` there are: of several failures it is the one that one
    worker would have met first. `on_run` is called with the statistics so far, `on_result` with each plan and what it
    came to (only of runs that are made in this process), `on_batch` with each finished batch and
    the seconds of search by then, `on_violation` with what broke, before it is shrunk, and `on_reduce` with each
    smaller failing plan. With `doublecheck` every run is made twice, not only a sample of them.

    What `on_batch` was given by a campaign with the same settings can be given as `earlier`, with its `earlier_s`
    seconds: these batches are not made again, and the result is that of one campaign.
    """

    def __init__(
        self,
        system: System,
        *,
        budget: Budget,
        seed: int,
        properties: Iterable[str] = (),
        workers: Workers | None = None,
        doublecheck: bool = False,
        earlier: Sequence[Searched] = (),
        earlier_s: float = 0.0,
        on_run: Callable[[Statistics], None] = lambda _statistics: None,
        on_result: Callable[[Plan, Result], None] = lambda _plan, _result: None,
        on_batch: Callable[[Searched, float], None] = lambda _searched, _real_s: None,
        on_violation: Callable[[Property, Violation, Plan], None] = lambda _property, _violation, _plan: None,
        on_reduce: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        system.check_declared()
        self.system = system
        self._workers = Alone() if workers is None else workers
        if not isinstance(self._workers, Alone):
            check_portable(system)
        self.properties = system.chosen_properties(properties)
        self.statistics = Statistics.of(each.name for each in self.properties)
        self.budget = budget
        self.seed = seed
        self.failure: Failure | None = None
        self.interrupted = False
        self._doublecheck = doublecheck
        self._beginnings = Beginnings(system)
        self._interrupts = Interrupts()
        self._earlier = earlier
        self._earlier_s = earlier_s
        self._on_run = on_run
        self._on_result = on_result
        self._on_batch = on_batch
        self._on_violation = on_violation
        self._on_reduce = on_reduce
        self._begun_s = 0.0
        self._number = 0  # of the next batch
        self._told = sys.maxsize  # the number of the batch whose violation was told
        self._found: Seen | None = None
        self._last: Seen | None = None

    def run(self) -> "Campaign":
        """Search, and shrink what was found. Raises DivergenceError when a run cannot be repeated exactly.

        Raises InputError when an earlier run makes another history now: then the system is not what it was.
        """
        gc.collect()
        gc.freeze()  # what is imported by now need not be looked at by every collection of every run
        self._begun_s = time.perf_counter() - self._earlier_s
        try:
            with self._interrupts:
                try:
                    self._check_unchanged()
                    self._search()
                finally:
                    self.statistics.search_s = self._elapsed_s()
                    if self._found is not None:
                        with self._interrupts.deferred():
                            self.failure = self._repeated(self._found)
                if self.failure is not None:
                    if self.budget.shrink_s:  # else it is told as it was found
                        self._shrink(self.failure)
                elif self._last is not None and not self._doublecheck:
                    self._repeat(self._last)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.statistics.real_s = self._elapsed_s()
            gc.unfreeze()
        return self

    def recall(self) -> "Campaign":
        """Be what the earlier batches came to, interrupted after them. A failure among them is run, and not shrunk."""
        for searched in self._earlier:
            self.statistics.merge(searched.statistics)
            if searched.found is not None:
                self.failure = self._repeated(searched.found)
        self.statistics.search_s = self.statistics.real_s = self._earlier_s
        self.interrupted = True
        return self

    def _check_unchanged(self) -> None:
        last = self._earlier[-1].last if self._earlier else None
        if last is not None and simulate(self.system, last.plan, self.properties).history.hash != last.record.hash:
            raise InputError(
                f"the system has changed since these {len(self._earlier)} batches were made, or is not deterministic: "
                "the last run makes another history now. Start a new campaign."
            )

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._begun_s

    def never_succeeded(self) -> list[str]:
        """The operations of which not one succeeded, although many were tried: most likely they cannot."""
        outcomes = self.statistics.outcomes
        return [name for name, how in outcomes.items() if not how["ok"] and how.total() >= TRIES_MIN]

    def unreached(self) -> list[Property]:
        """The *sometimes* that no run reached."""
        return [
            each
            for each in self.properties
            if each.expectation is Expectation.SOMETIMES and not self.statistics.tallies[each.name].held
        ]

    def unknown(self) -> list[Property]:
        """The promises that no run could judge."""
        return [
            each
            for each in self.properties
            if each.expectation is not Expectation.SOMETIMES
            and not self.statistics.tallies[each.name].held
            and (self.failure is None or each != self.failure.broken)
        ]

    @property
    def exit_code(self) -> int:
        """0 all hold; 1 a promise is broken or a *sometimes* never reached; 2 nothing was judged; 130 interrupted."""
        if self.failure is not None:
            return 1
        if self.interrupted:
            return 130
        if self.statistics.runs == 0 or self.unknown() or self.never_succeeded():
            return 2
        return 1 if self.unreached() else 0

    def _search(self) -> None:
        before, batches = -1, BATCHES_AT_FIRST
        while before != self.statistics.runs and not (self._found or self._is_over()):
            before = self.statistics.runs
            self._search_batches(batches)
            if not (self._found or self._is_over()):
                self._beginnings.shorten(self.statistics, self._workers)
            batches *= 2

    def _search_batches(self, most: int) -> None:
        is_alone = isinstance(self._workers, Alone)
        make = partial(search, on_run=self._ran) if is_alone else search
        for searched in self._results(make, most):
            is_new = searched.number >= len(self._earlier)
            if not (is_alone and is_new):
                self.statistics.merge(searched.statistics)
                self._on_run(self.statistics)
            if is_new:
                news = self._beginnings.news(searched.reached)
                with self._interrupts.deferred():  # what is kept is kept whole, and once
                    self._on_batch(attrs.evolve(searched, reached=news), self._elapsed_s())
            self.statistics.real_s = self._elapsed_s()
            self._interrupts.check()
            self._last = searched.last or self._last
            self._beginnings.note(searched.reached)
            if searched.found is not None or self._is_flat():
                break
        self._workers.rest()

    def _results(self, make: Callable[[Batch], Searched], most: int) -> Iterator[Searched]:
        """Yield what each of so many batches comes to, or came to earlier."""
        batches = self._batches(most)
        for batch in batches:
            if batch.number < len(self._earlier):
                self._searched(self._earlier[batch.number])
                yield self._earlier[batch.number]
            else:
                rest = self._workers.in_order(make, chain([batch], batches), self._searched)
                yield from (searched for _batch, searched in rest)

    def _batches(self, most: int) -> Iterator[Batch]:
        """Yield so many batches, or as many as are still to be made; the last one may be smaller."""
        names, beginnings = tuple(each.name for each in self.properties), self._beginnings.plans()
        budget, left = self.budget, sys.maxsize if self.budget.runs is None else self.budget.runs - self.statistics.runs
        until_s = None if budget.max_time_s is None else time.time() + budget.max_time_s - self._elapsed_s()
        while left > 0 and most > 0 and not self._is_over():
            runs = min(RUNS_PER_BATCH, left)
            yield Batch(
                self.system,
                names,
                self.seed,
                self._number,
                runs,
                budget.steps,
                doublecheck=self._doublecheck,
                beginnings=beginnings,
                until_s=until_s,
            )
            self._number += 1
            left, most = left - runs, most - 1

    def _ran(self, plan: Plan, result: Result, frame: str) -> None:
        """Note one run that was made in this process."""
        if result.violated:
            self._found = Seen.of(plan, result, frame)
        self.statistics.add(plan, result)
        self._on_result(plan, result)
        self.statistics.real_s = self._elapsed_s()
        self._on_run(self.statistics)
        self._interrupts.check()

    def _searched(self, searched: Searched) -> None:
        """Tell at once what broke: it is known long before it is shrunk, and before earlier batches are done.

        It is what was found, unless one of those finds another: whoever interrupts them does not lose it.
        """
        found = searched.found
        if found is not None and searched.number < self._told:
            self._told = searched.number
            self._found = found
            name, violation = found.violations[0]
            self._on_violation(self._named(name), violation, found.plan)

    def _named(self, name: str) -> Property:
        return next(each for each in self.properties if each.name == name)

    def _is_flat(self) -> bool:
        return self.budget.until_flat and self.statistics.is_flat and not self.unreached()

    def _is_over(self) -> bool:
        statistics, budget = self.statistics, self.budget
        if self._number < len(self._earlier):
            return False
        out_of_runs = budget.runs is not None and statistics.runs >= budget.runs
        out_of_time = budget.max_time_s is not None and self._elapsed_s() >= budget.max_time_s
        return statistics.runs > 0 and (out_of_runs or out_of_time or self._is_flat())

    def _repeat(self, seen: Seen) -> Result:
        """Make a run once more. Raises DivergenceError when the history is not exactly the same."""
        again = simulate(self.system, seen.plan, self.properties)
        if again.history.hash != seen.record.hash:
            raise divergence(self.system, seen.plan, seen.record, record_of(again.history))
        return again

    def _repeated(self, found: Seen) -> Failure:
        """Return what the search has found, run again in this process. Whatever comes next, it is not lost."""
        name, violation = found.violations[0]
        reduction = Reduction(found.plan, 0, 0.0, complete=False)
        return Failure(self._named(name), violation, found.plan, found.frame, reduction, self._repeat(found))

    def _shrink(self, found: Failure) -> None:
        """Make a failure small. What is reached is kept whatever comes next, also an interrupt."""
        with self._interrupts.deferred():
            self.failure, self.interrupted = shrink(
                self.system,
                found,
                self.properties,
                budget_s=self.budget.shrink_s,
                workers=self._workers,
                interrupts=self._interrupts,
                on_reduce=self._on_reduce,
            )
            self.failure = compared(self.system, self.failure, self.properties)
