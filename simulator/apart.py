"""Jobs done apart: in a process of their own, for workers whose process is not theirs alone.

A worker of Dask has an event loop in another thread, which looks at the clock and draws random numbers. A world owns
both for the whole process, and neither would stand the other.
"""

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Apart"]

J = TypeVar("J")
R = TypeVar("R")


@attrs.frozen
class Apart(Generic[J, R]):
    """Does what a function does, in the other process of this one. Raises BrokenExecutor when that dies of it."""

    function: Callable[[J], R]

    def __call__(self, job: J) -> R:
        """Do one job; only one at a time is done in a process."""
        global _other
        _other = _other or _Other()
        try:
            is_done, result = _other.do(self.function, job)
        except (EOFError, OSError) as error:
            _other = None
            raise BrokenExecutor(f"the process of a worker died: {error}") from error
        if not is_done:
            raise result
        done: R = result
        return done


class _Other:
    """The other process. It ends when this one does."""

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from simulator.apart import work; work({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not meant for it
        )
        theirs.close()

    def do(self, function: Callable[[Any], Any], job: object) -> tuple[bool, Any]:
        self._connection.send((function, job))
        answer: tuple[bool, Any] = self._connection.recv()
        return answer


_other: _Other | None = None


def work(file: int) -> None:
    """Be the other process: do one job after the other that comes through this socket, until nobody is there to ask."""
    connection = Connection(file)
    jobs: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    is_first = True
    while True:
        try:
            function, job = pickle.loads(jobs.get())
            if is_first:
                gc.collect()
                gc.freeze()
                is_first = False
            answer = pickle.dumps((True, function(job)))
        except Exception as error:
            answer = pickle.dumps((False, error))
        connection.send_bytes(answer)


def _listen(connection: Connection, jobs: "SimpleQueue[bytes]") -> None:
    while True:
        try:
            jobs.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
