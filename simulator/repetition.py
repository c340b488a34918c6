"""Runs repeated under changed conditions, each in a fork of this process: which condition makes them differ?"""

import enum
import itertools
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from simulator.watch import FUNCTIONS, Reach, find

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
    OUTSIDE = 11  # they differ though they begin in one state: a thread, a file, or who knows what
    CLOCK = 12  # the same, but not with a counter for a clock
    ENTROPY = 13  # the same, but not with a seed for the machine's randomness
    ADDRESSES = 14  # where objects lie in memory makes them differ
    KEPT = 15  # what the run before has left behind makes them differ


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
    first, second = _hashes(run, 2)
    if b"" in (first, second):
        return Cause.UNKNOWN
    if first != second:
        for cause, owned in ((Cause.CLOCK, _with_a_counter), (Cause.ENTROPY, _with_a_seed)):
            first, second = _hashes(lambda owned=owned: owned(run), 2)  # type: ignore[misc]
            if first == second != b"":
                return cause
        return Cause.OUTSIDE
    for number in range(LITTERS):
        if _hashes(lambda number=number: littered(number, run), 1) != [first]:  # type: ignore[misc]
            return Cause.ADDRESSES
    return Cause.UNKNOWN if _hashes(lambda: (run(), run())[1], 1) == [first] else Cause.KEPT


def _hashes(run: Callable[[], str], count: int) -> list[bytes]:
    """Run in so many forks that begin in one state, down to where in memory the next object will lie.

    Nothing may be made and kept between them, not even the number of a process. The last hashes are empty when forks
    did not end well.
    """
    read, write = os.pipe()
    nothing_first: list[Callable[[], int]] = [lambda: 0]  # a first fork leaves behind what the next ones find
    for work in nothing_first + [lambda: _tell(run, write)] * count:
        if not os.fork():
            _end(work)
        os.wait()
    os.close(write)
    return [os.read(read, HASH_LENGTH) for _ in range(count)]


def _tell(run: Callable[[], str], write: int) -> int:
    os.write(write, run().encode())
    return 0


def _with_a_counter(run: Callable[[], str]) -> str:
    """Run with a clock that moves when it is looked at."""
    ticks = itertools.count()
    for name in FUNCTIONS[Reach.CLOCK].split():
        _replace(find(name), (lambda *_: next(ticks)) if name.endswith("_ns") else lambda *_: next(ticks) * 1e-6)
    return run()


def _with_a_seed(run: Callable[[], str]) -> str:
    """Run with generators that begin alike when nobody seeds them."""
    seed = random.Random.seed
    _replace(os.urandom, random.Random(0).randbytes)
    random.Random.seed = lambda self, a=None, version=2: seed(self, 0 if a is None else a, version)  # type: ignore[method-assign]
    return run()


def _replace(function: Any, other: Any) -> None:
    """Put another function in the place of one in every module that has it by whatever name."""
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if value is function and function is not None:
                vars(module)[name] = other


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
