"""`wavetank shrink`: make a saved failure smaller, from where an earlier shrinking was interrupted or out of time."""

import click

from simulator.failure import Failure
from simulator.interrupts import Interrupts
from simulator.property import Property
from simulator.reducer import Reduction
from simulator.shrinking import compared, shrink
from simulator.simulated_run import simulate
from simulator.system import System
from simulator.trace import Trace
from wavetank.arguments import SECONDS
from wavetank.progress import ShrinkProgress
from wavetank.replay import check_fails, load_failure
from wavetank.report import failure_lines
from wavetank.saving import save, trace_of
from wavetank.workers import hired, worker_options

__all__ = ["shrink_saved"]

EPILOG = """
\b
Examples:
  wavetank shrink durability-3f9a2c01                 for at most five minutes
  wavetank shrink durability-3f9a2c01 --max-time 1h   a failure of many steps
  wavetank shrink old/trace.json --workers 8          a file, from anywhere; on eight cores

\b
Exit codes: 1 it fails, in fewer steps or as it was, 2 could not run, or the failure is gone,
3 two runs differ.
"""


@click.command("shrink", epilog=EPILOG)
@click.argument("trace", metavar="ID|FILE")
@click.option("--max-time", "max_time_s", type=SECONDS, default="5m", show_default=True, help="Real time (90, 2m, 1h).")
@worker_options
def shrink_saved(trace: str, max_time_s: float, workers: int | None, cluster: str | None) -> int:
    """Make the saved failure ID|FILE smaller, and save what is left beside it.

    Goes on where an earlier shrinking was interrupted or ran out of time. What was saved stays as it is.
    """
    saved, system = load_failure(trace)
    (broken,) = system.chosen_properties([saved.broken.property])
    click.echo(f"{saved.id}: {broken.name} on {saved.system}, {len(saved.plan.steps)} steps")
    found = _failure(system, saved, broken)
    interrupts = Interrupts()
    with ShrinkProgress() as progress, hired(system, workers, cluster) as hands, interrupts, interrupts.deferred():
        smaller, interrupted = shrink(
            system,
            found,
            system.all_properties(),
            budget_s=max_time_s,
            workers=hands,
            interrupts=interrupts,
            on_reduce=progress.reduced,
        )
        smaller = compared(system, smaller, system.all_properties())
    if smaller.plan == saved.plan:
        rest = "nothing more can be removed" if smaller.reduction.complete else "nothing was removed in this time"
        click.echo(f"{rest}, by {smaller.reduction.replays} replays in {smaller.reduction.real_s:.1f} s")
        return 1
    left = trace_of(saved.system, saved.seed, system, smaller)
    again = f"wavetank shrink {trace}"
    click.echo("\n".join(failure_lines(smaller, left, save(left), again, is_interrupted=interrupted)))
    return 1


def _failure(system: System, saved: Trace, broken: Property) -> Failure:
    """Return a saved failure as it is now. Raises InputError when it is gone."""
    result = simulate(system, saved.plan, system.all_properties())
    violation = check_fails(saved, result)
    return Failure(broken, violation, saved.plan, "", Reduction(saved.plan, 0, 0.0, complete=False), result)
