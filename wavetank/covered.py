"""What runs have reached of all that matters, and what they broke, which is saved at once."""

import attrs

from simulator.campaign import Campaign
from simulator.failure import Failure
from simulator.goals import Goal, reached_in
from simulator.plan import Plan
from simulator.run import Result
from simulator.system import System
from wavetank.report import failure_lines
from wavetank.saving import Saved, save, save_unshrunk, trace_of, unshrunk_lines

__all__ = ["Broken", "Covered"]

PLANS_KEPT = 200
"""Of the search, to learn from what users can do."""


@attrs.frozen
class Broken:
    """What came in the way, under which name it was saved, if it was, and lines that say what can be done with it."""

    what: str
    saved: str = ""
    lines: tuple[str, ...] = ()


@attrs.define
class Covered:
    """What was reached of the system with this name, and what came in the way."""

    name: str
    system: System
    seed: int
    reached: dict[Goal, None] = attrs.field(factory=dict)
    plans: list[Plan] = attrs.field(factory=list)
    broken: list[Broken] = attrs.field(factory=list)
    _known: dict[tuple[str, str], None] = attrs.field(factory=dict, init=False)  # failures that were saved

    def add(self, plan: Plan, result: Result) -> None:
        """Count one run."""
        self.reached.update(reached_in(self.system, result.history))
        if len(self.plans) < PLANS_KEPT:
            self.plans.append(plan)

    def judge(self, whose: str, plan: Plan, result: Result) -> None:
        """Note every promise that a plan breaks, and save the first that no other plan has broken at the same site."""
        is_saved = False
        for name, verdict in result.verdicts.items():
            if verdict.violation is None:
                continue
            only, saved = attrs.evolve(result, verdicts={name: verdict}), Saved()
            if not is_saved and self._is_new(name, verdict.violation.site):
                saved, is_saved = save_unshrunk(self.name, self.seed, self.system, plan, only), True
            what = f"{whose} breaks {name}: {verdict.violation.evidence}"
            self.broken.append(Broken(what, saved.name, tuple(unshrunk_lines(only, saved))))

    def found(self, campaign: Campaign, failure: Failure) -> None:
        """Save what a search has found and made small."""
        self._is_new(failure.broken.name, failure.violation.site)
        trace = trace_of(self.name, self.seed, self.system, failure)
        saved = save(trace)
        planted = "".join(f" --defect {each}" for each in trace.defects)
        runs = f"--runs {campaign.budget.runs} --seed {self.seed}"
        search = f"wavetank coverage {self.name} --critical-only {runs}{planted}"
        lines = "\n".join(failure_lines(failure, trace, saved, search, is_interrupted=campaign.interrupted))
        what = f"{failure.broken.name}: {failure.violation.evidence}"
        self.broken.append(Broken(what, saved.name, tuple(lines.split("\n"))))

    def _is_new(self, name: str, site: str) -> bool:
        before = len(self._known)
        self._known[name, site] = None
        return len(self._known) > before
