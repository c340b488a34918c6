"""A load on a live deployment: each operation when it is due, by the clock, whatever became of those before."""

import gc
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NoReturn

import attrs
import trio

from simulator.interrupts import Interrupts
from simulator.live.run import LiveRun, run_live
from simulator.live.target import Target
from simulator.load.measured import LoadResult, Measured
from simulator.load.processes import Processes
from simulator.load.sample import Sample, outcome
from simulator.load.simulated import EndsBefore, never
from simulator.plan import Do, Plan
from simulator.property import Property
from simulator.system import System

__all__ = ["run_load_live"]

SAMPLED_EVERY_S = 1.0
INTERRUPTED_WITHIN_S = 0.2


class Pace:
    """Takes the steps of a load by the clock, and keeps what only that can tell."""

    def __init__(
        self,
        plan: Plan,
        on_progress: Callable[[int, float], None],
        interrupts: Interrupts,
        ends_before: EndsBefore = never,
    ) -> None:
        self.late_s: dict[int, float] = {}
        """How late each operation was begun, by its number."""
        self.invoked: list[int | None] = []
        """The number of the operation of each step that was taken, None where there is none."""
        self.missed: list[tuple[Sample, ...]] = []
        """What could not be begun."""
        self.taken: list[Sample] = []
        """What processes took of the machine."""
        self._plan = plan
        self._on_progress = on_progress
        self._interrupts = interrupts
        self._ends_before = ends_before

    async def drive(self, run: LiveRun) -> None:
        """Take every step when it is due, if it makes sense then, until an interrupt comes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, run)
            await self._take_steps(run)
            nursery.cancel_scope.cancel()

    async def _take_steps(self, run: LiveRun) -> None:
        at_s = run.history.now_s
        for number, step in enumerate(self._plan.steps, 1):
            if self._ends_before(step, run):
                return
            self.invoked.append(None)
            if run.applicable(step):
                run.begin(step)
                if isinstance(step.action, Do):
                    invoked = run.history.events[-1]
                    assert invoked.operation is not None, "an operation has a number"
                    self.invoked[-1] = invoked.operation
                    self.late_s[invoked.operation] = invoked.at_s - at_s
            else:
                self.missed.append(outcome(at_s, ok=False))
            self._on_progress(number, at_s)
            at_s += step.after_s
            while (wait_s := at_s - run.history.now_s) > 0 and not self._interrupts.came:
                await trio.sleep(min(wait_s, INTERRUPTED_WITHIN_S))
            if self._interrupts.came:
                return
            await trio.lowlevel.checkpoint()  # late or not, what answers come in between is seen

    def since_due(self, sample: Sample) -> Sample:
        """Return a sample as it is from when its operation was due."""
        late_s = 0.0 if sample.operation is None else self.late_s[sample.operation]
        is_time = sample.dimension == "s"
        return attrs.evolve(sample, at_s=sample.at_s - late_s, value=sample.value + late_s * is_time)

    async def _watch(self, run: LiveRun) -> NoReturn:
        processes, pids = Processes(), run.processes()
        while True:
            self.taken += processes.sample(pids, run.history.now_s)
            await trio.sleep(SAMPLED_EVERY_S)


def run_load_live(
    system: System,
    plan: Plan,
    duration_s: float,
    target: Target,
    properties: Iterable[Property],
    on_progress: Callable[[int, float], None],
    ends_before: EndsBefore = never,
    *,
    is_heavy: bool = True,
) -> LoadResult:
    """Apply the plan of a load to a deployment, and measure it; after an interrupt what there is by then.

    Of real hosts nobody knows how much they can do: under a load that `is_heavy` who waits for one is excused.
    Everything is undone in the end. Errors may come as groups.
    """
    with Interrupts() as interrupts, interrupts.deferred():
        pace = Pace(plan, on_progress, interrupts, ends_before)

        async def drive(run: LiveRun) -> None:
            if is_heavy:
                run.limit(host.name for host in run.hosts)
            await pace.drive(run)

        gc.collect()
        gc.freeze()  # a collection that looked at all that is loaded would hold up users for a tenth of a second
        try:
            result = trio.run(run_live, system, plan, drive, target, properties)
        finally:
            gc.unfreeze()
    samples = (*map(pace.since_due, system.samples(result.history)), *pace.taken, *chain(*pace.missed))
    return LoadResult(
        result=result,
        plan=plan,
        invoked=tuple(pace.invoked),
        samples=samples,
        measured=Measured(duration_s, samples),
        not_begun=len(pace.missed),
        late_s=max(pace.late_s.values(), default=0.0),
        is_interrupted=interrupts.came,
    )
