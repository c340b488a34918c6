"""What the scripts of this folder have in common: each is a name for a command of wavetank."""

import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]


def become(*words: str) -> NoReturn:
    """Go on as a command of wavetank, with this checkout's code; its exit code is ours."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    os.execve(sys.executable, [sys.executable, "-m", "wavetank", *words], {**os.environ, "PYTHONPATH": paths})
