"""`scripts/bench defects`: how soon each planted defect is found, and how small its failure becomes."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from math import inf
from pathlib import Path

import attrs
import click
import msgspec

from models.defects import DEFECTS, Defect
from models.system import system
from scripts.bench_command import run_command
from scripts.bench_journal import append, read
from simulator.campaign import Budget, Campaign
from simulator.candidates import count_deviations, without_steps
from simulator.deviation import Delay, Hold
from simulator.errors import InputError
from simulator.failure import Candidate, Failure, fails_the_same
from simulator.plan import Plan, Strike
from simulator.system import System
from simulator.trace import Trace, write_trace
from simulator.workers import Workers
from wavetank.arguments import DEFAULT_SYSTEM
from wavetank.saving import trace_of
from wavetank.workers import hired, worker_options

EPILOG = """
\b
Examples:
  scripts/bench defects                                   every defect, three seeds each
  scripts/bench defects ack-before-store --seeds 10       one of them, more closely
  scripts/bench defects --keep tests/traces               renew what is kept
  scripts/bench defects --seeds 5 --journal out.jsonl     hours; interrupted, the same command goes on
"""
HEADER = """\
| defect | breaks | found | runs | search s | steps | deviations | shrink s | needs |
|---|---|---|---|---|---|---|---|---|"""


@attrs.frozen
class Search:
    """One search for one defect: what it broke (None: nothing in time), what that took, and what was left of it."""

    broken: str | None
    runs: int
    search_s: float
    shrink_s: float = 0.0
    removable: int = 0
    trace: Trace | None = None

    @property
    def steps(self) -> int:
        """How many steps are left."""
        return len(self.trace.plan.steps) if self.trace is not None else 0

    @property
    def deviations(self) -> float:
        """How many deviations are left; a storm is countless."""
        if self.trace is None:
            return 0
        is_storm = any(step.weather for step in self.trace.plan.steps)
        return inf if is_storm else count_deviations(self.trace.plan, Hold, Delay)


@attrs.frozen
class Entry:
    """A line of the journal: which search it was."""

    defect: str
    seed: int
    search: Search


def search(defect: str, seed: int, max_time_s: float, workers: Workers) -> Search:
    """Look for one defect as `wavetank check --defect` does."""
    budget = Budget(runs=None, max_time_s=max_time_s)
    campaign = Campaign(system.with_defects([defect]), budget=budget, seed=seed, workers=workers).run()
    if campaign.interrupted:
        raise KeyboardInterrupt
    counted, failure = campaign.statistics, campaign.failure
    if failure is None:
        return Search(None, counted.runs, counted.search_s)
    trace = trace_of(DEFAULT_SYSTEM, seed, campaign.system, failure)
    trace = msgspec.structs.replace(trace, events=())  # they follow from the plan
    removable = removable_steps(campaign.system, failure)
    return Search(failure.broken.name, counted.runs, counted.search_s, failure.reduction.real_s, removable, trace)


def removable_steps(system: System, failure: Failure) -> int:
    """Count the steps without which the plan still fails in the same way. There should be none."""
    return sum(
        any(
            fails_the_same(Candidate(system, failure.broken.name, failure.violation.site, plan))
            for plan in without_steps(failure.plan, index, index + 1)
        )
        for index in range(len(failure.plan.steps))
    )


def _or_never(figure: float, made: Search) -> float:
    """Return what it took to find a defect: for a search that broke no promise there is no end to it."""
    return figure if made.broken else inf


def row(defect: Defect, searches: Sequence[Search]) -> str:
    """Word what the searches for one defect came to, in medians: what was left is that of those that found it.

    A defect may break another promise before the one that it is about. That finds it too, as the healthy system
    breaks none; it is said.
    """
    hits = [each for each in searches if each.broken]
    others = Counter(each.broken for each in hits if each.broken != defect.breaks)
    aside = ", ".join(f"{count} by {name}" for name, count in sorted(others.items(), key=str))
    found = f"{len(hits)} of {len(searches)}" + (f" ({aside})" if aside else "")
    cells = (
        defect.name,
        defect.breaks,
        found,
        median((_or_never(each.runs, each) for each in searches), ".0f"),
        median((_or_never(each.search_s, each) for each in searches), ".1f"),
        median((each.steps for each in hits), ".0f"),
        median((each.deviations for each in hits), ".0f"),
        median((each.shrink_s for each in hits), ".1f"),
        needs(smallest.plan) if (smallest := smallest_trace(defect, searches)) else "-",
    )
    return f"| {' | '.join(cells)} |"


def median(values: Iterable[float], form: str) -> str:
    """Return the median of numbers in words, or a dash for none."""
    listed = list(values)
    return format(statistics.median(listed), form) if listed else "-"


def summary(table: Sequence[tuple[Defect, Sequence[Search]]]) -> str:
    """Word what all searches came to: those for one defect are a line of the table."""
    every = [each for _defect, searches in table for each in searches if each.broken]
    if not every:
        return "\nNothing was found."
    times_s = [statistics.median(_or_never(each.search_s, each) for each in searches) for _defect, searches in table]
    tried = sum(len(searches) for _defect, searches in table)
    return (
        f"\n{len(every)} of {tried} searches found their defect. Over defects, of the medians over seeds: search "
        f"{statistics.median(times_s):.1f} s at the median, {max(times_s):.1f} s at most. Over searches: steps "
        f"{median((each.steps for each in every), '.0f')} at the median, {max(each.steps for each in every)} at most; "
        f"deviations {median((each.deviations for each in every), '.0f')} and "
        f"{max(each.deviations for each in every):.0f}; shrinking "
        f"{median((each.shrink_s for each in every), '.1f')} s and {max(each.shrink_s for each in every):.1f} s. Steps "
        f"without which it still fails the same: {sum(each.removable for each in every)}."
    )


def smallest_trace(defect: Defect, searches: Iterable[Search]) -> Trace | None:
    """Return the trace with the fewest steps, one of the promise that the defect is about if there is any."""
    traces = [each.trace for each in searches if each.trace is not None]
    return min(traces, key=lambda trace: (trace.broken.property != defect.breaks, len(trace.plan.steps)), default=None)


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
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append each search here, and do not make again what is there.",
)
@worker_options
def bench(
    names: tuple[str, ...],
    seeds: int,
    max_time: float,
    keep: Path | None,
    journal: Path | None,
    workers: int | None,
    cluster: str | None,
) -> int:
    """Search for each DEFECT, or all, and print a table of medians. Exit code 1 when a search found nothing."""
    known = {each.name: each for each in DEFECTS}
    for name in names:
        if name not in known:
            raise InputError(f"no defect named {name!r}. Known: {', '.join(known)}.")
    chosen = [known[name] for name in names or known]
    made = {(each.defect, each.seed): each.search for each in read(journal, Entry)}
    with hired(system, workers, cluster) as hands:
        for seed, defect in product(range(1, seeds + 1), chosen):
            if (defect.name, seed) not in made:
                made[defect.name, seed] = search(defect.name, seed, max_time, hands)
                append(journal, Entry(defect.name, seed, made[defect.name, seed]))
            click.echo(_line(defect.name, seed, made[defect.name, seed]), err=True)
    table = [(each, [made[each.name, seed] for seed in range(1, seeds + 1)]) for each in chosen]
    print(HEADER)
    for defect, searches in table:
        print(row(defect, searches))
        trace = smallest_trace(defect, searches)
        if keep is not None and trace is not None and trace.broken.property == defect.breaks:
            write_trace(trace, keep / f"{defect.name}.json")
    print(summary(table))
    return 0 if all(each.broken for _defect, searches in table for each in searches) else 1


def _line(defect: str, seed: int, made: Search) -> str:
    found = f"{made.broken}, {made.steps} steps after {made.shrink_s:.1f} s more" if made.broken else "nothing"
    return f"seed {seed}  {defect}: {found}; {made.runs} runs in {made.search_s:.1f} s"


if __name__ == "__main__":
    run_command(bench, "scripts/bench defects")
