"""`scripts/bench costs`: where the time of a check goes, by whose code it is spent in, by Python's own profiler."""

import cProfile
import json
import pstats
import sysconfig
from collections import Counter
from pathlib import Path

import click

from models.system import deployed, system
from scripts.bench_command import run_command
from simulator.campaign import Budget, Campaign
from simulator.load.arrivals import plan_of
from simulator.load.profile import Load
from simulator.load.simulated import simulate_load

ROOT = Path(__file__).parents[1]
PACKAGES = Path(sysconfig.get_paths()["purelib"])
OURS_DEPTH = {"simulator": 3}
"""How many parts of a path name a place of ours: `simulator/services/redis`, but all of `models` as one."""

EPILOG = """
\b
Each line: the share of the time in per cent, and where it was spent: a folder of this project, or
a package. The profiler slows small functions down more than large ones, so shares are rough.

\b
Examples:
  scripts/bench costs               200 runs, as scripts/check makes them
  scripts/bench costs --runs 20     a quick look
  scripts/bench costs --load        100 users for two minutes instead: `wavetank load`
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--runs", type=click.IntRange(min=1), default=200, show_default=True, help="How many runs of a check.")
@click.option("--load", "is_load", is_flag=True, help="Profile a load instead of a check.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many lines.")
def bench(runs: int, is_load: bool, top: int) -> None:
    """Profile a check of the built-in platform, or a load, and say whose code its time is spent in."""
    profiled = put_under_load if is_load else Campaign(system, budget=Budget(runs=runs), seed=1).run
    with cProfile.Profile() as profile:
        profiled()
    spent: Counter[str] = Counter()
    for (file, _line, _name), (_calls, _primitive, own_s, _all_s, _callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        spent[place_of(file)] += own_s
    for place, own_s in spent.most_common(top):
        print(json.dumps({"percent": round(100 * own_s / spent.total(), 1), "place": place}))


def put_under_load() -> None:
    """Let a hundred users be there for two minutes, with a message a minute each."""
    load = Load(users=100, per_minute=1, duration="2m")
    plan = plan_of(load, deployed.mix, deployed.arrival, seed=1, latency_s=0.001)
    simulate_load(deployed, plan, load.duration_s, (), lambda _steps, _now_s: None)


def place_of(file: str) -> str:
    """Name what a file belongs to."""
    path = Path(file)
    if not path.is_absolute():
        return "built-in functions"
    if path.is_relative_to(PACKAGES):
        return path.relative_to(PACKAGES).parts[0]
    if path.is_relative_to(ROOT):
        parts = path.relative_to(ROOT).parts
        return "/".join(parts[: OURS_DEPTH.get(parts[0], 1)])
    return "standard library"


if __name__ == "__main__":
    run_command(bench, "scripts/bench costs")
