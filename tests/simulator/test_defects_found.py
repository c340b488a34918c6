"""The yardstick: planted defects break their promises, and their kept traces say so again, anywhere, to the same hash.

`scripts/bench defects --keep tests/traces` searches for all of them and keeps the smallest trace of each. Here they are
replayed, and a few, which are found soon, are searched for anew.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.defects import DEFECTS, Defect
from models.system import system
from simulator.campaign import Budget, Campaign
from simulator.plan import Strike
from simulator.simulated_run import simulate
from simulator.trace import load_trace

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "traces"
SOON_FOUND = {"cache-without-user": 3, "resume-off-by-one": 3, "answered-twice": 2}
RUNS_MAX = 60
STEPS_MAX = 12

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
    print(saved.defects[0], result.history.hash == saved.hash, saved.broken.property in result.violated)
"""


def test_a_trace_of_every_defect_is_kept() -> None:
    """A defect without one was not found, and proves nothing."""
    assert {path.stem for path in TRACES.glob("*.json")} == {each.name for each in DEFECTS}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda each: each.name)
def test_each_defect_breaks_the_promise_it_is_said_to_break_and_nothing_else_does(defect: Defect) -> None:
    """A property that no defect can violate is decoration; and without the defect the same steps go well."""
    saved = load_trace(TRACES / f"{defect.name}.json")
    assert saved.broken.property == defect.breaks
    assert len(saved.plan.steps) <= STEPS_MAX
    planted = system.with_defects([defect.name])
    result = simulate(planted, saved.plan, planted.all_properties())
    assert result.history.hash == saved.hash
    violation = result.verdicts[defect.breaks].violation
    assert violation is not None
    assert violation.site == saved.broken.site
    assert not simulate(system, saved.plan, system.all_properties()).violated


@pytest.mark.parametrize("path", sorted((TRACES / "false_alarms").glob("*.json")), ids=lambda each: each.stem)
def test_a_false_alarm_is_not_raised_again(path: Path) -> None:
    """What the search once held against the healthy platform, after what was wrong has been mended."""
    assert not simulate(system, load_trace(path).plan, system.all_properties()).violated


def test_some_defects_need_several_users_or_an_interleaving_and_some_a_fault_at_a_moment() -> None:
    """What is left in a trace after shrinking is needed. Without such defects the search would prove little."""
    plans = [load_trace(TRACES / f"{defect.name}.json").plan for defect in DEFECTS]
    assert (
        sum(plan.setting.users > 1 or any(step.weather or step.deviations for step in plan.steps) for plan in plans)
        >= 6
    )
    assert sum(any(isinstance(step.action, Strike) for step in plan.steps) for plan in plans) >= 4


def test_every_promise_is_broken_by_two_defects_at_least() -> None:
    """One could be luck. The states to be reached have no defects, and what holds for every system needs none."""
    promised = [each.name for each in system.properties if each.expectation.value != "sometimes"]
    broken = [each.breaks for each in DEFECTS]
    assert {name: broken.count(name) for name in promised if broken.count(name) < 2} == {}
    assert set(broken) <= {*promised, "finishes"}


@pytest.mark.parametrize("defect", SOON_FOUND)
def test_a_search_finds_them_and_makes_them_small(defect: str) -> None:
    """That the traces were found once does not show that they would be found again."""
    campaign = Campaign(system.with_defects([defect]), budget=Budget(runs=RUNS_MAX), seed=SOON_FOUND[defect]).run()
    assert campaign.failure is not None
    assert campaign.failure.broken.name == next(each.breaks for each in DEFECTS if each.name == defect)
    assert len(campaign.failure.plan.steps) <= STEPS_MAX


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
@pytest.mark.parametrize("python", [sys.executable, *filter(None, os.environ.get("WAVETANK_PYTHONS", "").split(":"))])
def test_fresh_processes_replay_each_to_the_same_hash(python: str, hash_seed: str) -> None:
    """Under any PYTHONHASHSEED, and on every interpreter that WAVETANK_PYTHONS lists (paths, joined by colons)."""
    paths = [str(TRACES / f"{defect.name}.json") for defect in DEFECTS]
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    fresh = subprocess.run(
        [python, "-c", REPLAY, *paths], cwd=TRACES, env=environment, capture_output=True, text=True, check=False
    )
    assert fresh.stdout.splitlines() == [f"{defect.name} True True" for defect in DEFECTS], fresh.stderr
