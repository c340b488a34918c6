"""`wavetank heal`: undo what replays that are gone have left done to their targets."""

from pathlib import Path

import click

from simulator.errors import EnvironmentFailedError, WavetankError
from simulator.live.deployment import undo_leftovers
from simulator.live.target import target_of
from simulator.live.undo import JOURNALS, Leftovers, journals, leftovers_of
from wavetank.progress import warn

__all__ = ["heal"]

EPILOG = """
\b
What a live replay does to a target it notes before, in .wavetank/undo, and undoes at its end,
also when it is interrupted. Only one that was killed (SIGKILL) leaves something to undo.

\b
Examples:
  wavetank heal                in the directory in which the replay ran

\b
Exit codes: 0 all is undone, or nothing was left; 2 something could not be undone: try again.
"""


@click.command(epilog=EPILOG)
def heal() -> int:
    """Undo what a killed replay has left done to its target."""
    healed, failed = 0, 0
    for path in journals():
        try:
            with leftovers_of(path) as left:
                if left.target:
                    _undo(left)
                path.unlink()
        except WavetankError as error:
            warn(str(error))
            failed += 1
            continue
        for _, undo in left.undo:
            click.echo(f"undone: {undo}")
        healed += 1
    if failed:
        click.echo(f"{failed} of {healed + failed} replays could not be undone whole; wavetank heal tries again")
        return 2
    click.echo(f"{healed} killed replays undone" if healed else f"nothing was left to undo in {JOURNALS}")
    return 0


def _undo(left: Leftovers) -> None:
    try:
        undo_leftovers(left, target_of(left.target, Path("target.toml")))
    except EnvironmentFailedError as error:
        raise EnvironmentFailedError(
            f"{error} If the target is gone for good, or all is undone by hand, remove {left.path}."
        ) from error
