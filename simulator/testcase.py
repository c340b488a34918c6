"""The same search for those who run plain pytest or unittest: a system as a test case."""

from typing import ClassVar
from unittest import TestCase

import hypothesis

from simulator.campaign import RUNS_DEFAULT, STEPS_DEFAULT, Budget, Campaign
from simulator.property import Property
from simulator.story import tell
from simulator.system import System

__all__ = ["machine_for"]


class CampaignTestCase(TestCase):
    """One campaign as one test. Set `settings` to a `hypothesis.settings` for another number of runs or steps."""

    __test__ = False
    system: ClassVar[System]
    settings: ClassVar[hypothesis.settings | None] = None
    seed: ClassVar[int] = 0

    def runTest(self) -> None:  # noqa: N802 - unittest's name
        """Search; fail with the shrunk steps, or when a *sometimes* was never reached."""
        chosen = type(self).settings
        budget = Budget(
            runs=chosen.max_examples if chosen else RUNS_DEFAULT,
            steps=chosen.stateful_step_count if chosen else STEPS_DEFAULT,
        )
        campaign = Campaign(type(self).system, budget=budget, seed=type(self).seed).run()
        if campaign.interrupted:
            raise KeyboardInterrupt
        if campaign.failure is not None:
            failure = campaign.failure
            steps = "\n".join(f"{n}. {line}" for n, line in enumerate(tell(type(self).system, failure.plan), 1))
            self.fail(
                f"{failure.broken.name} is violated: {failure.violation.evidence}\n{steps}\nplan={failure.plan!r}"
            )
        assert not _names(campaign.unreached()), "never reached in any run"
        assert not _names(campaign.unknown()), "no run could judge these: nothing to examine happened"


class MachineFor:
    """A system's tests: `machine_for(system).TestCase`."""

    def __init__(self, system: System) -> None:
        name = f"Test{type(system).__name__}"
        self.TestCase: type[CampaignTestCase] = type(name, (CampaignTestCase,), {"system": system, "__test__": True})


def machine_for(system: System) -> MachineFor:
    """Return the tests of a system; `TestMine = machine_for(system).TestCase` is one that plain pytest runs."""
    return MachineFor(system)


def _names(properties: list[Property]) -> list[str]:
    return [each.name for each in properties]
