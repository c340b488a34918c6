"""A load that is spread over processes: each is some of the users, and what they see is merged into one history."""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from math import inf
from operator import attrgetter
from typing import Self

import attrs
import trio

from simulator.errors import EnvironmentFailedError
from simulator.history import Event, Kind
from simulator.live.deployment import Deployment
from simulator.live.run import LiveRun
from simulator.live.target import Target
from simulator.load.generator import Begin, Failed, Order, Told, generate
from simulator.load.pace import OnStep, Paced
from simulator.load.share import Share
from simulator.pending import Pending
from simulator.plan import Plan
from simulator.redaction import conceal
from simulator.system import System
from simulator.workers import check_portable, is_forking, process_context

__all__ = ["Spread", "SpreadRun"]

LOOKS_EVERY_S = 0.1
SILENT_S_MAX = 10.0
ENDS_WITHIN_S = 5.0


class Spread:
    """The processes of a load, and the run of which their users are. A context manager, outside of Trio."""

    def __init__(self, system: System, plan: Plan, target: Target, count: int) -> None:
        if not is_forking():
            check_portable(system)
        self._processes = [_Process(system, plan, target, Share(number, count)) for number in range(count)]
        self._started = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for each in self._processes:
                each.start()
                starting.callback(each.kill)
            self._started = starting.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._started.close()

    def make(self, system: System, plan: Plan, deployment: Deployment, nursery: trio.Nursery) -> "SpreadRun":
        """Return the run of a deployment whose users they are."""
        return SpreadRun(system, plan, deployment, nursery, self._processes)

    async def take_steps(self, run: LiveRun, is_over: Callable[[], bool], on_step: OnStep) -> Paced:
        """Have all take their steps, until it is over."""
        assert isinstance(run, SpreadRun)
        while not all(each.is_ready for each in self._processes):
            await trio.sleep(LOOKS_EVERY_S)
        began_s = run.begin_load()
        is_told = False
        while not all(each.paced for each in self._processes):
            await trio.sleep(LOOKS_EVERY_S)
            on_step(run.history.operations_begun, run.history.now_s - began_s)
            if is_over() and not is_told:
                run.order(Order.STOP)
                is_told = True
        return run.paced()


class _Process:
    """One process, as whoever began it sees it."""

    def __init__(self, system: System, plan: Plan, target: Target, share: Share) -> None:
        self.share = share
        self.places = share.places(plan)
        self.is_ready = False
        self.until_s = 0.0
        """Up to when it is known what happened there."""
        self.settled = 0
        self.paced: Paced | None = None
        self.numbers: dict[int, int] = {}
        """What the numbers of its operations are in the run."""
        self._what = system, share.plan(plan), target, share

    def start(self) -> None:
        context = process_context()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=generate, args=(theirs, *self._what))
        self._process.start()
        theirs.close()  # before another process is forked, or the end of this one would not be seen

    def kill(self) -> None:
        """End it, if it has not ended yet."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def wait_ended(self) -> None:
        """Wait until it has ended as it was told to, or long enough."""
        self._process.join(ENDS_WITHIN_S)

    async def told(self, within_s: float) -> Told:
        """Return what it tells next. Raises what went wrong there."""
        with trio.move_on_after(within_s):
            await trio.lowlevel.wait_readable(self.connection.fileno())
        which = f"worker {self.share.number + 1} of {self.share.of}"
        try:
            if not self.connection.poll():  # it may have come while we were the late ones
                raise EnvironmentFailedError(
                    f"{which} has told nothing for {within_s:g} s: it hangs, or is given no time. Use fewer --workers."
                )
            told = self.connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise EnvironmentFailedError(
                f"{which} has ended with exit code {self._process.exitcode}"
                f"{'. Killed for want of memory? Use fewer --workers.' if self._process.exitcode == -9 else '.'}"
            ) from error
        if isinstance(told, Failed):
            for secret in told.secrets:
                conceal(secret)
            raise told.error
        assert isinstance(told, Told)
        return told


class SpreadRun(LiveRun):
    """A run on a deployment whose users are other processes.

    What they did, and what hosts have logged, is recorded in the order of time. The moment up to which all of them have
    told what happened is the present of the run.
    """

    def __init__(
        self, system: System, plan: Plan, deployment: Deployment, nursery: trio.Nursery, processes: Sequence[_Process]
    ) -> None:
        super().__init__(system, plan, deployment, nursery, acting=())
        self._processes = processes
        self._unmerged: list[Event] = []
        self._settles = 0
        self._load_begun = trio.Event()
        for each in processes:
            nursery.start_soon(self._follow, each)

    def begin_load(self) -> float:
        """Have all begin, and return the moment at which they do."""
        now_s = self.history.now_s
        self.order(Begin(time.perf_counter() - now_s, now_s))
        self._load_begun.set()
        return now_s

    def order(self, order: Begin | Order) -> None:
        """Tell all what to do."""
        for each in self._processes:
            with suppress(OSError):  # of one that has ended what it tells next is told
                each.connection.send(order)

    def settle_users(self) -> None:
        """Tell every user's client to come to rest."""
        self._settles += 1
        self.order(Order.SETTLE)

    def unfinished(self) -> dict[int, Pending]:
        """Return what is not finished by the users, as far as they have told."""
        is_known = not self._unmerged and all(each.settled == self._settles for each in self._processes)
        return self._unfinished if is_known else {**self._unfinished, -1: Pending("not all that users saw is known")}

    def read_logs(self) -> None:
        """Take what the hosts have logged up to now, and only then record what all have told up to a moment before."""
        clock_s = self.history.clock_s
        for event in sorted(self.logged(), key=attrgetter("at_s")):
            self._unmerged.append(attrs.evolve(event, at_s=min(event.at_s, clock_s)))
        until_s = min(each.until_s for each in self._processes)
        self._unmerged.sort(key=attrgetter("at_s"))
        due = bisect_right(self._unmerged, until_s, key=attrgetter("at_s"))
        for event in self._unmerged[:due]:
            self.history.record_at(event)
        del self._unmerged[:due]
        if until_s:
            self.history.present_s = until_s

    def paced(self) -> Paced:
        """Return what the clock tells of all that was taken."""
        whole = Paced()
        by_place: dict[int, int | None] = {}
        for each in self._processes:
            assert each.paced is not None
            for place, number in zip(each.places, each.paced.invoked[1:], strict=False):  # the first is a wait
                by_place[place] = None if number is None else each.numbers[number]
            whole.late_s |= {each.numbers[number]: late_s for number, late_s in each.paced.late_s.items()}
            whole.missed += each.paced.missed
        whole.invoked = [by_place.get(place) for place in range(max(by_place, default=-1) + 1)]
        return whole

    def close(self) -> None:
        """Have all processes end, and read no logs any more."""
        self.order(Order.END)
        for each in self._processes:
            each.wait_ended()
        super().close()

    async def _follow(self, process: _Process) -> None:
        await process.told(inf)
        process.is_ready = True
        await self._load_begun.wait()
        of, number = process.share.of, process.share.number
        while True:
            told = await process.told(SILENT_S_MAX)
            for secret in told.secrets:
                conceal(secret)
            self._unmerged += [self._numbered(event, process) for event in told.events]
            self._unfinished |= {begun * of + number: pending for begun, pending in told.begun.items()}
            for ended in told.ended:
                del self._unfinished[ended * of + number]
            process.until_s, process.settled = told.until_s, told.settled
            process.paced = told.paced or process.paced

    def _numbered(self, event: Event, process: _Process) -> Event:
        """Return an event with the run's number of its operation."""
        if event.operation is None:
            return event
        if event.kind is Kind.INVOKE:
            process.numbers[event.operation] = self.history.next_operation()
        return attrs.evolve(event, operation=process.numbers[event.operation])
