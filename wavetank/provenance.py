"""Provenance: which command made a result, when, and of which commit."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["commit_here", "provenance"]


def provenance(command: str) -> dict[str, object]:
    """Return what every result for machines begins with, so that it can be evidence later."""
    return {
        "command": command,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit_here(),
        "wavetank": version("wavetank"),
    }


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
