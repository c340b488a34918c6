"""What a load showed: a tally per measure, over the whole time and over its parts, and whether objectives are met."""

import enum
from collections.abc import Collection, Iterable, Mapping
from math import nan

import attrs

from simulator.load.objective import Objective
from simulator.load.sample import Sample
from simulator.load.tally import Tally
from simulator.plan import Plan
from simulator.run import Result

__all__ = [
    "LIVE_ONLY",
    "Judged",
    "LoadResult",
    "Measured",
    "Met",
    "count_into",
    "fails",
    "judge_objectives",
    "tallies_of",
]

WINDOWS = 60
LIVE_ONLY = ("memory", "cpu")
"""Measures of processes: there are none in simulation."""


class Measured:
    """Tallies by measure, and by measure and part of the time."""

    def __init__(self, duration_s: float, samples: Iterable[Sample]) -> None:
        self.window_s = duration_s / WINDOWS
        self.tallies: dict[str, Tally] = {}
        self.windows: dict[str, list[Tally | None]] = {}
        for each in samples:
            count_into(self.tallies, each)
            windows = self.windows.setdefault(each.measure, [None] * WINDOWS)
            place = min(WINDOWS - 1, int(each.at_s / self.window_s))
            window = windows[place] = windows[place] or Tally(each.dimension)
            window.add(each.value)


def tallies_of(samples: Iterable[Sample]) -> dict[str, Tally]:
    """Count samples, each in the tally of its measure."""
    tallies: dict[str, Tally] = {}
    for each in samples:
        count_into(tallies, each)
    return tallies


def count_into(tallies: dict[str, Tally], sample: Sample) -> None:
    """Count a sample in the tally of its measure."""
    if sample.measure not in tallies:
        tallies[sample.measure] = Tally(sample.dimension)
    tallies[sample.measure].add(sample.value)


@attrs.frozen(eq=False, kw_only=True)
class LoadResult:
    """What a load came to: its run's result, and what was measured.

    `plan` is what was done, where nothing happens in place of what could not be begun. `invoked` has the number of the
    operation of each step that was planned, as far as the load came, None where there is none. `late_s` is by how much
    one was begun later than it was due, at most: by more than a moment, we are the slow ones.
    """

    result: Result
    plan: Plan
    invoked: tuple[int | None, ...]
    samples: tuple[Sample, ...]
    measured: Measured
    not_begun: int
    late_s: float = 0.0
    is_interrupted: bool = False

    @property
    def begun(self) -> int:
        """How many operations were begun."""
        return len(self.invoked) - self.invoked.count(None)


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
