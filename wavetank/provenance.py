"""Provenance: which command made a result, when, of which commit, and how much shorter than it should be."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from simulator.errors import InputError

__all__ = ["SCALE", "changed_here", "commit_here", "provenance", "scale_here", "scaled_lines"]

SCALE = "WAVETANK_SCALE"
"""The variable by which a pipeline tells its commands of what they should last, how much they do."""
OWN = (":(exclude,top,glob)**/.wavetank/**", ":(exclude,top,glob)**/coverage/*.json")
"""What is kept here by commands themselves, and tests nothing else."""


def provenance(command: str, system_name: str | None = None) -> dict[str, object]:
    """Return what every result for machines begins with, so that it can be evidence later.

    The commit is that of the code which was tested: of the module of a system that was loaded ("module:object").
    """
    module = None if system_name is None else _file_of(system_name)
    return {
        "command": command,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit_here() if system_name is None else _commit_of(module),
        "module": None if module is None else str(module),
        "wavetank": version("wavetank"),
        "scale": scale_here(),
    }


def scale_here() -> float | None:
    """Return by what a pipeline has multiplied durations, 0 to 1; None outside of one. Raises InputError."""
    text = os.environ.get(SCALE)
    if text is None:
        return None
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 1:
        raise InputError(f"{SCALE}={text!r} is no scale above 0 and up to 1. A pipeline sets it: unset it outside one.")
    return scale


def scaled_lines() -> Iterator[str]:
    """Yield the line that says that this is less than it should be, if it is. Raises InputError."""
    scale = scale_here()
    if scale not in (None, 1):
        yield f"SCALED by {scale:g}: this is no full run"


def commit_here() -> str | None:
    """Return the commit of the checkout in which this runs, with a + where files differ from it; None outside one."""
    return _commit_in(Path.cwd())


def changed_here() -> Sequence[str]:
    """Return the files that differ from that commit, or are not in it and not ignored by git."""
    return [line[3:] for line in (_status(Path.cwd()) or "").splitlines()]


def _file_of(system_name: str) -> Path | None:
    file = sys.modules[system_name.partition(":")[0]].__file__
    return None if file is None else Path(file).resolve()


def _commit_of(module: Path | None) -> str | None:
    """Return the commit of the repository in which a file is kept; None for one that none keeps (installed, say)."""
    if module is None or _git(module.parent, "ls-files", "--error-unmatch", module.name) is None:
        return None
    return _commit_in(module.parent)


def _commit_in(directory: Path) -> str | None:
    revision = _git(directory, "rev-parse", "HEAD")
    if revision is None:
        return None
    return revision.strip() if _status(directory) == "" else f"{revision.strip()}+"


def _status(directory: Path) -> str | None:
    """Return what differs, a line each; None if git cannot tell."""
    return _git(directory, "status", "--porcelain", "--untracked-files=all", "--", ":/", *OWN)


def _git(directory: Path, *words: str) -> str | None:
    try:
        ran = subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ran.stdout if ran.returncode == 0 else None
