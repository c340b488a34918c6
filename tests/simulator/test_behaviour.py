"""Behaviours: what runs do, coarse enough to come to an end; the same however the runs are put together."""

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from simulator import System
from simulator.behaviour import behaviours
from simulator.campaign import Budget, Campaign
from simulator.history import History, Kind
from simulator.property import Outcome, Verdict
from simulator.run import Result
from simulator.statistics import Statistics
from simulator.workers import Pool
from tests.simulator.harmful import rare
from tests.simulator.small import quiet, unreached

ROOT = Path(__file__).parents[2]


def campaign(system: System, *, runs: int | None = None, until_flat: bool = True, **options: object) -> Campaign:
    budget = Budget(runs=runs, steps=6, until_flat=until_flat)
    return Campaign(system, budget=budget, seed=1, **options).run()  # type: ignore[arg-type]


def test_a_run_is_described_by_what_ended_how_and_what_it_was_met_by() -> None:
    """A fault that begins while an operation is open has met it; one that ended before has not. One user is any."""
    history = History(lambda: 0.0)

    def fault(kind: str, phase: str, *at: str, for_s: float = 1.0) -> None:
        history.record(Kind.FAULT, at[0], kind, {"at": list(at), "for_s": for_s, "phase": phase})

    history.record(Kind.MARK, "", "start")
    history.record(Kind.INVOKE, "user:alice", "ask", {}, 1)
    history.record(Kind.OBSERVE, "gateway", "asked")
    history.record(Kind.OK, "user:alice", "ask", {}, 1)
    fault("freeze", "begin", "gateway")
    history.record(Kind.INVOKE, "user:bob", "ask", {}, 2)
    history.record(Kind.OBSERVE, "gateway", "asked")
    fault("freeze", "end", "gateway")
    fault("reset", "begin", "gateway", "user:bob", for_s=0.0)
    history.record(Kind.INFO, "user:bob", "ask", {}, 2)
    history.record(Kind.INVOKE, "user:bob", "ask", {}, 3)
    history.record(Kind.FAIL, "user:bob", "ask", {}, 3)
    result = Result(history, {"seen": Verdict(Outcome.HOLDS, {})}, 1.0)
    assert list(behaviours(result)) == [
        "seen holds",
        "asked on gateway",
        "ask ok while nobody suffers",
        "ok during no fault",
        "asked on gateway during a fault",
        "ask info while gateway suffers",
        "info during freeze",
        "ask info while user suffers",
        "info during reset",
        "ask fail while nobody suffers",
        "fail during no fault",
    ]


def test_what_was_new_when_does_not_depend_on_how_runs_are_put_in_batches() -> None:
    """Each behaviour is known with the first run that showed it."""
    one, two = Statistics.of(()), Statistics.of(())
    one.runs, one.first_run = 25, {"a": 1, "b": 20}
    two.runs, two.first_run = 25, {"a": 1, "c": 3}
    one.merge(two)
    assert one.first_run == {"a": 1, "b": 20, "c": 28}
    assert (one.runs, one.last_new_run) == (50, 28)


@pytest.mark.parametrize(
    ("runs", "last", "is_flat"),
    [(99, 0, False), (100, 0, True), (200, 101, False), (600, 401, False), (600, 400, True)],
)
def test_flat_is_a_third_of_all_runs_and_no_less_than_a_hundred(runs: int, last: int, is_flat: bool) -> None:
    """The longer it took until something new came, the longer the next may take."""
    statistics = Statistics.of(())
    statistics.runs, statistics.first_run = runs, {"a": 1, "b": last} if last else {}
    assert statistics.is_flat is is_flat


def test_a_campaign_ends_when_it_is_flat_whoever_makes_the_runs() -> None:
    """At the same run of the same seed: in one process, in three, and when half of it was made before."""
    batches = []
    done = campaign(quiet, on_batch=lambda searched, _real_s: batches.append(searched))
    assert done.statistics.is_flat
    assert done.exit_code == 0
    assert done.statistics.runs == 25 * len(batches) > 100
    without_last = attrs.evolve(done.statistics, runs=done.statistics.runs - 25)
    assert not without_last.is_flat, "nor one batch later than it could"
    with Pool(3) as pool:
        assert campaign(quiet, workers=pool).statistics == done.statistics
    assert campaign(quiet, earlier=batches[:3]).statistics == done.statistics
    assert campaign(rare, runs=200, until_flat=False).statistics.runs == 200


def test_what_was_not_reached_is_waited_for() -> None:
    """Nothing new comes, and yet the campaign has not been where it should."""
    done = campaign(unreached, runs=200)
    assert done.statistics.is_flat
    assert done.statistics.runs == 200
    assert done.exit_code == 1


def test_another_hash_seed_shows_the_same_behaviours_in_the_same_order() -> None:
    """They are compared between processes, and kept in files."""
    script = (
        "from simulator.campaign import Budget, Campaign\n"
        "from tests.reader.my_system import system\n"
        "print(Campaign(system, budget=Budget(runs=5), seed=1).run().statistics.first_run)"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (first_run,) = shown
    assert "'deposit ok while nobody suffers': 1" in first_run
