"""A campaign: many runs of one system, until a promise is broken or the budget is used up."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable

import attrs
import hypothesis
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from simulator.arguments import simplify_arguments
from simulator.divergence import divergence
from simulator.errors import DivergenceError, WavetankError
from simulator.generation import BACKEND
from simulator.interrupts import Interrupts
from simulator.machine import Machine, machine_class
from simulator.plan import Plan
from simulator.property import Expectation, Outcome, Property, Violation
from simulator.reducer import Reducer, Reduction
from simulator.run import Result
from simulator.simulated_run import simulate, spelled_out
from simulator.system import System
from simulator.variant import Variant, nearest_passing

__all__ = ["Budget", "Campaign", "Failure", "Statistics", "Tally"]

RUNS_DEFAULT = 200
STEPS_DEFAULT = 30
SHRINK_BUDGET_S = 20.0
TRIES_MIN = 20
"""How many invocations of an operation must have failed before wavetank says that it cannot succeed."""

REPEATED_ONE_IN = 50
"""Of so many runs that kept every promise the first is run once more, and the very last one is."""

RUNS_PER_SEARCH = 200
"""Hypothesis remembers every example it tried; a long campaign is many searches, so that memory stays flat."""


@attrs.frozen
class Budget:
    """How much a campaign may spend: runs (None: until the time is up), steps per run, seconds in all and to shrink."""

    runs: int | None = RUNS_DEFAULT
    steps: int = STEPS_DEFAULT
    max_time_s: float | None = None
    shrink_s: float = SHRINK_BUDGET_S


@attrs.define
class Tally:
    """What one property said over all runs."""

    held: int = 0
    unknown: int = 0
    examined: Counter[str] = attrs.field(factory=Counter)
    missing: str = ""


@attrs.define
class Statistics:
    """What a campaign did: counts, and the times it took in both worlds."""

    tallies: dict[str, Tally]
    runs: int = 0
    steps: int = 0
    events: int = 0
    simulated_s: float = 0.0
    real_s: float = 0.0
    search_s: float = 0.0
    outcomes: dict[str, Counter[str]] = attrs.field(factory=dict)  # per operation: how its invocations ended

    def add(self, plan: Plan, result: Result) -> None:
        """Count one finished run."""
        self.runs += 1
        self.steps += len(plan.steps)
        self.events += len(result.history.events)
        self.simulated_s += result.simulated_s
        for each in result.history.operations():
            how = each.completed.kind.value if each.completed is not None else "open"
            self.outcomes.setdefault(each.name, Counter())[how] += 1
        for name, verdict in result.verdicts.items():
            tally = self.tallies[name]
            tally.examined.update(verdict.examined)
            tally.held += verdict.outcome is Outcome.HOLDS
            tally.unknown += verdict.outcome is Outcome.UNKNOWN
            tally.missing = verdict.missing or tally.missing


@attrs.frozen(eq=False)
class Failure:
    """A broken promise: as it was found, and as small as it became."""

    broken: Property
    violation: Violation
    found: Plan
    reduction: Reduction
    result: Result
    variant: Variant | None = None

    @property
    def plan(self) -> Plan:
        """The smallest plan that was found to break the promise."""
        return self.reduction.plan


class _Stop(BaseException):
    """Ends Hypothesis's search at once, with an error or without; it lets only base exceptions pass."""

    def __init__(self, error: DivergenceError | None = None) -> None:
        self.error = error


class Campaign:
    """Searches for a broken promise, then shrinks the plan that broke it.

    `on_run` is called after every run with the statistics so far, `on_violation` with what broke first, before it is
    shrunk, and `on_reduce` with each smaller failing plan. With `doublecheck` every run is run twice,
    not only a sample of them.
    """

    def __init__(
        self,
        system: System,
        *,
        budget: Budget,
        seed: int,
        properties: Iterable[str] = (),
        doublecheck: bool = False,
        on_run: Callable[[Statistics], None] = lambda _statistics: None,
        on_violation: Callable[[Property, Violation, Plan], None] = lambda _property, _violation, _plan: None,
        on_reduce: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        system.check_declared()
        self.system = system
        self.properties = system.chosen_properties(properties)
        self.statistics = Statistics({each.name: Tally() for each in self.properties})
        self.budget = budget
        self.seed = seed
        self.failure: Failure | None = None
        self.interrupted = False
        self._doublecheck = doublecheck
        self._interrupts = Interrupts()
        self._on_run = on_run
        self._on_violation = on_violation
        self._on_reduce = on_reduce
        self._last: tuple[Plan, Result] | None = None

    def run(self) -> "Campaign":
        """Search, and shrink what was found. Raises DivergenceError when a run cannot be repeated exactly."""
        gc.collect()
        gc.freeze()  # what is imported by now need not be looked at by every collection of every run
        begun_s = time.perf_counter()
        try:
            with self._interrupts:
                try:
                    self._search(begun_s)
                finally:
                    self.statistics.search_s = time.perf_counter() - begun_s
                if self.failure is not None:
                    self._shrink(self.failure)
                else:
                    self._repeat_last()
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.statistics.real_s = time.perf_counter() - begun_s
            gc.unfreeze()
        return self

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

    def _search(self, begun_s: float) -> None:
        def on_run(plan: Plan, result: Result) -> None:
            self.statistics.add(plan, result)
            self.statistics.real_s = time.perf_counter() - begun_s
            if result.violated:
                self.failure = self._found(plan, result)
            self._on_run(self.statistics)
            self._interrupts.check()
            if result.violated:
                raise _Stop
            self._last = plan, result
            if self._over():
                raise _Stop

        def on_closed() -> None:
            if self._last is not None and (self._doublecheck or self.statistics.runs % REPEATED_ONE_IN == 1):
                try:
                    self._repeat_last()
                except DivergenceError as error:
                    raise _Stop(error) from None

        machine = machine_class(self.system, self.properties, on_run, on_closed)
        number = 0
        while not self._over():
            left = RUNS_PER_SEARCH if self.budget.runs is None else self.budget.runs - self.statistics.runs
            before = self.statistics.runs
            try:
                self._search_once(machine, min(left, RUNS_PER_SEARCH), number)
            except _Stop as stop:
                if stop.error is not None:
                    raise stop.error from None
                return
            if self.statistics.runs == before:
                return  # Hypothesis found nothing new to try: the system's plans are few and all were run
            number += 1

    def _search_once(self, machine: type[Machine], runs: int, number: int) -> None:
        settings = hypothesis.settings(
            max_examples=runs,
            stateful_step_count=self.budget.steps + 1,  # Hypothesis counts the drawing of the frame as one
            database=None,
            deadline=None,
            phases=(Phase.generate,),  # the reducer shrinks, on the recorded plan; see the decision record
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=False,
            backend=BACKEND,
        )
        # Each search of a campaign has a seed of its own, derived so that one number repeats them all.
        hypothesis.seed(self.seed + 1_000_003 * number)(machine)
        run_state_machine_as_test(machine, settings=settings)

    def _over(self) -> bool:
        statistics, budget = self.statistics, self.budget
        out_of_runs = budget.runs is not None and statistics.runs >= budget.runs
        return out_of_runs or (budget.max_time_s is not None and statistics.real_s >= budget.max_time_s)

    def _repeat_last(self) -> None:
        """Repeat the last run, unless it has been."""
        if self._last is not None:
            self._repeat(*self._last)
            self._last = None

    def _repeat(self, plan: Plan, result: Result) -> None:
        """Run a plan once more. Raises DivergenceError when the history is not exactly the same."""
        again = simulate(self.system, plan, self.properties)
        diverged = divergence(self.system, plan, result.history, again.history)
        if diverged is not None:
            raise diverged

    def _found(self, plan: Plan, result: Result) -> Failure:
        """Return a failure as the search has found it: whatever comes next, an interrupt too, it is not lost."""
        name = result.violated[0]
        broken = next(each for each in self.properties if each.name == name)
        return Failure(broken, _violation(result, name), plan, Reduction(plan, 0, 0.0, complete=False), result)

    def _shrink(self, found: Failure) -> None:
        """Make a failure small. An interrupt is heeded between two replays, so that the next one can be run."""
        broken, violation = found.broken, found.violation

        def fails(candidate: Plan) -> bool:
            self._interrupts.check()
            try:
                candidate_result = simulate(self.system, candidate, (broken,))
            except WavetankError:
                return False
            again = candidate_result.verdicts[broken.name].violation
            return again is not None and again.site == violation.site

        def simplify(smaller: Plan, still_fails: Callable[[Plan], bool]) -> Plan:
            return simplify_arguments(self.system, smaller, still_fails)

        with self._interrupts.deferred():
            self._on_violation(broken, violation, found.plan)
            self._repeat(found.plan, found.result)
            reducer = Reducer(
                fails,
                budget_s=self.budget.shrink_s,
                spell_out=lambda stormy: spelled_out(self.system, stormy),
                simplify=simplify,
                on_progress=self._on_reduce,
            )
            try:
                reduction = reducer.reduce(found.plan)
            except KeyboardInterrupt:
                self.interrupted = True
                reduction = reducer.so_far()
            final = simulate(self.system, reduction.plan, self.properties)
            self.failure = Failure(broken, _violation(final, broken.name), found.plan, reduction, final)
            variant = nearest_passing(
                reduction.plan, final.history, lambda plan: simulate(self.system, plan, self.properties)
            )
            self.failure = attrs.evolve(self.failure, variant=variant)


def _violation(result: Result, name: str) -> Violation:
    violation = result.verdicts[name].violation
    assert violation is not None
    return violation
