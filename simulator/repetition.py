"""Runs repeated under changed conditions, each in a fork of this process: which condition makes them differ?"""

import enum
import os
import random
import signal
import warnings
from collections.abc import Callable
from typing import NoReturn

__all__ = ["Cause", "cause_of", "littered"]

LITTERS = 8
"""So many arrangements of memory are tried: each leaves a pair of objects in its order one time in two."""

SIZES = range(0, 480, 16)
PIECES_PER_SIZE = 2000
REPETITION_S_MAX = 120
HASH_LENGTH = 32


class Cause(enum.Enum):
    """What makes the runs of one plan differ. The values are exit codes of the process that finds out."""

    UNKNOWN = 10
    OUTSIDE = 11  # they differ though they begin in one state: a clock, a thread, a file
    ADDRESSES = 12  # where objects lie in memory makes them differ
    KEPT = 13  # what the run before has left behind makes them differ


def cause_of(run: Callable[[], str]) -> Cause:
    """Find out what makes the hashes that `run` returns differ. UNKNOWN also where a process cannot be forked."""
    if not hasattr(os, "fork"):
        return Cause.UNKNOWN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: a fork that needs one is ended in the end
        process = os.fork()
    if not process:
        _end(lambda: _experiment(run).value)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Cause(code) if code in {each.value for each in Cause} else Cause.UNKNOWN


def _experiment(run: Callable[[], str]) -> Cause:
    """Repeat the run in forks of this process, which has no other children."""
    read, write = os.pipe()

    def tell(what: Callable[[], str]) -> int:
        os.write(write, what().encode())
        return 0

    # Nothing may be made and kept between these two, not even a number: they are to begin in one state of memory.
    for _ in range(2):
        if not os.fork():
            _end(lambda: tell(run))
        if os.wait()[1]:
            return Cause.UNKNOWN
    first, second = os.read(read, HASH_LENGTH), os.read(read, HASH_LENGTH)
    if first != second:
        return Cause.OUTSIDE
    for number in range(LITTERS):
        if _told(lambda number=number: littered(number, run), tell, read) != first:  # type: ignore[misc]
            return Cause.ADDRESSES
    return Cause.KEPT if _told(lambda: (run(), run())[1], tell, read) != first else Cause.UNKNOWN


def _told(what: Callable[[], str], tell: Callable[[Callable[[], str]], int], read: int) -> bytes:
    if not os.fork():
        _end(lambda: tell(what))
    return b"" if os.wait()[1] else os.read(read, HASH_LENGTH)


def littered(number: int, run: Callable[[], str]) -> str:
    """Run where free memory lies in another order: what is made next lies where something was in between."""
    chance = random.Random(number)
    pieces = [bytes(size) for size in SIZES for _ in range(PIECES_PER_SIZE)]
    chance.shuffle(pieces)
    del pieces[::2]
    return run()


def _end(work: Callable[[], int]) -> NoReturn:
    """Do the work of a forked process and end it, whatever happens."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.alarm(REPETITION_S_MAX)
        code = work()
    finally:
        os._exit(code)
