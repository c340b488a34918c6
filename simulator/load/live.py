"""A load on a live deployment: each operation when it is due, by the clock, whatever became of those before."""

from collections.abc import Callable, Iterable
from typing import NoReturn

import attrs
import trio

from simulator.live.run import LiveRun, run_live
from simulator.live.target import Target
from simulator.load.arrivals import due_s
from simulator.load.measured import Loaded, Measured
from simulator.load.processes import Processes
from simulator.load.sample import Sample, outcome
from simulator.plan import Plan
from simulator.property import Property
from simulator.system import System

__all__ = ["load_live"]

SAMPLED_EVERY_S = 1.0


class Pace:
    """Takes the steps of a load by the clock, and keeps what only that can tell."""

    def __init__(self, plan: Plan, on_progress: Callable[[int, float], None]) -> None:
        self.late_s: dict[int, float] = {}
        """How late each operation was begun, by its number."""
        self.samples: list[Sample] = []
        """What users did not show: what could not be begun, and what processes took."""
        self._plan = plan
        self._on_progress = on_progress

    async def drive(self, run: LiveRun) -> None:
        """Take every step when it is due, if it makes sense then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, run)
            begun_s = run.history.now_s
            for number, (after_s, step) in enumerate(zip(due_s(self._plan), self._plan.steps, strict=True), 1):
                at_s = begun_s + after_s
                await trio.sleep(max(0.0, at_s - run.history.now_s))
                if run.applicable(step):
                    run.begin(step)
                    invoked = run.history.events[-1]
                    assert invoked.operation is not None, "a load is made of operations"
                    self.late_s[invoked.operation] = invoked.at_s - at_s
                else:
                    self.samples += outcome(at_s, ok=False)
                self._on_progress(number, at_s)
            nursery.cancel_scope.cancel()

    def since_due(self, sample: Sample) -> Sample:
        """Return a sample as it is from when its operation was due."""
        late_s = 0.0 if sample.operation is None else self.late_s[sample.operation]
        return attrs.evolve(sample, at_s=sample.at_s - late_s, value=sample.value + late_s)

    async def _watch(self, run: LiveRun) -> NoReturn:
        processes, pids = Processes(), run.processes()
        while True:
            self.samples += processes.sample(pids, run.history.now_s)
            await trio.sleep(SAMPLED_EVERY_S)


async def load_live(
    system: System,
    plan: Plan,
    duration_s: float,
    target: Target,
    properties: Iterable[Property],
    on_progress: Callable[[int, float], None],
) -> Loaded:
    """Apply the plan of a load to a deployment, measure it, and undo everything, also when interrupted."""
    pace = Pace(plan, on_progress)
    result = await run_live(system, plan, pace.drive, target, properties)
    measured = Measured(duration_s)
    measured.add(map(pace.since_due, system.samples(result.history)))
    measured.add(pace.samples)
    begun = len(pace.late_s)
    return Loaded(result, measured, begun, len(plan.steps) - begun, max(pace.late_s.values(), default=0.0))
