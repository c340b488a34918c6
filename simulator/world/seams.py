"""Every touch of Trio's private names, in one place. `tests/world/test_seams.py` fails by name on a Trio that changed.

Trio offers no public hook for the order in which runnable tasks run. Three private ones give total control:
`runner.runq` is replaced by a queue that yields what we choose; the module-level generator that might reverse a
batch is held still; `runner.io_manager` is wrapped so that no system call is made while anything is runnable.
When nothing is, the real one must still be polled: Trio's shutdown wakes itself through a socket.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, TypeVar

import outcome
import trio
from trio import _threads as trio_threads  # these two are the private imports of the project
from trio._core import _run as trio_run

from simulator.world.clock import VirtualClock
from simulator.world.names import TaskPath
from simulator.world.weather import Weather

__all__ = ["RunQueue", "Seams"]

T = TypeVar("T")


class RunQueue(deque[trio.lowlevel.Task]):
    """Trio's queue of runnable tasks, in an order of ours.

    In calm weather Trio gets the whole batch, ordered by task path: a round. In any other it gets one task that the
    weather picked, and after its step the next one, so that any task can fall behind by any distance; a shuffled
    batch cannot do that, since each runnable task runs once per batch. Tasks that became runnable together are ordered
    by path first, because Trio wakes the tasks of a cancelled scope in the order of a set.
    """

    def __init__(self, weather: Weather, paths: Mapping[trio.lowlevel.Task, TaskPath]) -> None:
        super().__init__()  # holds those that became runnable since the last pick, in any order
        self.steps = 0  # how many tasks were given to Trio
        self._weather = weather
        self._path = paths.__getitem__
        self._ready: list[trio.lowlevel.Task] = []  # in order
        self._in_round = 0  # how many of them, from the first, have not run since the others became runnable
        self._picked = False
        self.feeder = Feeder(self)

    def __len__(self) -> int:
        return super().__len__() + len(self._ready)

    @property
    def picks_singly(self) -> bool:
        """Whether tasks are picked one at a time."""
        return self._weather.picks_singly

    def pick(self) -> trio.lowlevel.Task:
        """Remove and return one task, chosen by the weather among all that are runnable."""
        self.steps += 1
        ready = self._ready
        self._take_arrived()
        if not self._in_round:
            self._in_round = len(ready)
            ready.sort(key=self._path)
        index = self._weather.pick(ready, self._in_round)
        self._in_round -= index < self._in_round
        return ready.pop(index)

    def _take_arrived(self) -> None:
        arrived = list(super().__iter__())
        if len(arrived) > 1:
            arrived.sort(key=self._path)
        self._ready += arrived
        super().clear()

    def __iter__(self) -> Iterator[trio.lowlevel.Task]:
        """Yield Trio's next batch; Trio runs a batch from its end."""
        if self._weather.picks_singly and len(self):
            self._picked = True
            self.feeder.start()
            return iter((self.pick(),))
        self.feeder.stop()
        self._take_arrived()
        if len(self._ready) > 1:
            self._ready.sort(key=self._path, reverse=True)
        self.steps += len(self._ready)
        return iter(self._ready)

    def clear(self) -> None:
        """Forget what the last batch took."""
        if self._picked:
            self._picked = False
        else:
            self._ready.clear()
            self._in_round = 0


class Feeder(trio.abc.Instrument):
    """Adds the next picked task to the batch that Trio runs: a turn of its whole loop per pick costs twice as much.

    It stands in for Trio's scheduling randomness, because Trio, when told to shuffle, hands it the very list that it
    will run. After `STEPS_PER_TURN` steps Trio turns nevertheless: only there it sees deadlines set in the past.
    """

    STEPS_PER_TURN = 32

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue
        self._active = False
        self._batch: list[trio.lowlevel.Task] = []
        self._left = 0

    def start(self) -> None:
        self._left = self.STEPS_PER_TURN
        if not self._active:
            self._active = True
            trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
            trio.lowlevel.add_instrument(self)

    def stop(self) -> None:
        if self._active:
            self._active = False
            trio_run._ALLOW_DETERMINISTIC_SCHEDULING = False  # type: ignore[misc]
            trio.lowlevel.remove_instrument(self)

    def random(self) -> float:
        return 1.0  # never reverse a batch

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        self._batch = batch

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        queue = self._queue
        if queue and self._left and queue.picks_singly:
            self._left -= 1
            self._batch.append(queue.pick())


class _QuietIO:
    """Trio's I/O manager, asked for real events only when nothing is runnable or a callback from outside waits."""

    def __init__(self, real: Any, queue: RunQueue, callbacks: Sized) -> None:
        self._real = real
        self._queue = queue
        self._callbacks = callbacks

    def get_events(self, timeout: float) -> Sequence[object]:
        if self._queue and not self._callbacks:
            return ()
        events: Sequence[object] = self._real.get_events(timeout)
        return events

    def process_events(self, events: Sequence[object]) -> None:
        if events:
            self._real.process_events(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _start_inline(
    function: Callable[[], T], deliver: Callable[[outcome.Outcome[T]], object], _name: object = None
) -> None:
    """Stand in for the start of a thread: a world has none, since nobody controls their timing."""
    deliver(outcome.capture(function))


class Seams:
    """What is changed in Trio while a world lives: `install` before its run starts, then `attach`, then `remove`."""

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue

    def install(self) -> None:
        """Change the module-level names."""
        self._random = trio_run._r
        self._sorted_batches = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
        self._start_thread = trio_threads.start_thread_soon  # type: ignore[attr-defined]
        trio_run._r = self._queue.feeder  # type: ignore[assignment]
        # Importing Hypothesis sets this flag through Trio's plugin entry point; our queue orders batches itself.
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = False  # type: ignore[misc]
        # Not `trio.to_thread.run_sync`: AnyIO imports that by name, and would bypass ours, or keep it for good.
        trio_threads.start_thread_soon = _start_inline  # type: ignore[attr-defined, assignment]

    def attach(self, clock: VirtualClock, tick: Callable[[], object]) -> None:
        """Give the running runner our queue; called on the host side of the guest run, before its first `tick`."""
        self._guest = tick.__self__  # type: ignore[attr-defined]
        runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        queue, entries = self._queue, runner.entry_queue
        soon, soon_once, waiting_for_idle = entries.queue, entries.idempotent_queue, runner.waiting_for_idle
        queue.extend(runner.runq)
        runner.runq = queue
        runner.io_manager = _QuietIO(runner.io_manager, queue, soon)  # type: ignore[assignment]

        def before_jump() -> float | None:
            if soon or soon_once:
                return 0  # their wake-up is a real socket, which is polled before time moves
            if waiting_for_idle and waiting_for_idle.keys()[0][0] == 0:
                return 1e-9  # more than the cushion of 0 that they asked for: Trio wakes them instead of waiting
            return None

        clock.before_jump = before_jump

    def unshield(self, tasks: Iterable[trio.lowlevel.Task]) -> None:
        """Let the cancellation of the run reach tasks that shield themselves from it."""
        for task in tasks:
            status: Any = task._cancel_status
            while status is not None:
                status._scope.shield = False
                status = status._parent

    def abandon(self) -> None:
        """End a run whose tasks refuse to end: Trio forgets them, and can run again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Trio warns of what is done here on purpose
            self._guest.unrolled_run_gen.close()

    def remove(self) -> None:
        """Give back what `install` changed."""
        trio_run._r = self._random
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = self._sorted_batches  # type: ignore[misc]
        trio_threads.start_thread_soon = self._start_thread  # type: ignore[attr-defined]
