"""`scripts/bench defects`: how soon each planted defect is found, and how small its failure becomes."""

import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import attrs
import click
import msgspec

from models.defects import DEFECTS, Defect
from models.system import system
from scripts.bench_command import run_command
from simulator.campaign import Budget, Campaign
from simulator.candidates import count_deviations
from simulator.deviation import Delay, Hold
from simulator.errors import InputError
from simulator.plan import Plan, Strike
from simulator.trace import Trace, write_trace
from wavetank.arguments import DEFAULT_SYSTEM
from wavetank.check import trace_of

EPILOG = """
\b
Examples:
  scripts/bench defects                                   every defect, three seeds each
  scripts/bench defects ack-before-store --seeds 10       one of them, more closely
  scripts/bench defects --workers 2 --keep tests/traces > docs/defects.md    renew what is kept
"""
HEADER = """\
| defect | breaks | found | runs | search s | steps | shrink s | needs |
|---|---|---|---|---|---|---|---|"""


@attrs.frozen
class Search:
    """One search for one defect: what it broke (None: nothing in time), and what that took."""

    broken: str | None
    runs: int
    search_s: float
    steps: int = 0
    shrink_s: float = 0.0
    trace: Trace | None = None


def search(defect: str, seed: int, max_time_s: float) -> Search:
    """Look for one defect as `wavetank check --defect` does."""
    campaign = Campaign(system.with_defects([defect]), budget=Budget(runs=None, max_time_s=max_time_s), seed=seed).run()
    counted, failure = campaign.statistics, campaign.failure
    if failure is None:
        return Search(None, counted.runs, counted.search_s)
    trace = trace_of(DEFAULT_SYSTEM, (defect,), campaign, failure)
    trace = msgspec.structs.replace(trace, events=())  # they follow from the plan
    steps, shrink_s = len(failure.plan.steps), failure.reduction.real_s
    return Search(failure.broken.name, counted.runs, counted.search_s, steps, shrink_s, trace)


def row(defect: Defect, searches: Sequence[Search]) -> str:
    """Word what the searches for one defect came to: how many found the promise it breaks, and medians of those."""
    hits = [each for each in searches if each.broken == defect.breaks]
    others = sorted({each.broken for each in searches if each.broken not in (None, defect.breaks)}, key=str)
    found = f"{len(hits)} of {len(searches)}" + (f" (others broke {', '.join(map(str, others))})" if others else "")

    def median(values: Iterable[float], form: str) -> str:
        listed = list(values)
        return format(statistics.median(listed), form) if listed else "-"

    cells = (
        defect.name,
        defect.breaks,
        found,
        median((each.runs for each in hits), ".0f"),
        median((each.search_s for each in hits), ".1f"),
        median((each.steps for each in hits), ".0f"),
        median((each.shrink_s for each in hits), ".1f"),
        needs(smallest.plan) if (smallest := smallest_trace(defect, searches)) else "-",
    )
    return f"| {' | '.join(cells)} |"


def smallest_trace(defect: Defect, searches: Iterable[Search]) -> Trace | None:
    """Return the trace with the fewest steps, if the promise was broken at all."""
    traces = [each.trace for each in searches if each.trace is not None and each.broken == defect.breaks]
    return min(traces, key=lambda trace: len(trace.plan.steps), default=None)


def needs(plan: Plan) -> str:
    """Say what is left of a shrunk plan beside operations: several users, faults, an order of tasks by the weather."""
    faults = sum(isinstance(step.action, Strike) for step in plan.steps)
    found = (
        (plan.setting.users > 1, f"{plan.setting.users} users"),
        (faults, f"{faults} fault{'s' if faults > 1 else ''}"),
        (plan.setting.left_broken, f"{' and '.join(plan.setting.left_broken)} left broken"),
        (any(step.weather for step in plan.steps), "weather"),
        (held := count_deviations(plan, Hold), f"{held} held message{'s' if held > 1 else ''}"),
        (delayed := count_deviations(plan, Delay), f"{delayed} delayed task{'s' if delayed > 1 else ''}"),
    )
    return ", ".join(words for is_needed, words in found if is_needed) or "nothing more"


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, metavar="[DEFECT]...")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="How many seeds: 1, 2, ...")
@click.option("--max-time", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds per search.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Save the smallest trace of each here.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Searches at once.")
def bench(names: tuple[str, ...], seeds: int, max_time: float, keep: Path | None, workers: int) -> int:
    """Search for each DEFECT, or all, and print a table of medians. Exit code 1 when a search found nothing."""
    known = {each.name: each for each in DEFECTS}
    for name in names:
        if name not in known:
            raise InputError(f"no defect named {name!r}. Known: {', '.join(known)}.")
    chosen = [known[name] for name in names or known]
    jobs = list(product((each.name for each in chosen), range(1, seeds + 1), (max_time,)))
    print(HEADER, flush=True)
    complete = True
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(search, *zip(*jobs, strict=True))
        for defect in chosen:
            searches = [next(done) for _ in range(seeds)]
            print(row(defect, searches), flush=True)
            trace = smallest_trace(defect, searches)
            if keep is not None and trace is not None:
                write_trace(trace, keep / f"{defect.name}.json")
            complete &= all(each.broken == defect.breaks for each in searches)
    return 0 if complete else 1


if __name__ == "__main__":
    run_command(bench, "scripts/bench defects")
