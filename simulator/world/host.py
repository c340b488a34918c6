"""Hosts: named places where code runs, which can crash, restart and freeze."""

import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs
import trio

from simulator.errors import SystemFailedError
from simulator.fault import Trouble

if TYPE_CHECKING:
    from simulator.world.sockets import SimulatedSocket

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
    on_end: Callable[["Host", BaseException | None], None]  # called when the program returns, or with what it raised
    alive: bool = True
    told_to_end: bool = False
    nursery: trio.Nursery | None = None
    sockets: "dict[SimulatedSocket, None]" = attrs.field(factory=dict)
    """Those that are open, in the order in which they were made."""

    def adopt_task(self) -> None:
        """Make the running task, and the tasks it will start, belong to this host."""
        _current.set(self)

    async def live(self) -> None:
        """Run the host's main, and whatever is started on the host, until the host goes down."""
        self.adopt_task()
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            if not self.alive:  # crashed between being started and running first
                return
            if self.host.main is not None:
                nursery.start_soon(self._run_main, self.host.main, name="main")
            await trio.sleep_forever()

    async def _run_main(self, main: Callable[[], Awaitable[object]]) -> None:
        try:
            await main()
        except BaseException as error:
            if not _ends_a_process(error):
                raise
            self._end(error)
        else:
            self._end(None)

    async def terminate(self) -> None:
        """Tell the program to end. It runs as a task of the host, so that what the handler logs or raises is its."""
        self.adopt_task()
        on_terminate = self.host.on_terminate
        assert on_terminate is not None
        try:
            on_terminate()
        except (Exception, SystemExit) as error:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self.alive:
            self.on_end(self.host, error)


@attrs.define(eq=False)
class Host:
    """A named place where code runs.

    `main` is an ordinary async function, started afresh by every restart. `on_crash` is called at the instant of
    a crash, before the tasks are cancelled: whatever it keeps is the host's disk, what it drops was never synced.
    `on_terminate` asks a running main to return.
    """

    name: str
    address: str
    main: Callable[[], Awaitable[object]] | None = None
    on_crash: Callable[[], None] | None = None
    on_terminate: Callable[[], None] | None = None
    troubles: Mapping[str, Trouble] = attrs.field(factory=dict)
    incarnation: Incarnation | None = None
    lives: int = 0
    crashes: int = 0  # and terminations, not undone yet: with overlapping ones, the last restart counts
    open_troubles: Counter[str] = attrs.field(factory=Counter)

    @property
    def up(self) -> bool:
        """Whether the host runs."""
        return self.incarnation is not None and self.incarnation.alive

    def begin_trouble(self, name: str) -> None:
        """Begin a trouble, unless it is under way already."""
        trouble = self.troubles[name]
        if self.open_troubles[name] == 0:
            trouble.begin()
        self.open_troubles[name] += trouble.end is not None  # one without an end is over at once

    def end_trouble(self, name: str) -> None:
        """Undo one `begin_trouble`; the last ends the trouble."""
        end = self.troubles[name].end
        assert end is not None
        self.open_troubles[name] -= 1
        if self.open_troubles[name] == 0:
            end()


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
