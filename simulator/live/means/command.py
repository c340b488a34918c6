"""Commands of the user's own that do something to a deployment, and that undo it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from simulator.errors import EnvironmentFailedError
from simulator.live.deed import UNDONE_BY, Deed, Means
from simulator.live.target import ByCommand
from simulator.redaction import redacted

__all__ = ["OwnCommand", "run_command"]

SAID_CHARACTERS_MAX = 200


def run_command(command: Sequence[str], *, within_s: float, variables: Mapping[str, str] | None = None) -> None:
    """Run a command to its end. Raises EnvironmentFailedError when it fails or takes too long; it is killed then.

    What it starts in the background may go on, but must not keep its standard output open.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(variables or {})},
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailedError(f"{command[0]!r} did not end within {within_s:g} s (within_s).") from error
    except (OSError, ValueError) as error:
        raise EnvironmentFailedError(f"the target's command {command[0]!r} could not be run: {error}.") from error
    if done.returncode:
        said = redacted(done.stdout.decode(errors="replace").strip())[-SAID_CHARACTERS_MAX:]
        raise EnvironmentFailedError(
            f"the target's command {command[0]!r} ended with {done.returncode}" + (f": {said}" if said else ".")
        )


class OwnCommand(Means):
    """One action at one place, and what undoes it."""

    def __init__(self, described: ByCommand) -> None:
        self._described = described
        self._at = tuple(described.at.split("->"))
        self._is_trouble = described.action not in (*UNDONE_BY, "reset")
        self._undo = "end" if self._is_trouble else UNDONE_BY.get(described.action)

    def why_not(self, deed: Deed) -> str | None:
        """A command is for what it was declared for, and its undoing."""
        return None if deed.at == self._at and (self._does(deed) or self._undoes(deed)) else ""

    def do(self, deed: Deed) -> None:
        """Run the command, or that which undoes it."""
        command = self._described.undo if self._undoes(deed) else self._described.do
        if command is not None:
            variables = {"WAVETANK_SECONDS": f"{deed.seconds:g}", "WAVETANK_NAME": deed.name}
            run_command(command, within_s=self._described.within_s, variables=variables)

    def probe(self) -> str:
        """See whether the programs are there."""
        programs = [command[0] for command in (self._described.do, self._described.undo) if command is not None]
        for program in programs:
            if shutil.which(program) is None:
                raise EnvironmentFailedError(f"the target's command {program!r} is not there, or cannot be run.")
        return f"{' and '.join(dict.fromkeys(programs))} can be run"

    def _does(self, deed: Deed) -> bool:
        if self._is_trouble:
            return (deed.action, deed.name) == ("begin", self._described.action)
        return deed.action == self._described.action

    def _undoes(self, deed: Deed) -> bool:
        if self._is_trouble:
            return (deed.action, deed.name) == ("end", self._described.action)
        return deed.action == self._undo and not (deed.action == "delay" and deed.seconds)
