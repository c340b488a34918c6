"""Every touch of Trio's private names, in one place. `tests/world/test_seams.py` fails by name on a Trio that changed.

Trio offers no public hook for the order in which runnable tasks run. Three private ones give total control:
`runner.runq` is replaced by a queue that yields what we choose; the module-level generator that might reverse a batch is
held still; `runner.io_manager` is wrapped so that no system call is made while anything is runnable. When nothing
is, the real one must still be polled: Trio's shutdown wakes itself through a socket.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import trio
from trio._core import _run as trio_run  # the one private import of the project

from simulator.world.weather import Weather

__all__ = ["RunQueue", "Seams", "TaskPath"]

TaskPath = tuple[str | int, ...]
T = TypeVar("T")


class RunQueue(deque[trio.lowlevel.Task]):
    """Trio's queue of runnable tasks, in an order of ours.

    In calm weather Trio gets the whole batch, ordered by task path. In any other it gets one task that the weather picked,
    so that any task can fall behind by any distance; a shuffled batch cannot do that, since each runnable
    task runs once per batch. Tasks that became runnable together are ordered by path first, because Trio wakes the
    tasks of a cancelled scope in the order of a set.
    """

    def __init__(self, weather: Weather, paths: Mapping[trio.lowlevel.Task, TaskPath]) -> None:
        super().__init__()
        self._weather = weather
        self._path = paths.__getitem__
        self._ordered = 0  # how many of the leftmost tasks already were in order at the last pick
        self._picked = False

    def __iter__(self) -> Iterator[trio.lowlevel.Task]:
        """Yield Trio's next batch; Trio runs a batch from its end."""
        count = len(self)
        if count < 2:
            return super().__iter__()
        if self._weather.calm:
            return iter(sorted(super().__iter__(), key=self._path, reverse=True))
        arrived = count - self._ordered
        if arrived > 1:
            self.extend(sorted((self.pop() for _ in range(arrived)), key=self._path))
        index = self._weather.pick(count)
        task = self[index]
        del self[index]
        self._ordered = count - 1
        self._picked = True
        return iter((task,))

    def clear(self) -> None:
        """Forget what the last batch took."""
        if self._picked:
            self._picked = False
        else:
            super().clear()
            self._ordered = 0


class _StillRandom:
    """Stands in for Trio's scheduling randomness: never reverses a batch, never shuffles one."""

    def random(self) -> float:
        return 1.0

    def shuffle(self, batch: list[object]) -> None:
        """Leave the batch as it is."""


class _QuietIO:
    """Trio's I/O manager, asked for real events only when nothing is runnable."""

    def __init__(self, real: Any, queue: RunQueue) -> None:
        self._real = real
        self._queue = queue

    def get_events(self, timeout: float) -> Sequence[object]:
        if self._queue:
            return ()
        events: Sequence[object] = self._real.get_events(timeout)
        return events

    def process_events(self, events: Sequence[object]) -> None:
        if events:
            self._real.process_events(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def _run_inline(sync_fn: Callable[..., T], *args: object, **_options: object) -> T:
    """Stand in for `trio.to_thread.run_sync`: a world has no threads, whose timing nobody controls."""
    await trio.lowlevel.checkpoint()
    return sync_fn(*args)


class Seams:
    """What is changed in Trio while a world lives. `install` before its run starts, `attach` inside it, then `remove`."""

    def install(self) -> None:
        """Change the module-level names."""
        self._random = trio_run._r
        self._sorted_batches = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
        self._to_thread = trio.to_thread.run_sync
        trio_run._r = _StillRandom()  # type: ignore[assignment]
        # Importing Hypothesis sets this flag through Trio's plugin entry point; our queue orders batches itself.
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = False  # type: ignore[misc]
        trio.to_thread.run_sync = _run_inline  # type: ignore[assignment]

    def attach(self, queue: RunQueue) -> None:
        """Give the running runner our queue; called on the host side of the guest run, between two ticks."""
        runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        queue.extend(runner.runq)
        runner.runq = queue
        runner.io_manager = _QuietIO(runner.io_manager, queue)  # type: ignore[assignment]

    def remove(self) -> None:
        """Give back what `install` changed."""
        trio_run._r = self._random
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = self._sorted_batches  # type: ignore[misc]
        trio.to_thread.run_sync = self._to_thread
