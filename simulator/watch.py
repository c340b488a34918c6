"""A watch on one run: what its code calls that no world controls, from where, and what recorded one event of it.

Python's own profiler tells of every call in this thread. It cannot tell in which order a set was gone through, nor
what is called inside compiled code.
"""

import enum
import os
import random
import socket
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import attrs

import simulator
from simulator.history import History

__all__ = ["FUNCTIONS", "Call", "Reach", "Watch", "find"]


class Reach(enum.Enum):
    """What a call reaches that no world controls. The value is the cure."""

    CLOCK = "Ask time.time() or trio.current_time() instead, which move with the world."
    THREAD = "Use trio.to_thread.run_sync instead, which starts none in a world."
    ENTROPY = "Use random, secrets, uuid.uuid4() or os.urandom, called by that name, instead: a world seeds them."
    MACHINE = "Files, processes and sockets of the machine are nobody's in a world: let each run begin without them."
    ADDRESS = "Number things as they come instead."


FUNCTIONS = {
    Reach.CLOCK: (
        "time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns time.process_time "
        "time.process_time_ns time.thread_time time.thread_time_ns time.clock_gettime"
    ),
    Reach.THREAD: "_thread.start_new_thread _thread.start_joinable_thread",
    Reach.ENTROPY: "os.urandom os.getrandom _uuid.generate_time_safe _ssl.RAND_bytes",
    Reach.MACHINE: (
        "builtins.open os.open os.stat os.lstat os.fstat os.listdir os.scandir os.getpid os.fork os.system "
        "_posixsubprocess.fork_exec _socket.gethostname"
    ),
    Reach.ADDRESS: "builtins.id",
}
"""Those of C, by name; what Python's own library has on top of them calls them. `time.time` is moved with a world."""

# Their first argument `a` is None where nothing was given: no seed, in the case of the generator.
METHODS: dict[CodeType, tuple[str, Reach]] = {
    socket.socket.__init__.__code__: ("socket.socket", Reach.MACHINE),
    random.Random.seed.__code__: ("random.Random", Reach.ENTROPY),
}


@attrs.frozen
class Call:
    """A call that leaves the world: of what, from where in the system's code, and through which library, if any."""

    function: str
    reach: Reach
    place: str
    library: str


class Watch:
    """While entered, notes what one run calls before the event of this index; `event_place` is what recorded that.

    The world must be opened inside: a watch knows the real functions, in whose place a world puts its own.
    """

    def __init__(self, index: int) -> None:
        self.event_place: str | None = None
        self._calls: dict[Call, int] = {}  # before which event last
        self._index = index
        self._next = 0  # the index of the event to come
        self._functions = {
            function: (name.removeprefix("builtins.").lstrip("_"), reach)
            for reach, names in FUNCTIONS.items()
            for name in names.split()
            if (function := find(name)) is not None
        }

    @property
    def calls(self) -> list[Call]:
        """What was called, by the system itself first, and the nearest to the event."""
        return sorted(self._calls, key=lambda call: (bool(call.library), -self._calls[call]))

    def __enter__(self) -> Self:
        self._outside = sys._getframe(1).f_code
        self._before = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(self._before)

    def _see(self, frame: FrameType, what: str, function: Any) -> None:
        if self._next > self._index:
            return
        if what == "c_call" and function in self._functions:
            self._note(*self._functions[function], frame)
        elif what == "call" and frame.f_code is History.record.__code__:
            self._next = len(frame.f_locals["self"].events) + 1
            if self._next > self._index:
                self.event_place = self._place_outside_ours(frame)
        elif what == "call" and (known := METHODS.get(frame.f_code)) and frame.f_locals.get("a") is None:
            self._note(*known, frame.f_back)

    def _note(self, name: str, reach: Reach, frame: FrameType | None) -> None:
        # Everybody asks for the `id` of what they were given; only who does so in the system itself may order by it.
        if reach is Reach.ADDRESS and frame is not None and _owner(frame.f_code.co_filename) is not Owner.SYSTEM:
            return
        place, library = _place(frame)
        if place is not None:
            self._calls[Call(name, reach, place, library)] = self._next

    def _place_outside_ours(self, frame: FrameType | None) -> str | None:
        """Name who had the world do something; None when it was the run itself, which whoever watches has started."""
        while frame is not None and _owner(frame.f_code.co_filename) is Owner.OURS:
            if frame.f_code is self._outside:
                return None
            frame = frame.f_back
        return _place(frame)[0]


class Owner(enum.Enum):
    """Whose code a frame runs."""

    SYSTEM = "the system's"
    LIBRARY = "a library that the system uses"
    PYTHON = "Python's own, or Trio's: whoever calls it is meant"
    LOADER = "what reads source files: for an import, or for a traceback"
    OURS = "the world's"


def _place(frame: FrameType | None) -> tuple[str | None, str]:
    """Name the innermost line of the system's code in a stack, and the library that it has called, if any.

    Of a stack without the system's code the place is in the library; there is none where the world called.
    """
    place, library = None, ""
    while frame is not None:
        file = frame.f_code.co_filename
        owner = _owner(file)
        if owner is Owner.LOADER:
            return None, ""
        if owner is Owner.OURS:
            break
        if owner is Owner.SYSTEM:
            return _line(frame), library
        if owner is Owner.LIBRARY and not library:
            place, library = _line(frame), _short(file).split(os.sep)[0]
        frame = frame.f_back
    return place, library


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{_short(code.co_filename)}:{frame.f_lineno} in {code.co_qualname.replace('.<locals>', '')}"


def find(name: str) -> Any:
    """Return a function by its full name, or None where Python has none of this name."""
    module, _, function = name.rpartition(".")
    return getattr(sys.modules.get(module), function, None)


OURS = str(Path(simulator.__file__).parent)
PACKAGES = tuple(sysconfig.get_paths()[each] for each in ("purelib", "platlib"))
PYTHON = tuple(sysconfig.get_paths()[each] for each in ("stdlib", "platstdlib"))
WORLDS_OWN = ("trio", "outcome", "time_machine", "attr", "hypothesis")
"""Packages that a world itself runs on."""


@cache
def _owner(file: str) -> Owner:
    if file.startswith(OURS):
        return Owner.OURS
    if "importlib" in file or file.endswith("linecache.py"):
        return Owner.LOADER
    for packages in PACKAGES:
        if file.startswith(packages):
            return Owner.PYTHON if Path(file).relative_to(packages).parts[0] in WORLDS_OWN else Owner.LIBRARY
    return Owner.PYTHON if file.startswith(("<", *PYTHON)) else Owner.SYSTEM


def _short(file: str) -> str:
    for directory in (*PACKAGES, str(Path.cwd())):
        if file.startswith(directory + os.sep):
            return file[len(directory) + 1 :]
    return file
