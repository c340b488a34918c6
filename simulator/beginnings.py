"""Beginnings: short plans that lead to rare states, for later runs of a campaign to go on from."""

import attrs

from simulator.errors import WavetankError
from simulator.plan import Plan
from simulator.property import Outcome
from simulator.simulated_run import simulate
from simulator.statistics import Statistics
from simulator.system import System
from simulator.workers import Workers

__all__ = ["Beginnings"]

RARE = 0.1
"""What fewer than this part of all runs reach is worth beginning with."""

STEPS_MAX = 20
"""A longer beginning leaves a run too little time of its own for what it costs."""


@attrs.frozen
class _Job:
    system: System
    reached: str
    plan: Plan


class Beginnings:
    """The shortest plan known for each *sometimes* that few runs reach. `note` what was reached, then `shorten`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._noted: dict[str, Plan] = {}
        self._plans: dict[str, Plan] = {}

    def news(self, reached: dict[str, Plan]) -> dict[str, Plan]:
        """Return those plans that lead to where none did before; by the name of the *sometimes* that each reached."""
        return {name: plan for name, plan in reached.items() if name not in self._plans}

    def note(self, reached: dict[str, Plan]) -> None:
        """Remember the news among plans."""
        self._noted.update(self.news(reached))

    def shorten(self, statistics: Statistics, workers: Workers) -> None:
        """Make beginnings of the noted plans that reached what is still rare."""
        rare = {name for name, tally in statistics.tallies.items() if tally.held < RARE * statistics.runs}
        jobs = [_Job(self._system, name, plan) for name, plan in self._noted.items() if name in rare]
        for job, beginning in workers.in_order(_shortest, jobs):
            if len(beginning.steps) <= STEPS_MAX:
                self._plans[job.reached] = beginning
        self._noted.clear()

    def plans(self) -> tuple[Plan, ...]:
        """Return each once, in the order in which they were found."""
        kept: list[Plan] = []
        for plan in self._plans.values():
            if plan not in kept:
                kept.append(plan)
        return tuple(kept)


def _shortest(job: _Job) -> Plan:
    """Return the shortest beginning that reaches the same, by bisection: what is reached stays reached."""
    (wanted,) = job.system.chosen_properties((job.reached,))
    steps = job.plan.steps
    fewest, most = 0, len(steps)
    while fewest < most:
        middle = (fewest + most) // 2
        try:
            result = simulate(job.system, Plan(job.plan.setting, steps[:middle]), (wanted,))
        except WavetankError:
            break
        if result.verdicts[job.reached].outcome is Outcome.HOLDS:
            most = middle
        else:
            fewest = middle + 1
    return Plan(job.plan.setting, steps[:most])
