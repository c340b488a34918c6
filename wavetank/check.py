"""`wavetank check`: search a system for a broken promise; shrink, save and tell what was found."""

import os
import random
import subprocess
import sys
from pathlib import Path

import click

from simulator.campaign import RUNS_DEFAULT, STEPS_DEFAULT, Budget, Campaign
from simulator.errors import DivergenceError, EnvironmentFailedError
from simulator.failure import Failure
from simulator.story import tell
from simulator.system import load_system
from simulator.trace import Broken, Trace, event_record, save_trace
from wavetank import report
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS, defect_option
from wavetank.progress import Progress
from wavetank.results import FILE, check_writable, write_results

__all__ = ["check", "trace_of"]

SEED_MAX = 2**32 - 1

EPILOG = """
\b
Examples:
  wavetank check                                     the built-in chat platform, 200 runs
  wavetank check --defect ack-before-store           prove that a planted bug is found
  wavetank check my_system:system --max-time 5m      your own system, for five minutes
  wavetank check --seed 7 --json out.json            the same runs every time, for machines
"""


@click.command(epilog=EPILOG)
@click.argument("system", default=DEFAULT_SYSTEM)
@click.option("--runs", type=click.IntRange(min=1), help=f"How many runs  [{RUNS_DEFAULT}; with --max-time: no limit]")
@click.option("--steps", type=click.IntRange(min=1), default=STEPS_DEFAULT, show_default=True, help="At most, per run.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a campaign  [drawn and printed]")
@click.option("--max-time", "max_time_s", type=SECONDS, help="Stop after this much real time (90, 2m, 1h).")
@defect_option
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Judge only this property.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
@click.option("--junit", "junit_file", type=FILE, help="Write it as JUnit XML.")
def check(
    system: str,
    runs: int | None,
    steps: int,
    seed: int | None,
    max_time_s: float | None,
    defects: tuple[str, ...],
    properties: tuple[str, ...],
    json_file: Path | None,
    junit_file: Path | None,
) -> int:
    """Search SYSTEM (module:object) for a broken promise, in simulation.

    A violation is shrunk to its few causes, saved under .wavetank/failures/, and told step by step.
    """
    under_test = load_system(system).with_defects(defects)
    check_writable(json_file, junit_file)
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    budget = Budget(runs=runs or (None if max_time_s else RUNS_DEFAULT), steps=steps, max_time_s=max_time_s)
    report.print_header(system, budget, seed, defects)
    with Progress(budget) as progress:
        campaign = Campaign(
            under_test,
            budget=budget,
            seed=seed,
            properties=properties,
            on_run=progress.ran,
            on_violation=progress.violated,
            on_reduce=progress.reduced,
        ).run()
    trace, saved = None, report.Saved()
    if campaign.failure is not None:
        trace = trace_of(system, defects, campaign, campaign.failure)
        saved = _save(trace)
    report.print_result(campaign, trace, saved)
    written = write_results(
        json_file,
        report.as_json(system, campaign, trace, saved),
        junit_file,
        report.as_junit(system, campaign, trace, saved),
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
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)}
    fresh = subprocess.run(
        [sys.executable, "-m", "wavetank", "replay", str(path), "--exact"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is ours: in the other process it would look like a divergence
    )
    if fresh.returncode != 1:
        raise DivergenceError(
            f"the failure was saved as {path}, but a fresh process does not repeat it exactly. "
            f"exit={fresh.returncode}. {fresh.stderr.strip() or fresh.stdout.strip()[-400:]}"
        )
