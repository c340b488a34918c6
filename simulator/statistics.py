"""Statistics: what the runs of a campaign came to, as counts that add up over batches."""

from collections import Counter
from collections.abc import Iterable

import attrs

from simulator.plan import Plan
from simulator.property import Outcome
from simulator.run import Result

__all__ = ["Statistics", "Tally"]


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
    """What was done, and the times it took in both worlds, in seconds."""

    tallies: dict[str, Tally]
    runs: int = 0
    steps: int = 0
    events: int = 0
    simulated_s: float = 0.0
    real_s: float = 0.0
    search_s: float = 0.0
    outcomes: dict[str, Counter[str]] = attrs.field(factory=dict)  # per operation: how its invocations ended

    @classmethod
    def of(cls, properties: Iterable[str]) -> "Statistics":
        """Return the statistics of no run, for the properties of these names."""
        return cls({name: Tally() for name in properties})

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

    def merge(self, other: "Statistics") -> None:
        """Add the runs of another batch; real time is not theirs to add, where batches run side by side."""
        self.runs += other.runs
        self.steps += other.steps
        self.events += other.events
        self.simulated_s += other.simulated_s
        for name, how in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(how)
        for name, tally in other.tallies.items():
            self.tallies[name].merge(tally)
