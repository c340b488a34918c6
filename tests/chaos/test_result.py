"""What an experiment comes to, by what was measured before, during and after its method."""

from math import inf

import pytest

from simulator.chaos.experiment import Action, Experiment, Probe, SteadyState, Traffic
from simulator.chaos.result import ExperimentResult, Status, experiment_result, hold, recovery_after
from simulator.history import History, Kind
from simulator.load.measured import LoadResult, Measured
from simulator.load.objective import parse_objective
from simulator.load.sample import LOST, Sample, outcome
from simulator.plan import Plan, Setting
from simulator.property import Outcome, Verdict, Violation
from simulator.run import Result

EXPERIMENT = Experiment(
    title="one",
    steady_state=SteadyState(
        (Probe("success_rate", "> 95%", during="> 40%"), Probe("ask", "p(90) < 1s", during="any"))
    ),
    method=(Action("a", "crash", "redis", for_=10),),
    traffic=Traffic(before=20, after=100),
    recovery_time="< 30s",
)


def answers(from_s: float, until_s: float, *, ok: bool = True, took_s: float = 0.1) -> list[Sample]:
    """One a second."""
    return [
        each
        for at_s in range(int(from_s), int(until_s))
        for each in (*outcome(at_s, ok=ok, lasted_s=took_s), Sample("ask", at_s, took_s if ok else LOST))
    ]


def judged(
    *samples: list[Sample], violated: bool = False, interrupted: bool = False, struck: bool = True
) -> ExperimentResult:
    now = [0.0]
    history = History(lambda: now[0])
    if struck:
        for now[0], phase in ((20.0, "begin"), (30.0, "end")):
            history.record(Kind.FAULT, "redis", "crash", {"at": ["redis"], "for_s": 10.0, "phase": phase})
    verdict = Verdict(Outcome.VIOLATED, {}, Violation("lost")) if violated else Verdict(Outcome.HOLDS, {})
    seen = tuple(each for some in samples for each in some)
    loaded = LoadResult(
        result=Result(history, {"durability": verdict}, 130.0),
        plan=Plan(Setting(), ()),
        invoked=(),
        samples=seen,
        measured=Measured(130, seen),
        not_begun=0,
        is_interrupted=interrupted,
    )
    before = hold(EXPERIMENT.tolerances(), [each for each in seen if each.at_s < 10], 0.0, 10.0)
    return experiment_result(EXPERIMENT, loaded, before)


def test_a_system_that_is_not_disturbed_holds() -> None:
    made = judged(answers(0, 130))
    assert made.status is Status.HELD
    assert made.recovery_s == 0
    assert (made.during, made.after) != (None, None)


def test_what_was_not_steady_before_fails_and_is_no_deviation() -> None:
    """Whatever came of it then says nothing of the method."""
    made = judged(answers(0, 20, ok=False), struck=False)
    assert made.status is Status.FAILED
    assert (made.during, made.after) == (None, None)


def test_nothing_measured_before_is_not_steady() -> None:
    assert judged(answers(10, 130)).status is Status.FAILED


@pytest.mark.parametrize(("failing_s", "status"), [(5, Status.HELD), (8, Status.DEVIATED)])
def test_during_the_method_more_is_allowed_but_not_all(failing_s: int, status: Status) -> None:
    made = judged(answers(0, 20), answers(20, 20 + failing_s, ok=False), answers(20 + failing_s, 130))
    assert made.status is status


def test_recovery_is_from_when_on_all_is_well() -> None:
    made = judged(answers(0, 30), answers(30, 50, took_s=3.0), answers(50, 130))
    assert made.status is Status.HELD
    assert made.recovery_s == pytest.approx(18, abs=1), "one in ten seconds may take longer"


@pytest.mark.parametrize("goes_on_s", [60, 600, 3600])
def test_an_outage_is_as_long_however_long_anybody_looks(goes_on_s: int) -> None:
    """Of an hour without a failure twenty seconds of failures are half a per cent."""
    seen = [*answers(30, 50, ok=False), *answers(50, 30 + goes_on_s)]
    assert recovery_after(EXPERIMENT.tolerances(), seen, 30.0, 30.0 + goes_on_s) == pytest.approx(19, abs=1)


def test_a_failure_now_and_then_that_is_allowed_is_none_to_recover_from() -> None:
    """One in a hundred, of which each ten seconds has one or none."""
    seen = [each for at_s in range(0, 3600, 100) for each in (*answers(at_s, at_s + 99), *outcome(at_s + 99, ok=False))]
    tolerances = (parse_objective("success_rate", "> 98.9%"),)
    assert recovery_after(tolerances, seen, 0.0, 3600.0) == 0
    assert recovery_after((parse_objective("success_rate", "> 99.1%"),), seen, 0.0, 3600.0) == inf


def test_a_recovery_that_takes_too_long_deviates() -> None:
    made = judged(answers(0, 30), answers(30, 80, took_s=3.0), answers(80, 130))
    assert made.status is Status.DEVIATED
    assert made.recovery_s > 30


@pytest.mark.parametrize("well_from_s", [110, 130])
def test_what_is_well_at_the_last_moment_only_is_not_recovered(well_from_s: int) -> None:
    """Nobody knows whether it would have stayed."""
    made = judged(answers(0, 30), answers(30, well_from_s, ok=False), answers(well_from_s, 130))
    assert made.recovery_s == inf
    assert made.status is Status.DEVIATED
    assert made.after is not None
    assert not made.after.is_met


def test_a_broken_promise_deviates_however_steady_it_looks() -> None:
    assert judged(answers(0, 130), violated=True).status is Status.DEVIATED


def test_an_interrupted_one_says_nothing() -> None:
    assert judged(answers(0, 130), interrupted=True).status is Status.INTERRUPTED
    assert judged(answers(0, 130), interrupted=True, violated=True).status is Status.DEVIATED


def test_during_the_method_is_what_was_under_way_meanwhile() -> None:
    """What the first of its faults has met was begun before, and may be answered when it is long over."""
    struck = answers(12, 20, ok=False, took_s=15.0)
    made = judged(answers(0, 12), struck, answers(20, 130))
    assert made.status is Status.HELD, "with 11 of 19"
    assert made.during is not None
    assert [each.samples for each in made.during.judged] == [19]
    assert judged(answers(0, 12), struck, answers(20, 25, ok=False), answers(25, 130)).status is Status.DEVIATED


def test_without_users_afterwards_nothing_recovers() -> None:
    assert recovery_after((parse_objective("ask", "max < 1s"),), [], 10.0, 10.0) == inf
