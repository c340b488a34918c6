"""Commands of wavetank that one of them runs as processes of their own, and ends in order when it is told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

import attrs

__all__ = ["INTERRUPTED", "Children", "Ended"]

INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@attrs.frozen
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Children:
    """Commands of wavetank as processes of their own sessions: what ends them in order is ours to pass on, once.

    They get these variables beside our own. Use as a context manager, which takes Ctrl-C, SIGTERM and a terminal that
    is gone.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.are_told_to_end = False
        self._variables = {**os.environ, **(variables or {})}
        self._running: dict[subprocess.Popen[str], None] = {}

    def run(self, words: Sequence[str], directory: Path, *, is_last: bool = False) -> Ended:
        """Run one to its end. Once they are told to end, only what is the last of all is begun."""
        if self.are_told_to_end and not is_last:
            return Ended(INTERRUPTED, "", "")
        with subprocess.Popen(
            [sys.executable, "-m", "wavetank", *words],
            cwd=directory,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            if not is_last:
                self._running[process] = None
                if self.are_told_to_end:  # while it was started
                    process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            self._running.pop(process, None)
        return Ended(process.returncode, out, err)

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Let all that run undo what they have done, and end; whoever is told twice ends at once."""
        for process in list(self._running):
            process.send_signal(signal.SIGKILL if self.are_told_to_end else signal.SIGINT)
        self.are_told_to_end = True

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self.end)) for number in ENDING]
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
