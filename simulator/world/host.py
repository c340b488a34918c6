"""Hosts: named places where code runs, which can crash, restart and freeze."""

import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import attrs
import trio

from simulator.errors import SystemFailedError

__all__ = ["Host", "Incarnation", "current_host", "describe", "host_of"]

_current: ContextVar["Incarnation"] = ContextVar("wavetank_host")


def current_host() -> "Incarnation":
    """Return the incarnation of the host on which this task runs. Tasks inherit it from the task that started them."""
    incarnation = _current.get(None)
    if incarnation is None:
        raise SystemFailedError(
            "a task that belongs to no host used the network. Start it from a host's main or from an operation."
        )
    return incarnation


def host_of(task: trio.lowlevel.Task) -> "Incarnation | None":
    """Return the incarnation of the host on which a task runs; None for the world's own tasks."""
    return task.context.get(_current)


@attrs.define(eq=False)
class Incarnation:
    """One life of a host, from its start to its crash or end. What a dead one does is seen by nobody."""

    host: "Host"
    number: int
    alive: bool = True
    nursery: trio.Nursery | None = None

    def adopt_task(self) -> None:
        """Make the running task, and the tasks it will start, belong to this host."""
        _current.set(self)

    async def live(self, on_failure: Callable[["Host", BaseException], None]) -> None:
        """Run the host's main, and whatever is started on the host, until the host goes down."""
        self.adopt_task()
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            if not self.alive:  # crashed between being started and running first
                return
            if self.host.main is not None:
                nursery.start_soon(self._run_main, self.host.main, on_failure, name="main")
            await trio.sleep_forever()

    async def _run_main(
        self, main: Callable[[], Awaitable[object]], on_failure: Callable[["Host", BaseException], None]
    ) -> None:
        try:
            await main()
        except BaseException as error:
            if not _ends_a_process(error):
                raise
            if self.alive:
                on_failure(self.host, error)


@attrs.define(eq=False)
class Host:
    """A named place where code runs.

    `main` is an ordinary async function, started afresh by every restart. `on_crash` is called at the instant of
    a crash, before the tasks are cancelled: whatever it keeps is the host's disk, what it drops was never synced.
    """

    name: str
    address: str
    main: Callable[[], Awaitable[object]] | None = None
    on_crash: Callable[[], None] | None = None
    incarnation: Incarnation | None = None
    lives: int = 0
    crashes: int = 0  # crashes that were not undone yet: with overlapping ones, the last restart counts

    @property
    def up(self) -> bool:
        """Whether the host runs."""
        return self.incarnation is not None and self.incarnation.alive


def _ends_a_process(error: BaseException) -> bool:
    """Say whether it is an error of the program or its exit; cancellation and Ctrl-C are neither."""
    if isinstance(error, BaseExceptionGroup):
        return all(_ends_a_process(each) for each in error.exceptions)
    return isinstance(error, (Exception, SystemExit))


def describe(error: BaseException) -> str:
    """Return an exception as its type, message and the place it was raised, in one line."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
