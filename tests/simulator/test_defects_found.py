"""The yardstick: every planted defect is found, shrunk to a few steps, saved, and replayed to the same hash anywhere.

The seeds are those that find it soon; a change of what is drawn may need others (`wavetank check --defect NAME`).
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.defects import DEFECTS, Defect
from models.system import system
from simulator.campaign import Budget, Campaign, Failure
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, save_trace

ROOT = Path(__file__).parents[2]
SEEDS = {
    "cache-without-user": 5,
    "resume-skips-missed": 0,
    "ack-before-store": 4,
    "drain-read-then-delete": 11,
    "drain-without-deduplication": 1,
    "breaker-never-recloses": 3,
}
RUNS_MAX = 60
STEPS_MAX = 6

REPLAY = """
import sys
from pathlib import Path
from simulator.simulated_run import simulate
from simulator.system import load_system
from simulator.trace import load_trace
for path in sys.argv[1:]:
    saved = load_trace(Path(path))
    system = load_system(saved.system).with_defects(saved.defects)
    result = simulate(system, saved.plan, system.all_properties())
    print(saved.defects[0], result.history.hash, saved.broken.property in result.violated)
"""


@functools.cache
def found(defect: str) -> Failure | None:
    """Search once for all tests of this module."""
    budget = Budget(runs=RUNS_MAX, shrink_s=40.0)
    return Campaign(system.with_defects([defect]), budget=budget, seed=SEEDS[defect]).run().failure


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda each: each.name)
def test_each_defect_breaks_the_promise_it_is_said_to_break_in_a_few_steps(defect: Defect) -> None:
    """A property that no defect can violate, or a search that does not find it, is decoration."""
    failure = found(defect.name)
    assert failure is not None
    assert failure.broken.name == defect.breaks
    assert len(failure.plan.steps) <= STEPS_MAX


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda each: each.name)
def test_without_its_defect_the_failing_plan_goes_well(defect: Defect) -> None:
    """It is the defect that breaks the promise, and nothing else in the plan."""
    failure = found(defect.name)
    assert failure is not None
    assert not simulate(system, failure.plan, system.all_properties()).violated


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
@pytest.mark.parametrize("python", [sys.executable, *filter(None, os.environ.get("WAVETANK_PYTHONS", "").split(":"))])
def test_fresh_processes_replay_each_to_the_same_hash(tmp_path: Path, python: str, hash_seed: str) -> None:
    """Under any PYTHONHASHSEED, and on every interpreter that WAVETANK_PYTHONS lists (paths, joined by colons)."""
    paths, expected = [], []
    for defect in DEFECTS:
        failure = found(defect.name)
        assert failure is not None
        saved = Trace(
            system="models.system:system",
            defects=(defect.name,),
            seed=SEEDS[defect.name],
            plan=failure.plan,
            broken=Broken(failure.broken.name, failure.violation.site, failure.violation.evidence),
            hash=failure.result.history.hash,
            simulated_s=failure.result.simulated_s,
            story=(),
            events=(),
        )
        paths.append(str(save_trace(saved, tmp_path)))
        expected.append(f"{defect.name} {saved.hash} True")
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    fresh = subprocess.run(
        [python, "-c", REPLAY, *paths], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert fresh.stdout.splitlines() == expected, fresh.stderr
