"""A load in simulation: its plan applied to a world, and what that showed."""

from collections.abc import Callable, Iterable
from itertools import chain

from simulator.interrupts import Interrupts
from simulator.load.measured import LoadResult, Measured
from simulator.load.sample import Sample, outcome
from simulator.plan import Plan
from simulator.property import Property
from simulator.simulated_run import SimulatedRun
from simulator.system import System

__all__ = ["simulate_load"]


def simulate_load(
    system: System,
    plan: Plan,
    duration_s: float,
    properties: Iterable[Property],
    on_progress: Callable[[int, float], None],
) -> LoadResult:
    """Apply the plan of a load in a world of its own, and measure it; after an interrupt what there is by then.

    `on_progress` is told how many steps are taken, and the simulated seconds.
    """
    system.check_plan(plan)
    missed: list[tuple[Sample, ...]] = []
    with Interrupts() as interrupts, interrupts.deferred(), SimulatedRun(system, plan.setting) as run:
        for number, step in enumerate(plan.steps, 1):
            if interrupts.came:
                break
            if not run.applicable(step):
                missed.append(outcome(run.world.now_s, ok=False))
            run.apply(step)
            on_progress(number, run.world.now_s)
        result = run.finish(properties)
        measured = Measured(duration_s)
        measured.add(run.system.samples(result.history))
        measured.add(chain(*missed))
    return LoadResult(result, measured, len(run.steps), len(missed), is_interrupted=interrupts.came)
