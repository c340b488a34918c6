"""Verdicts: what live runs of a saved failure come to, each by itself and all together."""

import enum
from collections import Counter

import attrs

from simulator.live.run import LiveResult, Stray
from simulator.property import Outcome
from simulator.rate import Rate
from simulator.trace import Broken

__all__ = ["Finding", "LiveVerdict", "RunVerdict", "judged"]


class Finding(enum.StrEnum):
    """What one live run says of a failure that was found in simulation."""

    REPRODUCED = "reproduced"
    """The same promise was broken at the same site."""
    ELSEWHERE = "violated elsewhere"
    """The same promise was broken at another site: another failure."""
    UNKNOWN = "unknown"
    """What the promise speaks of was not observed."""
    DIVERGED = "diverged"
    """The promise held, but what happened was not what happens in simulation: the failure had no chance."""
    HELD = "not reproduced"
    """The same happened as in simulation, and the promise held."""


@attrs.frozen
class RunVerdict:
    """What one run was found to be. `lasted_s` are real seconds."""

    finding: Finding
    said: str
    strays: tuple[Stray, ...]
    lasted_s: float


@attrs.frozen
class LiveVerdict:
    """What all runs come to."""

    runs: tuple[RunVerdict, ...]

    def count(self, finding: Finding) -> int:
        """Return in how many runs this was found."""
        return Counter(each.finding for each in self.runs)[finding]

    @property
    def reproduced(self) -> Rate:
        """In how many of the runs that could have it was reproduced: those that diverged or are unknown say nothing."""
        silent = self.count(Finding.DIVERGED) + self.count(Finding.UNKNOWN)
        return Rate(self.count(Finding.REPRODUCED), len(self.runs) - silent)

    @property
    def finding(self) -> Finding:
        """The first of the findings, in the order in which they are declared, that some run has.

        But one run in which the same happened as in simulation is enough for "not reproduced".
        """
        if self.count(Finding.HELD) and not self.count(Finding.REPRODUCED) + self.count(Finding.ELSEWHERE):
            return Finding.HELD
        return next(each for each in Finding if self.count(each))

    @property
    def diverged(self) -> Stray | None:
        """Where the first run that diverged did so first."""
        return next((each.strays[0] for each in self.runs if each.finding is Finding.DIVERGED), None)


def judged(broken: Broken, result: LiveResult) -> RunVerdict:
    """Say what a live run was, of a failure that was found in simulation."""
    verdict = result.verdicts[broken.property]
    if verdict.violation is not None:
        same = verdict.violation.site == broken.site
        finding, said = Finding.REPRODUCED if same else Finding.ELSEWHERE, verdict.violation.evidence
    elif verdict.outcome is Outcome.UNKNOWN:
        finding, said = Finding.UNKNOWN, verdict.missing
    elif broken.site in verdict.unjudged:
        finding, said = Finding.UNKNOWN, verdict.unjudged[broken.site]
    else:
        finding, said = Finding.DIVERGED if result.strays else Finding.HELD, ""
    return RunVerdict(finding, said, result.strays, result.simulated_s)
