"""What a load showed: a tally per measure, over the whole time and over its parts, and whether objectives are met."""

import enum
from collections.abc import Collection, Iterable, Mapping
from math import nan

import attrs

from simulator.load.objective import Objective
from simulator.load.sample import Sample
from simulator.load.tally import Tally
from simulator.run import Result

__all__ = ["LIVE_ONLY", "Judged", "LoadResult", "Measured", "Met", "fails", "judge_objectives"]

WINDOWS = 60
LIVE_ONLY = ("memory", "cpu")
"""Measures of processes: there are none in simulation."""


class Measured:
    """Tallies by measure, and by measure and part of the time."""

    def __init__(self, duration_s: float) -> None:
        self.window_s = duration_s / WINDOWS
        self.tallies: dict[str, Tally] = {}
        self.windows: dict[str, list[Tally | None]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Count samples."""
        for each in samples:
            if each.measure not in self.tallies:
                self.tallies[each.measure] = Tally(each.dimension)
            self.tallies[each.measure].add(each.value)
            windows = self.windows.setdefault(each.measure, [None] * WINDOWS)
            place = min(WINDOWS - 1, int(each.at_s / self.window_s))
            window = windows[place] = windows[place] or Tally(each.dimension)
            window.add(each.value)


@attrs.frozen(eq=False)
class LoadResult:
    """What a load came to: its run's result, what was measured, and how many operations were begun, or could not be.

    `late_s` is by how much one was begun later than it was due, at most: by more than a moment, we are the slow ones.
    """

    result: Result
    measured: Measured
    begun: int
    not_begun: int
    late_s: float = 0.0
    is_interrupted: bool = False


class Met(enum.Enum):
    """What became of an objective."""

    MET = "met"
    MISSED = "missed"
    NO_SAMPLES = "no samples"
    OTHER_UNIT = "another unit"
    LIVE_ONLY = "only live"


@attrs.frozen
class Judged:
    """An objective, what became of it, and the value that decided that, out of how many samples."""

    objective: Objective
    met: Met
    value: float = nan
    samples: int = 0


def fails(judged: Iterable[Judged], *, is_interrupted: bool) -> bool:
    """Say whether a load fails by its objectives. What nothing was measured of is not met, if there was the time."""
    failures = (Met.MISSED, Met.OTHER_UNIT, *(() if is_interrupted else (Met.NO_SAMPLES,)))
    return any(each.met in failures for each in judged)


def judge_objectives(
    objectives: Iterable[Objective], tallies: Mapping[str, Tally], unmeasurable: Collection[str] = ()
) -> list[Judged]:
    """Hold what was measured to objectives. What cannot be measured at all is neither met nor missed, and is told."""
    return [_judged(each, tallies.get(each.measure), unmeasurable) for each in objectives]


def _judged(objective: Objective, tally: Tally | None, unmeasurable: Collection[str]) -> Judged:
    if tally is None or not tally.count:
        return Judged(objective, Met.LIVE_ONLY if objective.measure in unmeasurable else Met.NO_SAMPLES)
    value = tally.value_of(objective.statistic)
    if objective.bound.dimension != ("" if objective.statistic.name == "count" else tally.dimension):
        return Judged(objective, Met.OTHER_UNIT, value, tally.count)
    return Judged(objective, Met.MET if objective.is_met(value) else Met.MISSED, value, tally.count)
