"""Workers: who makes the runs of a campaign. This process, a pool of others, or any `concurrent.futures.Executor`."""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import connection
from multiprocessing.synchronize import Event
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

from simulator.apart import Apart
from simulator.errors import EnvironmentFailedError, InputError

__all__ = [
    "Alone",
    "Pool",
    "Workers",
    "check_portable",
    "end_with_parent",
    "is_forking",
    "is_portable",
    "process_context",
    "told_to_stop",
]

J = TypeVar("J")
R = TypeVar("R")

DEATHS_MAX = 3
"""So many times in a row workers may die without any job done: then it is a job that kills them."""

JOBS_PER_WORKER = 2
"""So many jobs per worker are handed out at once, unless said otherwise: no worker waits for us."""

GRACE_S = 5.0
"""So long may a worker take to end the run that it is in the middle of, when it is told to stop."""

_stop: Event | None = None


def told_to_stop() -> bool:
    """Say whether what this process does as a worker is not wanted any more."""
    return _stop is not None and _stop.is_set()


def _nothing(_result: object) -> None: ...


def process_context() -> Any:
    """Return how processes are begun here.

    Forked ones need not import everything again; elsewhere than on Linux a fork is not safe.
    """
    return multiprocessing.get_context("fork" if is_forking() else "spawn")


def is_forking() -> bool:
    """Say whether processes are forked here, and so need not be sent what they are to work on."""
    return sys.platform == "linux"


def is_portable(system: object) -> bool:
    """Say whether a system can be sent to another process."""
    try:
        check_portable(system)
    except InputError:
        return False
    return True


def check_portable(system: object) -> None:
    """Raise InputError for a system that cannot be sent to another process."""
    try:
        pickle.dumps(system)
    except Exception as error:  # whatever its parts raise
        raise InputError(
            f"{type(system).__name__} cannot be sent to workers: {error}. "
            "Define it at the top of a module, keep only plain data on it, or use one worker."
        ) from error


class Workers(Protocol):
    """Does jobs: a function and what it is called with, both such as `pickle` can send elsewhere."""

    count: int

    def in_order(
        self,
        function: Callable[[J], R],
        jobs: Iterable[J],
        on_done: Callable[[R], None] = _nothing,
        per_worker: int = JOBS_PER_WORKER,
    ) -> Iterator[tuple[J, R]]:
        """Yield each job with its result, in their order; `on_done` is told of a result as soon as it is there.

        So many jobs per worker are handed out at once. What is handed out can hardly be taken back: where most jobs
        are in vain as soon as one has come to something, it is best to hand out one.
        """

    def rest(self) -> None:
        """Give up what nobody asked the result of."""


class Alone:
    """This process itself, one job after the other."""

    count = 1

    def in_order(
        self,
        function: Callable[[J], R],
        jobs: Iterable[J],
        on_done: Callable[[R], None] = _nothing,
        per_worker: int = JOBS_PER_WORKER,
    ) -> Iterator[tuple[J, R]]:
        """Do each job when its result is asked for."""
        for job in jobs:
            result = function(job)
            on_done(result)
            yield job, result

    def rest(self) -> None:
        """Do nothing: nothing is being done."""


@attrs.define(eq=False)
class _HandedOut(Generic[J, R]):
    job: J
    future: "Future[R]"
    is_told: bool = False


class Pool:
    """Processes of this machine, or what `connect` returns an executor for. A context manager.

    When a worker dies, killed for want of memory say, it is replaced, and what was in hand is done again.
    `deaths` are the exceptions by which an executor says that one has died.
    """

    def __init__(
        self,
        count: int,
        connect: Callable[[], Executor] | None = None,
        deaths: tuple[type[Exception], ...] = (BrokenExecutor,),
    ) -> None:
        self.count = count
        self._connect = connect or self._processes
        self._is_own = connect is None
        self._deaths = deaths
        self._executor: Executor | None = None
        self._context = process_context()
        self._stopping = self._context.Event()
        self._unwanted: list[Future[Any]] = []

    def _processes(self) -> Executor:
        return ProcessPoolExecutor(self.count, self._context, _begin_work, (self._stopping,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.rest()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=self._is_own)  # a cluster gives up by itself what nobody waits for
            self._executor = None

    def rest(self) -> None:
        """Give up what nobody asked the result of."""
        self._stopping.set()
        if wait(self._unwanted, GRACE_S).not_done and self._is_own:
            for child in multiprocessing.active_children():
                child.kill()
            self._disconnect()
        self._unwanted.clear()
        self._stopping.clear()

    def in_order(
        self,
        function: Callable[[J], R],
        jobs: Iterable[J],
        on_done: Callable[[R], None] = _nothing,
        per_worker: int = JOBS_PER_WORKER,
    ) -> Iterator[tuple[J, R]]:
        """Keep all workers busy, a few jobs ahead of the one whose result is asked for."""
        left = iter(jobs)
        window: deque[_HandedOut[J, R]] = deque()
        deaths = 0
        try:
            while True:
                for job in islice(left, per_worker * self.count - len(window)):
                    window.append(_HandedOut(job, self._hand_out(function, job)))
                if not window:
                    return
                wait([each.future for each in window if not each.is_told], return_when=FIRST_COMPLETED)
                if self._is_own and any(self._is_lost(each.future) for each in window):
                    self._disconnect()  # the others die with it, and then it is known of each whether it was done
                done = [each for each in window if not each.is_told and each.future.done()]
                lost = [each for each in done if self._is_lost(each.future)]
                deaths = deaths + 1 if lost and len(lost) == len(done) else 0
                if deaths > DEATHS_MAX:
                    raise EnvironmentFailedError(
                        f"workers died {deaths} times in a row, doing {lost[0].job}. Killed for want of memory? "
                        "With --workers 1 it is done in this process."
                    )
                for each in lost:
                    each.future = self._hand_out(function, each.job)
                for each in done:
                    if each not in lost:
                        each.is_told = True
                        on_done(each.future.result())
                while window and window[0].is_told:
                    first = window.popleft()
                    yield first.job, first.future.result()
        finally:
            running = [each.future for each in window if not each.future.cancel()]
            self._unwanted = [each for each in (*self._unwanted, *running) if not each.done()]

    def _is_lost(self, future: "Future[R]") -> bool:
        if future.cancelled():
            raise EnvironmentFailedError("the cluster has gone, or was restarted. Start it, and the campaign, again.")
        return future.done() and isinstance(future.exception(), self._deaths)

    def _hand_out(self, function: Callable[[J], R], job: J) -> "Future[R]":
        if self._executor is None:
            self._executor = self._connect()
        return self._executor.submit(function if self._is_own else Apart(function), job)


def _begin_work(stopping: Event) -> None:
    """Make a worker of a new process."""
    global _stop
    _stop = stopping
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign is interrupted, and tells its workers
    end_with_parent()
    gc.collect()
    gc.freeze()


def end_with_parent() -> None:
    """Have this process end when the one that began it was killed: nobody else would see to it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
