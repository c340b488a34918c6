"""`wavetank replay`: run a saved failure again, in simulation or on a live target."""

from pathlib import Path

import click

from simulator.divergence import divergence, first_difference, kept_in, record_of
from simulator.errors import DivergenceError, InputError
from simulator.property import Violation
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.system import System, load_system
from simulator.trace import Trace, find_trace, load_trace

__all__ = ["check_fails", "load_failure", "replay"]

LIVE_RUNS_DEFAULT = 5

EPILOG = """
\b
Examples:
  wavetank replay durability-3f9a2c01                       in simulation, to the same hash
  wavetank replay .wavetank/failures/x/trace.json           a file, from anywhere
  wavetank replay durability-3f9a2c01 --target target.toml  on real services (wavetank staging up)
  wavetank replay ID --target target.toml -n 20             until the interval is narrow enough

\b
Live, what the runs come to is also kept as replay.json beside the trace. All that was done to the
target is undone, also on Ctrl-C; after a SIGKILL by wavetank heal.

\b
Exit codes: 1 it fails again (live: in at least one run), 0 it does not, 2 could not run, not
expressible on the target, or unknown, 3 two replays differ, or every run from the simulation.
"""


@click.command(epilog=EPILOG)
@click.argument("trace", metavar="ID|FILE")
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path), help="Replay on the deployment described here."
)
@click.option("-n", "runs", type=click.IntRange(min=1), help=f"How many runs  [1; live: {LIVE_RUNS_DEFAULT}]")
@click.option("--yes-really", is_flag=True, help="Live: the target is meant, although it is not this machine.")
@click.option("--time-scale", type=click.FloatRange(min=0, min_open=True), help="Live: stretch the times of the plan.")
@click.option("--exact", is_flag=True, help="Exit with 3 unless the history is exactly the saved one.")
def replay(
    trace: str, target_file: Path | None, runs: int | None, yes_really: bool, time_scale: float | None, exact: bool
) -> int:
    """Replay the saved failure ID|FILE and say whether the promise is broken again."""
    saved, system = load_failure(trace)
    click.echo(f"{saved.id}: {saved.broken.property} on {saved.system}, {len(saved.plan.steps)} steps")
    if target_file is not None:
        from wavetank.live import replay_live, result_beside

        return replay_live(
            system,
            saved,
            target_file,
            runs or LIVE_RUNS_DEFAULT,
            result_file=result_beside(find_trace(trace)),
            confirmed=yes_really,
            time_scale=time_scale,
        )
    results = [simulate(system, saved.plan, system.all_properties()) for _ in range(runs or 1)]
    return _tell(system, saved, results, exact=exact)


def load_failure(name: str) -> tuple[Trace, System]:
    """Return a saved failure and the system that it is of. Raises InputError for what cannot be replayed."""
    saved = load_trace(find_trace(name))
    system = load_system(saved.system).with_defects(saved.defects)
    if saved.broken.property not in {each.name for each in system.all_properties()}:
        raise InputError(
            f"{saved.system} has no property {saved.broken.property!r} any more. "
            "Replay with the version of the system that the trace was saved from."
        )
    return saved, system


def check_fails(saved: Trace, result: Result) -> Violation:
    """Return how a replay fails. Raises InputError when it is not the saved failure: there is nothing to look into."""
    name, site = saved.broken.property, saved.broken.site
    violation = result.verdicts[name].violation
    if violation is None:
        raise InputError(
            f"{name} holds: this failure is gone. The system or wavetank has changed since the trace was saved."
        )
    if violation.site != site:
        raise InputError(
            f"{name} is violated at site={violation.site!r} now, and was at site={site!r}: another failure. "
            f"{violation.evidence}. Find it anew with wavetank check."
        )
    return violation


def _tell(system: System, saved: Trace, results: list[Result], *, exact: bool) -> int:
    result = results[0]
    same = all(each.history.hash == saved.hash for each in results)
    if not same and len(results) == 1:
        results.append(simulate(system, saved.plan, system.all_properties()))
    for other in results[1:]:
        if other.history.hash != result.history.hash:
            raise divergence(system, saved.plan, record_of(result.history), record_of(other.history))
    violation = result.verdicts[saved.broken.property].violation
    if same:
        click.echo(f"the same history, {len(results)} of {len(results)}: hash {saved.hash}")
    elif exact:
        difference = first_difference(kept_in(saved), record_of(result.history))
        assert difference is not None
        raise DivergenceError(
            f"the replay has hash={result.history.hash}, and the trace hash={saved.hash}.\n{difference.text}"
        )
    else:
        click.echo(
            f"another history: hash {result.history.hash}, saved {saved.hash}. "
            "The system or wavetank has changed since the trace was saved."
        )
    if violation is None:
        click.echo(f"{saved.broken.property} holds: this failure is gone")
        return 0
    click.echo(f"{saved.broken.property} is violated: {violation.evidence}")
    for number, line in enumerate(saved.story, 1):
        click.echo(f"{number:3}. {line}")
    return 1
