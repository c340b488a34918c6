"""Small systems that are each not deterministic for one reason; `source` says for which."""

import _random
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from os import urandom
from pathlib import Path
from typing import Any, ClassVar

from simulator import Reading, User, always, operation
from tests.simulator.small import Quiet

NOTES = Path(tempfile.gettempdir()) / f"wavetank-unsteady-{os.getpid()}"


class Thing:
    """Hashed by its address, as everything is that says nothing else."""


def order_of_a_set() -> list[int]:
    """In which order a set of objects is gone through."""
    numbers = {Thing(): number for number in range(8)}
    return [numbers[each] for each in set(numbers)]


def order_by_id() -> list[int]:
    """In which order the addresses of objects are."""
    numbers = {Thing(): number for number in range(8)}
    return [numbers[each] for each in sorted(numbers, key=lambda thing: id(thing))]


def entropy_by_an_own_name() -> bytes:
    """What the operating system gives to who kept its function from before the world."""
    return urandom(8)


def unseeded() -> float:
    """What a generator without a seed draws."""
    return random.Random().random()


def unseeded_in_compiled_code() -> float:
    """The same, where no profiler looks."""
    return _random.Random().random()


def order_of_strings() -> list[str]:
    """In which order a set of strings is gone through: the same within a process."""
    return list({"a", "b", "c", "d", "e", "f", "g", "h"})


def in_a_thread() -> int:
    """Which number the machine gives to a thread."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(threading.get_native_id()))
    thread.start()
    thread.join()
    return found[0]


def by_the_clock() -> float:
    """What no world moves."""
    return time.monotonic()


def by_the_clock_of_a_loop() -> float:
    """What a library has from the real clock."""
    loop = asyncio.new_event_loop()
    try:
        return loop.time()
    finally:
        loop.close()


def counted_in_a_file() -> int:
    """How many runs a file remembers."""
    with NOTES.open("a") as notes:
        notes.write("x")
    return NOTES.stat().st_size


def from_another_process() -> bytes:
    """What another process says."""
    return subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"])


def from_a_socket() -> int:
    """Which port the machine has given."""
    with socket.socket() as real:
        real.bind(("127.0.0.1", 0))
        return int(real.getsockname()[1])


class Unsteady(Quiet):
    """Observes what its source returns, after something that does not differ."""

    def __init__(self, source: Callable[[], object]) -> None:
        self.source = source

    @operation()
    async def act(self, user: User) -> Any:
        user.observe("before")
        seen = self.source()
        user.observe("seen", what=seen.hex() if isinstance(seen, bytes) else seen)


class Drawing(Quiet):
    """Draws once more in every run: no event shows it."""

    done: ClassVar[list[int]] = []

    def __init__(self, draw: Callable[[], object]) -> None:
        self.draw = draw

    @operation()
    async def act(self, user: User) -> None:
        self.done.append(1)
        for _ in self.done:
            self.draw()


class Misordered(Unsteady):
    """Breaks its promise always, and repeats that only in processes that order strings as this one does."""

    def __init__(self) -> None:
        super().__init__(order_of_strings)

    @always
    def nothing(self, history: Reading) -> str | None:
        """Nothing is ever done."""
        return "something was done" if history.operations("act") else None


misordered = Misordered()
drawing = Drawing(random.random)
by_the_clock_of_the_machine = Unsteady(by_the_clock)
