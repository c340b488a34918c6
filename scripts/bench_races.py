"""`scripts/bench races`: how soon small races are found, and how few deviations are left of them; also by others."""

import gc
import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click

from scripts.bench_command import run_command
from scripts.bench_races_kernels import KERNELS, Kernel
from simulator.candidates import count_deviations
from simulator.deviation import Delay, Hold
from simulator.errors import EnvironmentFailedError, InputError
from simulator.plan import Do, Plan, Setting, Step
from simulator.reducer import Reducer, one_by_one
from simulator.simulated_run import simulate, spelled_out

PEERS = {"simloop": "WAVETANK_BENCH_SIMLOOP", "simloom": "WAVETANK_BENCH_SIMLOOM"}
POLICIES = ("uniform", "pct")
SHRUNK_MAX = 20
SHRINK_S = 10.0

EPILOG = f"""
\b
One JSON line per kernel and tool. Ours draws a storm per run, of whatever kind, and is not told
which kernel it is; of what it finds the first {SHRUNK_MAX} are shrunk. `deviations` are what is left.

\b
{PEERS["simloop"]} and {PEERS["simloom"]} name interpreters (Python 3.12) that have
simloop and simloom, simulators for asyncio (pip install simloop, pip install simloom): they then run
the same kernels in turn with ours.

\b
Examples:
  scripts/bench races                     all kernels, 2,000 runs each
  scripts/bench races rare --runs 20000   the hardest one for longer
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, metavar="[KERNEL]...")
@click.option("--runs", type=click.IntRange(min=1), default=2_000, show_default=True, help="How many runs of each.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the storms.")
def bench(names: tuple[str, ...], runs: int, seed: int) -> None:
    """Look for each KERNEL's race, or all of them."""
    for name in names:
        if name not in KERNELS:
            raise InputError(f"no kernel named {name!r}. Known: {', '.join(KERNELS)}.")
    for name in names or KERNELS:
        for line in (ours(name, runs, seed), *peers(name, runs)):
            print(json.dumps(line), flush=True)


def line(name: str, tool: str, runs: int, hits: int, took_s: float, **more: object) -> dict[str, object]:
    return {
        "kernel": name,
        "tool": tool,
        "runs": runs,
        "hits": hits,
        "hits_per_s": round(hits / took_s, 2),
        "ms_per_run": round(took_s / runs * 1e3, 3),
        **more,
    }


def ours(name: str, runs: int, seed: int) -> dict[str, object]:
    system = Kernel(name)
    promises = system.all_properties()
    storms = random.Random(seed)
    plans = [Plan(Setting(), (Step(Do("race", 0), 0.01, storms.randrange(1, 2**32)),)) for _ in range(runs)]

    def fails(plan: Plan) -> bool:
        return bool(simulate(system, plan, promises).violated)

    fails(plans[0])  # warm, as the others are
    gc.collect()
    gc.freeze()  # as a campaign does
    begun_s = time.perf_counter()
    failing = [plan for plan in plans if fails(plan)]
    took_s = time.perf_counter() - begun_s
    gc.unfreeze()
    reductions = [
        Reducer(one_by_one(fails), budget_s=SHRINK_S, spell_out=lambda plan: spelled_out(system, plan)).reduce(plan)
        for plan in failing[:SHRUNK_MAX]
    ]
    left = [count_deviations(each.plan, Delay, Hold) for each in reductions]
    return line(
        name,
        "wavetank",
        runs,
        len(failing),
        took_s,
        deviations_median=statistics.median(left) if left else None,
        deviations_most=max(left, default=None),
        still_a_storm=sum(any(step.weather for step in each.plan.steps) for each in reductions),
        shrink_s_median=round(statistics.median(each.real_s for each in reductions), 3) if reductions else None,
    )


def peers(name: str, runs: int) -> Iterator[dict[str, object]]:
    script = str(Path(__file__).with_name("bench_races_peer.py"))
    for tool, variable in PEERS.items():
        interpreter = os.environ.get(variable)
        for policy in POLICIES if interpreter else ():
            command = [str(interpreter), script, tool, name, policy, str(runs)]
            try:
                ran = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise EnvironmentFailedError(f"{variable} names no interpreter that can be run: {error}.") from error
            if ran.returncode:
                last = (ran.stderr.strip().splitlines() or [""])[-1]
                raise EnvironmentFailedError(f"{interpreter}, named by {variable}, could not run {tool}: {last}.")
            hits, took_s = ran.stdout.split()
            yield line(name, f"{tool}, {policy}", runs, int(hits), float(took_s))


if __name__ == "__main__":
    run_command(bench, "scripts/bench races")
