"""Statistics: what the runs of a campaign came to, as counts that add up over batches."""

from collections import Counter
from collections.abc import Iterable

import attrs

from simulator.behaviour import behaviours
from simulator.plan import Plan
from simulator.property import Outcome
from simulator.run import Result

__all__ = ["Statistics", "Tally"]

FLAT_RUNS_MIN = 100
FLAT_PART = 3
"""Flat is when nothing new came in so many runs, and in one of so many parts of all runs."""


@attrs.define
class Tally:
    """What one property said over all runs."""

    held: int = 0
    unknown: int = 0
    examined: Counter[str] = attrs.field(factory=Counter)
    missing: str = ""

    def merge(self, other: "Tally") -> None:
        """Add what it said over other runs."""
        self.held += other.held
        self.unknown += other.unknown
        self.examined.update(other.examined)
        self.missing = other.missing or self.missing


@attrs.define
class Statistics:
    """What was done, and the times it took in both worlds. Equal when the same was done, however long it took."""

    tallies: dict[str, Tally]
    runs: int = 0
    steps: int = 0
    events: int = 0
    simulated_us: int = 0  # a whole number, so that the sum does not depend on how the runs were put in batches
    real_s: float = attrs.field(default=0.0, eq=False)
    search_s: float = attrs.field(default=0.0, eq=False)
    outcomes: dict[str, Counter[str]] = attrs.field(factory=dict)  # per operation: how its invocations ended
    first_run: dict[str, int] = attrs.field(factory=dict)  # per behaviour: the run that showed it first, from 1 on

    @classmethod
    def of(cls, properties: Iterable[str]) -> "Statistics":
        """Return the statistics of no run, for the properties of these names."""
        return cls({name: Tally() for name in properties})

    @property
    def simulated_s(self) -> float:
        """Simulated seconds of all runs."""
        return self.simulated_us / 1_000_000

    @property
    def last_new_run(self) -> int:
        """The last run that showed a new behaviour, from 1 on; 0 before any did."""
        return next(reversed(self.first_run.values()), 0)

    @property
    def is_flat(self) -> bool:
        """Whether no new behaviour has come for a while: in 100 runs, and in a third of all runs."""
        return self.runs - self.last_new_run >= max(FLAT_RUNS_MIN, self.runs / FLAT_PART)

    def add(self, plan: Plan, result: Result) -> None:
        """Count one finished run."""
        self.runs += 1
        self.steps += len(plan.steps)
        self.events += len(result.history.events)
        self.simulated_us += round(result.simulated_s * 1_000_000)
        for behaviour in behaviours(result):
            self.first_run.setdefault(behaviour, self.runs)
        for each in result.history.operations():
            how = each.completed.kind.value if each.completed is not None else "open"
            self.outcomes.setdefault(each.name, Counter())[how] += 1
        for name, verdict in result.verdicts.items():
            tally = self.tallies[name]
            tally.examined.update(verdict.examined)
            tally.held += verdict.outcome is Outcome.HOLDS
            tally.unknown += verdict.outcome is Outcome.UNKNOWN
            tally.missing = verdict.missing or tally.missing

    def merge(self, other: "Statistics") -> None:
        """Add the runs of the next batch; real time is not theirs to add, where batches run side by side."""
        for behaviour, run in other.first_run.items():
            self.first_run.setdefault(behaviour, self.runs + run)
        self.runs += other.runs
        self.steps += other.steps
        self.events += other.events
        self.simulated_us += other.simulated_us
        for name, how in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(how)
        for name, tally in other.tallies.items():
            self.tallies[name].merge(tally)
