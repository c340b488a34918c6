"""Provenance: which command made a result, when, of which commit, and how much shorter than it should be."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from simulator.errors import InputError

__all__ = ["SCALE", "commit_here", "provenance", "scale_here", "scaled_lines"]

SCALE = "WAVETANK_SCALE"
"""The variable by which a pipeline tells its commands of what they should last, how much they do."""


def provenance(command: str) -> dict[str, object]:
    """Return what every result for machines begins with, so that it can be evidence later."""
    return {
        "command": command,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit_here(),
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
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return None
    return f"{revision}+" if _git("status", "--porcelain", "--untracked-files=no") else revision


def _git(*words: str) -> str | None:
    try:
        ran = subprocess.run(["git", *words], cwd=Path.cwd(), capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
