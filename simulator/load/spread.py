"""A load that is spread over processes: each is some of the users, and what they see is merged into one history."""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Self

import attrs
import trio

from simulator.errors import EnvironmentFailedError
from simulator.history import Event, Kind
from simulator.live.deployment import Deployment
from simulator.live.run import LiveRun
from simulator.live.target import Target
from simulator.load.generator import Begin, Order, Told, generate
from simulator.load.pace import OnStep, Paced
from simulator.load.share import Share
from simulator.pending import Pending
from simulator.plan import Plan
from simulator.redaction import conceal
from simulator.system import System
from simulator.workers import process_context

__all__ = ["Spread", "SpreadRun"]

LOOKS_EVERY_S = 0.1


class Spread:
    """The processes of a load, and the run of which their users are. A context manager, outside of Trio."""

    def __init__(self, system: System, plan: Plan, target: Target, count: int) -> None:
        self._generators = [_Process(system, plan, target, Share(number, count)) for number in range(count)]

    def __enter__(self) -> Self:
        for each in self._generators:
            each.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for each in self._generators:
            each.kill()

    def make(
        self, system: System, plan: Plan, target: Target, deployment: Deployment, nursery: trio.Nursery
    ) -> "SpreadRun":
        """Return the run of a deployment whose users they are."""
        return SpreadRun(system, plan, target, deployment, nursery, self._generators)

    async def take_steps(self, run: LiveRun, is_over: Callable[[], bool], on_step: OnStep) -> Paced:
        """Have all take their steps, until it is over."""
        assert isinstance(run, SpreadRun)
        now_s = run.history.now_s
        run.order(Begin(time.perf_counter() - now_s, now_s))
        is_told = False
        while not all(each.paced for each in self._generators):
            await trio.sleep(LOOKS_EVERY_S)
            on_step(run.history.operations_begun, run.history.now_s - now_s)
            if is_over() and not is_told:
                run.order(Order.STOP)
                is_told = True
        return run.paced()


class _Process:
    """One process, as whoever began it sees it."""

    def __init__(self, system: System, plan: Plan, target: Target, share: Share) -> None:
        self.share = share
        self.places = [0, *share.places(plan)]  # of the steps of its own plan, the first of which is a wait
        self.until_s = 0.0
        """Up to when it is known what happened there."""
        self.settled = 0
        self.paced: Paced | None = None
        self.numbers: dict[int, int] = {}
        """What the numbers of its operations are in the run."""
        self._what = system, plan, target, share

    def start(self) -> None:
        context = process_context()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=generate, args=(theirs, *self._what), daemon=True)
        self._process.start()
        theirs.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    async def told(self) -> Told:
        """Return what it tells next. Raises what went wrong there."""
        await trio.lowlevel.wait_readable(self.connection.fileno())
        try:
            told = self.connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise EnvironmentFailedError(
                f"worker {self.share.number + 1} of {self.share.of} has ended with exit code "
                f"{self._process.exitcode}. Killed for want of memory? With --workers 1 there is only one process."
            ) from error
        if isinstance(told, BaseException):
            raise told
        assert isinstance(told, Told)
        return told


class SpreadRun(LiveRun):
    """A run on a deployment whose users are other processes.

    What they did, and what hosts have logged, is recorded in the order of time. The moment up to which all of them have
    told what happened is the present of the run.
    """

    def __init__(
        self,
        system: System,
        plan: Plan,
        target: Target,
        deployment: Deployment,
        nursery: trio.Nursery,
        generators: Sequence[_Process],
    ) -> None:
        super().__init__(system, plan, target, deployment, nursery, acting=())
        self._generators = generators
        self._unmerged: list[Event] = []
        self._settles = 0
        for each in generators:
            nursery.start_soon(self._follow, each)

    def order(self, order: Begin | Order) -> None:
        """Tell all what to do."""
        for each in self._generators:
            with suppress(OSError):  # of one that has ended what it tells next is told
                each.connection.send(order)

    def settle_users(self) -> None:
        """Tell every user's client to come to rest."""
        self._settles += 1
        self.order(Order.SETTLE)

    def unfinished(self) -> dict[int, Pending]:
        """Return what is not finished by the users, as far as they have told."""
        late = [each for each in self._generators if each.settled < self._settles]
        untold = {-1 - each.share.number: Pending(f"worker {each.share.number + 1} does not answer") for each in late}
        return {**self._unfinished, **untold}

    def read_logs(self) -> None:
        """Take what the hosts have logged up to now."""
        self._unmerged += self.logged()
        self._merge()

    def paced(self) -> Paced:
        """Return what the clock tells of all that was taken."""
        whole = Paced()
        by_place: dict[int, int | None] = {}
        for each in self._generators:
            assert each.paced is not None
            for place, number in zip(each.places, each.paced.invoked, strict=False):
                by_place[place] = None if number is None else each.numbers[number]
            whole.late_s |= {each.numbers[number]: late_s for number, late_s in each.paced.late_s.items()}
            whole.missed += each.paced.missed
        whole.invoked = [by_place.get(place) for place in range(max(by_place) + 1)]
        return whole

    async def _follow(self, process: _Process) -> None:
        while True:
            told = await process.told()
            for secret in told.secrets:
                conceal(secret)
            of, number = process.share.of, process.share.number
            self._unmerged += [self._numbered(event, process) for event in told.events]
            self._unfinished |= {begun * of + number: pending for begun, pending in told.begun.items()}
            for ended in told.ended:
                del self._unfinished[ended * of + number]
            process.until_s, process.settled = told.until_s, told.settled
            process.paced = told.paced or process.paced
            self._merge()

    def _numbered(self, event: Event, process: _Process) -> Event:
        """Return an event with the run's number of its operation."""
        if event.operation is None:
            return event
        if event.kind is Kind.INVOKE:
            process.numbers[event.operation] = self.history.next_operation()
        return attrs.evolve(event, operation=process.numbers[event.operation])

    def _merge(self) -> None:
        until_s = min(each.until_s for each in self._generators)
        self._unmerged.sort(key=attrgetter("at_s"))
        due = bisect_right(self._unmerged, until_s, key=attrgetter("at_s"))
        for event in self._unmerged[:due]:
            self.history.record_at(event)
        del self._unmerged[:due]
        if until_s:
            self.history.present_s = until_s
