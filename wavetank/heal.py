"""`wavetank heal`: undo what replays that are gone have left done to their targets."""

from pathlib import Path

import click

from simulator.errors import WavetankError
from simulator.live.deployment import undo_leftovers
from simulator.live.target import target_of
from simulator.live.undo import JOURNALS, leftovers

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
    for left in leftovers():
        try:
            if left.target:
                undo_leftovers(left, target_of(left.target, Path("target.toml")))
        except WavetankError as error:
            click.echo(f"wavetank: {left.path}: {error}", err=True)
            failed += 1
            continue
        for _, undo in left.undo:
            click.echo(f"undone: {undo}")
        left.path.unlink()
        healed += 1
    if failed:
        click.echo(f"{failed} of {healed + failed} replays could not be undone whole; wavetank heal tries again")
        return 2
    click.echo(f"{healed} killed replays undone" if healed else f"nothing was left to undo in {JOURNALS}")
    return 0
