"""A failure: a broken promise as it was found and as small as it became; and what it means to be the same failure."""

import attrs

from simulator.errors import WavetankError
from simulator.plan import Plan
from simulator.property import Property, Violation
from simulator.reducer import Reduction
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.system import System
from simulator.variant import Variant

__all__ = ["Candidate", "Failure", "fails_the_same"]


@attrs.frozen(eq=False)
class Failure:
    """A broken promise: as it was found, and as small as it became."""

    broken: Property
    violation: Violation
    found: Plan
    frame: str
    """What was drawn for the run that found it, before its first step."""
    reduction: Reduction
    result: Result
    variant: Variant | None = None

    @property
    def plan(self) -> Plan:
        """The smallest plan that was found to break the promise."""
        return self.reduction.plan


@attrs.frozen
class Candidate:
    """A plan, and what it must break to be the same failure: the property, at the same site of its evidence."""

    system: System
    property: str
    site: str
    plan: Plan

    def __str__(self) -> str:
        return f"a replay of {len(self.plan.steps)} steps that may break {self.property}"


def fails_the_same(candidate: Candidate) -> bool:
    """Replay a candidate, and say whether it is the same failure."""
    (broken,) = candidate.system.chosen_properties((candidate.property,))
    try:
        violation = simulate(candidate.system, candidate.plan, (broken,)).verdicts[broken.name].violation
    except WavetankError:
        return False
    return violation is not None and violation.site == candidate.site
