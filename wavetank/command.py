"""The `wavetank` command, up to where its sub-commands are imported: that takes a second, and can be interrupted."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

__all__ = ["complain", "loading", "main"]


def main() -> NoReturn:
    """Run the command. Returns never; what its exit codes mean is in its help."""
    # Hypothesis would leave its tables of Unicode in the working directory. A place that cannot be stops it.
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.devnull)
    try:
        os.getcwd()  # which Hypothesis asks for when it is imported
    except OSError as error:
        complain(f"there is no working directory any more: {error}. Change to one that exists.", 2)
    with loading():
        from wavetank.sub_commands import run
    run()


def complain(message: str, code: int) -> NoReturn:
    """Say on standard error what is wrong, and end with this exit code."""
    print(f"wavetank: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import parts of wavetank. What cannot be imported, and an interrupt meanwhile, are told in one sentence."""
    try:
        with _ended_by_interrupts():
            yield
    except Exception:
        traceback.print_exc()
        complain("wavetank is not installed as it should be; the lines above say what is amiss. Install it again.", 2)


@contextlib.contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """End at once when interrupted. A KeyboardInterrupt could be made another error by a class that is being made."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"wavetank: interrupted.\n")
    os._exit(130)
