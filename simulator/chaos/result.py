"""What came of an experiment: its steady state before, during and after the method, and how long recovery took."""

import enum
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from math import ceil, inf, nan

import attrs

from simulator.chaos.experiment import Experiment
from simulator.history import Event, History
from simulator.load.measured import Judged, LoadResult, count_into, fails, judge_objectives, tallies_of
from simulator.load.objective import Objective
from simulator.load.sample import Sample
from simulator.load.tally import Tally
from simulator.plan import Step, Strike
from simulator.run import Run

__all__ = ["ExperimentResult", "Phase", "Status", "SteadyBefore", "experiment_result"]

IN_FLIGHT_S = 10.0
"""What was begun so shortly before the method may be under way when the steady state is looked at."""
SLICES = 200
"""So exactly is recovery measured at least: to this part of the time for which users went on."""
SLICE_S_MAX = 1.0
STEADY_PART = 0.25
"""For how much of it the steady state must have been there in the end, or nobody knows whether it is there to stay."""
WINDOW_S = 10.0
"""Of what users did after a recovery each so long must be steady, too: in an hour an outage of a second is nothing."""


class Status(enum.Enum):
    """What an experiment comes to."""

    HELD = "held"  # the steady state was there, and came back in time; no promise was broken
    DEVIATED = "deviated"  # it was disturbed too much, or for too long, or a promise was broken
    FAILED = "failed"  # it was not there to begin with, so that the method was not begun
    INTERRUPTED = "interrupted"


@attrs.frozen
class Phase:
    """The steady state in a part of the time, from one moment to another."""

    from_s: float
    until_s: float
    judged: tuple[Judged, ...]

    @property
    def is_met(self) -> bool:
        """Whether every tolerance was kept, and something was measured for each."""
        return not fails(self.judged, is_interrupted=False)


class SteadyBefore:
    """Looks at the steady state when the method is about to begin, and ends the load there if it is not met."""

    def __init__(self, experiment: Experiment) -> None:
        self.phase: Phase | None = None
        self._objectives = experiment.tolerances()

    def __call__(self, step: Step, run: Run) -> bool:
        """Say whether all ends before this step."""
        if self.phase is None and isinstance(step.action, Strike):
            now_s = run.history.now_s
            decided_s = now_s - min(IN_FLIGHT_S, now_s / 2)
            seen = (each for each in run.system.samples(run.history) if each.at_s < decided_s or each.ended_s <= now_s)
            self.phase = hold(self._objectives, seen, 0.0, now_s)
        return self.phase is not None and not self.phase.is_met


@attrs.frozen(eq=False)
class ExperimentResult:
    """What came of an experiment. Phases that were not reached are None.

    `recovery_s` is how long after the end of the method it took until the steady state was there and stayed: for ever,
    if it did not come back while anybody looked.
    """

    experiment: Experiment
    loaded: LoadResult
    before: Phase | None
    during: Phase | None = None
    after: Phase | None = None
    recovery_s: float = nan

    @property
    def is_recovered_in_time(self) -> bool:
        """Whether the steady state was back within the time that the experiment allows."""
        return self.experiment.recovers_within().is_met(self.recovery_s)

    @property
    def status(self) -> Status:
        """What it comes to."""
        if self.before is not None and not self.before.is_met:
            return Status.FAILED
        if self.loaded.result.violated:
            return Status.DEVIATED
        if self.loaded.is_interrupted or self.during is None:
            return Status.INTERRUPTED
        return Status.HELD if self.during.is_met and self.is_recovered_in_time else Status.DEVIATED


def experiment_result(experiment: Experiment, loaded: LoadResult, before: Phase | None) -> ExperimentResult:
    """Judge an experiment by what was measured."""
    samples, struck = loaded.samples, struck_in(loaded.result.history)
    if not struck:
        return ExperimentResult(experiment, loaded, before)
    begins_s = struck[0].at_s
    over_s = max(begins_s + experiment.over_s - experiment.begins_s, *(each.at_s for each in struck))
    ends_s = max((each.at_s for each in samples), default=over_s)
    under_way = (each for each in samples if each.at_s <= over_s and each.ended_s >= begins_s)
    during = hold(experiment.tolerances_during(), under_way, begins_s, over_s)
    recovery_s = recovery_after(experiment.tolerances(), samples, over_s, ends_s)
    after_s = over_s if recovery_s == inf else over_s + recovery_s
    after = hold(experiment.tolerances(), (each for each in samples if each.at_s >= after_s), after_s, ends_s)
    return ExperimentResult(experiment, loaded, before, during, after, recovery_s)


def struck_in(history: History) -> list[Event]:
    """Return the beginnings and ends of the faults of a method."""
    return [each for each in history.faults() if each.name != "limited"]


def hold(objectives: Collection[Objective], samples: Iterable[Sample], from_s: float, until_s: float) -> Phase:
    """Hold the samples of a part of the time to objectives."""
    return Phase(from_s, until_s, tuple(judge_objectives(objectives, tallies_of(samples))))


def recovery_after(objectives: Collection[Objective], samples: Sequence[Sample], over_s: float, ends_s: float) -> float:
    """Return after how many seconds a steady state is there: all that is begun from then on keeps to it, whole and in
    windows, so that it makes no difference for how long users go on.
    """
    if ends_s <= over_s:
        return inf
    count = max(SLICES, ceil((ends_s - over_s) / SLICE_S_MAX))
    slice_s = (ends_s - over_s) / count
    slices: list[list[Sample]] = [[] for _ in range(count)]
    for each in samples:
        if each.at_s >= over_s:
            slices[min(count - 1, int((each.at_s - over_s) / slice_s))].append(each)
    width, steady = ceil(WINDOW_S / slice_s), ceil(count * STEADY_PART)
    tallies: dict[str, Tally] = {}
    recovery_s = inf
    for place in reversed(range(count)):
        if not all(is_steady(each, list(chain(*slices[place : place + width]))) for each in objectives):
            break
        for each in slices[place]:
            count_into(tallies, each)
        if place <= count - steady and not fails(judge_objectives(objectives, tallies), is_interrupted=False):
            recovery_s = place * slice_s
    return recovery_s


def is_steady(objective: Objective, window: Sequence[Sample]) -> bool:
    """Whether what little a window shows of a measure keeps to an objective, but for the worst of it.

    One sample among few decides what a rate or a percentile of them is; what it does among all is judged with them, and
    so is how many there are.
    """
    if objective.statistic.name == "count":
        return True
    seen = sorted((each for each in window if each.measure == objective.measure), key=lambda each: each.value)
    rest = seen[:-1] if objective.is_upper else seen[1:]
    if all(objective.is_met(each.value) for each in rest):
        return True
    return not fails(judge_objectives((objective,), tallies_of(rest)), is_interrupted=True)
