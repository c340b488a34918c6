"""A batch: a few runs of a campaign, drawn from a seed of their own, the same wherever and whenever they are made."""

import time
from collections.abc import Callable

import attrs

from simulator.divergence import Record, divergence, record_of
from simulator.errors import WavetankError
from simulator.generation import draw_runs
from simulator.machine import Drawing
from simulator.plan import Plan
from simulator.property import Expectation, Outcome, Violation
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.statistics import Statistics
from simulator.system import System
from simulator.workers import told_to_stop

__all__ = ["Batch", "Searched", "Seen", "search"]

REPEATED_IN_ONE_OF = 2
"""In one of so many batches a run is made twice, if not all are."""

FRESH_TO_BEGUN = 2
"""So many runs begin afresh for one that begins with a given plan."""

FEW = 2
"""What more runs of a batch than this have reached is not rare."""


@attrs.frozen
class Batch:
    """So many runs of at most so many steps, judged by the properties of these names; each has its own `number`.

    With `doublecheck` each run is made twice, and compared.
    """

    system: System
    properties: tuple[str, ...]
    seed: int
    number: int
    runs: int
    steps: int
    doublecheck: bool = False
    beginnings: tuple[Plan, ...] = ()
    """Plans with one of which a run in three begins."""
    until_s: float | None = None
    """When to stop in any case, as `time.time` tells it: a moment that other machines know, too."""

    def __str__(self) -> str:
        return f"batch {self.number} of {type(self.system).__name__} with seed {self.seed}"


@attrs.frozen
class Seen:
    """A run as it was seen: which promises it broke and how, and what must be the same when it is made again."""

    plan: Plan
    violations: tuple[tuple[str, Violation], ...]
    record: Record
    frame: str = ""
    """What was drawn for it before its first step."""

    @classmethod
    def of(cls, plan: Plan, result: Result, frame: str) -> "Seen":
        """Return what a run is kept as, its violations in the order in which the system declares its properties."""
        violations = ((name, result.verdicts[name].violation) for name in result.violated)
        return cls(plan, tuple((name, each) for name, each in violations if each), record_of(result.history), frame)


@attrs.frozen
class Searched:
    """What a batch came to. It ends at its first failure; `last` is the last run that passed."""

    number: int
    statistics: Statistics
    found: Seen | None = None
    last: Seen | None = None
    reached: dict[str, Plan] = attrs.field(factory=dict)
    """By the name of each *sometimes* that few of its runs reached, the first plan that did."""


class _Stop(BaseException):
    """Ends Hypothesis's search at once, with an error or without; it lets only base exceptions pass."""

    def __init__(self, error: WavetankError | None = None) -> None:
        self.error = error


def search(batch: Batch, on_run: Callable[[Plan, Result, str], None] = lambda _plan, _result, _frame: None) -> Searched:
    """Make the runs of a batch, until one breaks a promise. `on_run` is called after each, with its frame.

    Raises DivergenceError when one that is made twice is not the same again.
    """
    properties = batch.system.chosen_properties(batch.properties)
    statistics = Statistics.of(batch.properties)
    ended: tuple[Plan, Result, str] | None = None
    reached: dict[str, Plan] = {}

    def ran(plan: Plan, result: Result, frame: str) -> None:
        nonlocal ended
        ended = plan, result, frame
        statistics.add(plan, result)
        for each in properties:
            if each.expectation is Expectation.SOMETIMES and result.verdicts[each.name].outcome is Outcome.HOLDS:
                reached.setdefault(each.name, plan)
        on_run(plan, result, frame)
        if result.violated:
            raise _Stop
        # Not the first one, which is always the simplest that there is.
        if batch.doublecheck or (statistics.runs == 2 and batch.number % REPEATED_IN_ONE_OF == 0):
            _repeat(batch.system, plan, result)
        if told_to_stop() or (batch.until_s is not None and time.time() >= batch.until_s):
            raise _Stop

    fresh = FRESH_TO_BEGUN * len(batch.beginnings) or 1
    drawing = Drawing(batch.system, properties, ran, (*(None,) * fresh, *batch.beginnings))
    try:
        draw_runs(drawing, runs=batch.runs, steps=batch.steps, seed=batch.seed, number=batch.number)
    except _Stop as stop:
        if stop.error is not None:
            raise stop.error from None
    if ended is None:
        return Searched(batch.number, statistics)
    seen = Seen.of(*ended)
    few = {name: plan for name, plan in reached.items() if statistics.tallies[name].held <= FEW}
    found, last = (seen, None) if seen.violations else (None, seen)
    return Searched(batch.number, statistics, found, last, few)


def _repeat(system: System, plan: Plan, result: Result) -> None:
    again = simulate(system, plan, ()).history
    if again.hash != result.history.hash:
        raise _Stop(divergence(system, plan, record_of(result.history), record_of(again)))
