"""A batch: a few runs of a campaign, drawn from a seed of their own, the same wherever and whenever they are made."""

import contextlib
import time
from collections.abc import Callable

import attrs

from simulator.generation import draw_runs
from simulator.history import Event
from simulator.machine import machine_class
from simulator.plan import Plan
from simulator.property import Violation
from simulator.run import Result
from simulator.statistics import Statistics
from simulator.system import System
from simulator.workers import told_to_stop

__all__ = ["Batch", "Found", "Searched", "search"]


@attrs.frozen
class Batch:
    """So many runs of at most so many steps, judged by the properties of these names; one `number` per campaign."""

    system: System
    properties: tuple[str, ...]
    seed: int
    number: int
    runs: int
    steps: int
    until_s: float | None = None
    """When to stop in any case, as `time.time` tells it: a moment that other machines know, too."""

    def __str__(self) -> str:
        return f"batch {self.number} of {type(self.system).__name__} with seed {self.seed}"


@attrs.frozen
class Found:
    """A run that broke a promise: which, how, and what must be the same when it is run again."""

    plan: Plan
    property: str
    violation: Violation
    hash: str
    events: tuple[Event, ...]

    @classmethod
    def of(cls, plan: Plan, result: Result) -> "Found":
        """Return what a violating run is kept as: of several broken promises the first one."""
        name = result.violated[0]
        violation = result.verdicts[name].violation
        assert violation is not None
        return cls(plan, name, violation, result.history.hash, tuple(result.history.events))


@attrs.frozen
class Searched:
    """What a batch came to. It ends at its first failure; `last` is the last plan that passed, with its hash."""

    number: int
    statistics: Statistics
    found: Found | None = None
    last: tuple[Plan, str] | None = None


class _Stop(BaseException):
    """Ends Hypothesis's search at once; it lets only base exceptions pass."""


def search(batch: Batch, on_run: Callable[[Plan, Result], None] = lambda _plan, _result: None) -> Searched:
    """Make the runs of a batch, until one breaks a promise. `on_run` is called after each."""
    properties = batch.system.chosen_properties(batch.properties)
    statistics = Statistics.of(batch.properties)
    found: Found | None = None
    last: tuple[Plan, str] | None = None

    def ran(plan: Plan, result: Result) -> None:
        nonlocal found, last
        statistics.add(plan, result)
        if result.violated:
            found = Found.of(plan, result)
        else:
            last = plan, result.history.hash
        on_run(plan, result)
        if found is not None or told_to_stop() or (batch.until_s is not None and time.time() >= batch.until_s):
            raise _Stop

    machine = machine_class(batch.system, properties, ran)
    with contextlib.suppress(_Stop):
        draw_runs(machine, runs=batch.runs, steps=batch.steps, seed=batch.seed, number=batch.number)
    return Searched(batch.number, statistics, found, last)
