"""`wavetank check`: search a system for a broken promise; shrink, save and tell what was found."""

import os
import random
import subprocess
import sys
from pathlib import Path

import click

from simulator.campaign import RUNS_DEFAULT, STEPS_DEFAULT, Budget, Campaign
from simulator.divergence import DIFFERENT
from simulator.errors import DivergenceError, EnvironmentFailedError
from simulator.failure import Failure
from simulator.regression import traces_in
from simulator.story import tell
from simulator.system import load_system
from simulator.trace import Broken, Trace, event_record, save_trace
from wavetank import report
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS, defect_option
from wavetank.corpus import Corpus, replay_corpus, write_corpus
from wavetank.profile import profile_options
from wavetank.progress import Progress
from wavetank.results import check_writable, result_options, write_results
from wavetank.workers import hired, worker_options

__all__ = ["check", "trace_of"]

SEED_MAX = 2**32 - 1
HASH_SEEDS = ("4711", "1", "2", "3", "4")
"""Of fresh processes: the first one's is enough to see a difference, the others say whether they are its cause."""

OF_STRINGS = (
    "Likely cause: the order of a set of strings, or hash(), since fresh processes differ with PYTHONHASHSEED. "
    "Sort, or use a dict, which keeps its order."
)
OF_THIS_PROCESS = (
    "Likely cause: what earlier runs had left behind in this process (a global, an attribute of a class, a cache), or "
    "what has changed outside since, for fresh processes agree with each other."
)

EPILOG = """
\b
Examples:
  wavetank check                                     the built-in chat platform, 200 runs
  wavetank check --defect ack-before-store           prove that a planted bug is found
  wavetank check my_system:system --max-time 5m      your own system, for five minutes
  wavetank check --workers 8 --runs 20000            on eight cores; the result is that of one
  wavetank check --seed 7 --json out.json            the same runs every time, for machines
  wavetank check --profile pr                        what wavetank profiles lists under this name
  wavetank check my_system:system --doublecheck      every run twice; exit code 3 if two differ
"""


@click.command(epilog=EPILOG)
@click.argument("system", default=DEFAULT_SYSTEM)
@click.option("--runs", type=click.IntRange(min=1), help=f"How many runs  [{RUNS_DEFAULT}; with --max-time: no limit]")
@click.option("--steps", type=click.IntRange(min=1), default=STEPS_DEFAULT, show_default=True, help="At most, per run.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a campaign  [drawn and printed]")
@click.option("--max-time", "max_time_s", type=SECONDS, help="Stop after this much real time (90, 2m, 1h).")
@click.option("--until-interrupted", is_flag=True, help="No limit on the runs, unless --runs or --max-time is given.")
@click.option("--doublecheck", is_flag=True, help="Run every run twice, and compare  [one in 50, and the last]")
@defect_option
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Judge only this property.")
@click.option(
    "--regressions",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Replay the traces here first (see wavetank regress), and search only if all are fixed.",
)
@worker_options
@result_options
@profile_options
def check(
    system: str,
    runs: int | None,
    steps: int,
    seed: int | None,
    max_time_s: float | None,
    until_interrupted: bool,
    doublecheck: bool,
    defects: tuple[str, ...],
    properties: tuple[str, ...],
    regressions: Path | None,
    workers: int | None,
    cluster: str | None,
    json_file: Path | None,
    junit_file: Path | None,
    profile: str,
) -> int:
    """Search SYSTEM (module:object) for a broken promise, in simulation.

    A violation is shrunk to its few causes, saved under .wavetank/failures/, and told step by step.
    """
    under_test = load_system(system).with_defects(defects)
    check_writable(json_file, junit_file)
    known = [] if regressions is None else traces_in([regressions])
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    is_endless = max_time_s is not None or until_interrupted
    budget = Budget(runs=runs or (None if is_endless else RUNS_DEFAULT), steps=steps, max_time_s=max_time_s)
    report.print_header(system, budget, seed, defects, profile)
    corpus = Corpus()
    if known:
        click.echo()
        corpus = replay_corpus(known, lambda _trace: under_test)
        if corpus.exit_code:
            click.echo("nothing was searched: what is known comes first")
            return write_corpus(corpus, json_file, junit_file)
    with Progress(budget) as progress, hired(under_test, workers, cluster) as hands:
        campaign = Campaign(
            under_test,
            budget=budget,
            seed=seed,
            properties=properties,
            workers=hands,
            doublecheck=doublecheck,
            on_run=progress.ran,
            on_violation=progress.violated,
            on_reduce=progress.reduced,
        ).run()
    trace, saved = None, report.Saved()
    if campaign.failure is not None:
        trace = trace_of(system, defects, campaign, campaign.failure)
        saved = _save(trace)
    report.print_result(campaign, trace, saved, profile)
    written = write_results(
        json_file,
        report.as_json(system, profile, campaign, trace, saved, corpus),
        junit_file,
        report.as_xml(system, campaign, trace, saved, corpus),
    )
    return campaign.exit_code or (0 if written else 2)


def trace_of(system: str, defects: tuple[str, ...], campaign: Campaign, failure: Failure) -> Trace:
    """Return what is kept of a campaign's failure."""
    return Trace(
        system=system,
        defects=defects,
        seed=campaign.seed,
        plan=failure.plan,
        broken=Broken(property=failure.broken.name, site=failure.violation.site, evidence=failure.violation.evidence),
        hash=failure.result.history.hash,
        simulated_s=failure.result.simulated_s,
        story=tell(campaign.system, failure.plan),
        events=tuple(event_record(event) for event in failure.result.history.events),
    )


def _save(trace: Trace) -> report.Saved:
    """Save and confirm a trace."""
    try:
        path = save_trace(trace)
    except EnvironmentFailedError as error:
        return report.Saved(why_not=str(error))
    try:
        _confirm(path)
    except KeyboardInterrupt:  # it is saved, and what was found is still told
        click.echo("wavetank: interrupted before a fresh process could repeat the failure.", err=True)
    return report.Saved(path.parent.name)


def _confirm(path: Path) -> None:
    """Replay the saved trace in a fresh process with another string hash seed: the same hash, or it is no evidence."""
    fresh = _replayed_afresh(path, HASH_SEEDS[0])
    if fresh.returncode == 1:
        return
    told = fresh.stderr.strip() or fresh.stdout.strip()[-400:]
    message = (
        f"the failure was saved as {path}, but a fresh process does not repeat it exactly. "
        f"exit={fresh.returncode}. {told}"
    )
    if fresh.returncode == DivergenceError.exit_code and DIFFERENT not in told:  # the fresh process agrees with itself
        others = (_replayed_afresh(path, seed) for seed in HASH_SEEDS[1:])
        message += f"\n{OF_STRINGS if any(each.stderr != fresh.stderr for each in others) else OF_THIS_PROCESS}"
    raise DivergenceError(message)


def _replayed_afresh(path: Path, hash_seed: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "wavetank", "replay", str(path), "--exact"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is ours: in the other process it would look like a divergence
    )
