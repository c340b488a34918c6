"""A load on a live deployment: each operation when it is due, by this process or by several, and what that showed."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import NoReturn, Protocol

import trio

from simulator.interrupts import Interrupts
from simulator.live.run import LiveRun, MakesRun, run_live
from simulator.live.target import Target
from simulator.load.measured import LoadResult, Measured
from simulator.load.pace import OnStep, Paced, take_steps
from simulator.load.processes import Processes
from simulator.load.sample import Sample
from simulator.load.simulated import EndsBefore, never
from simulator.load.spread import Spread
from simulator.plan import Plan
from simulator.property import Property
from simulator.system import System

__all__ = ["run_load_live"]

SAMPLED_EVERY_S = 1.0


class Users(Protocol):
    """Who takes the steps of a load: what `make` makes is the run that they are the users of."""

    @property
    def make(self) -> MakesRun: ...

    async def take_steps(self, run: LiveRun, is_over: Callable[[], bool], on_step: OnStep) -> Paced: ...


class Here:
    """All users in this process."""

    make = LiveRun

    def __init__(self, plan: Plan, ends_before: EndsBefore) -> None:
        self._plan = plan
        self._ends_before = ends_before

    async def take_steps(self, run: LiveRun, is_over: Callable[[], bool], on_step: OnStep) -> Paced:
        return await take_steps(run, self._plan, run.history.now_s, is_over, on_step, self._ends_before)


def run_load_live(
    system: System,
    plan: Plan,
    duration_s: float,
    target: Target,
    properties: Iterable[Property],
    on_progress: OnStep,
    ends_before: EndsBefore = never,
    *,
    is_heavy: bool = True,
    workers: int = 1,
) -> LoadResult:
    """Apply the plan of a load to a deployment, and measure it; after an interrupt what there is by then.

    Of real hosts nobody knows how much they can do: under a load that `is_heavy` who waits for one is excused. Of
    several workers each is a process with some of the users; they take no plan with faults, and know no `ends_before`.
    Everything is undone in the end. Errors may come as groups.
    """
    taken: list[Sample] = []
    paced = Paced()
    here: AbstractContextManager[Users] = nullcontext(Here(plan, ends_before))
    with (
        Interrupts() as interrupts,
        interrupts.deferred(),
        _frozen(),
        here if workers == 1 else Spread(system, plan, target, workers) as users,
    ):

        async def drive(run: LiveRun) -> None:
            nonlocal paced
            if is_heavy:
                run.limit(host.name for host in run.hosts)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, run, taken)
                paced = await users.take_steps(run, lambda: interrupts.came, on_progress)
                nursery.cancel_scope.cancel()

        result = trio.run(run_live, system, plan, drive, target, properties, users.make)
    samples = (*map(paced.since_due, system.samples(result.history)), *taken, *chain(*paced.missed))
    return LoadResult(
        result=result,
        plan=plan,
        invoked=tuple(paced.invoked),
        samples=samples,
        measured=Measured(duration_s, samples),
        not_begun=len(paced.missed),
        late_s=max(paced.late_s.values(), default=0.0),
        is_interrupted=interrupts.came,
    )


@contextmanager
def _frozen() -> Iterator[None]:
    """Collect no garbage among what is loaded by now: that would hold up users for a tenth of a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _watch(run: LiveRun, taken: list[Sample]) -> NoReturn:
    """Take what the processes of the hosts take of this machine."""
    processes, pids = Processes(), run.processes()
    while True:
        taken += processes.sample(pids, run.history.now_s)
        await trio.sleep(SAMPLED_EVERY_S)
