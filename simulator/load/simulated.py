"""A load in simulation: its plan applied to a world, and what that showed."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TypeAlias

from simulator.interrupts import Interrupts
from simulator.load.measured import LoadResult, Measured
from simulator.load.sample import Sample, outcome
from simulator.plan import Do, Plan, Step, Wait
from simulator.property import Property
from simulator.run import Run
from simulator.simulated_run import SimulatedRun
from simulator.system import System

__all__ = ["EndsBefore", "never", "simulate_load"]

EndsBefore: TypeAlias = Callable[[Step, Run], bool]
"""Says whether a load ends before a step, by what the run has seen by then."""


def never(_step: Step, _run: Run) -> bool:
    """Let all steps be taken."""
    return False


def simulate_load(
    system: System,
    plan: Plan,
    duration_s: float,
    properties: Iterable[Property],
    on_progress: Callable[[int, float], None],
    ends_before: EndsBefore = never,
) -> LoadResult:
    """Apply the plan of a load in a world of its own, and measure it; after an interrupt what there is by then.

    `on_progress` is told how many steps are taken, and the simulated seconds.
    """
    system.check_plan(plan)
    missed: list[tuple[Sample, ...]] = []
    invoked: list[int | None] = []
    with Interrupts() as interrupts, interrupts.deferred(), SimulatedRun(system, plan.setting) as run:
        for number, step in enumerate(plan.steps, 1):
            if interrupts.came or ends_before(step, run):
                break
            if run.applicable(step):
                invoked.append(run.history.operations_begun + 1 if isinstance(step.action, Do) else None)
                run.apply(step)
            else:  # its time passes all the same
                invoked.append(None)
                missed.append(outcome(run.world.now_s, ok=False))
                run.apply(Step(Wait(), step.after_s))
            on_progress(number, run.world.now_s)
        result = run.finish(properties)
        samples = (*run.system.samples(result.history), *chain(*missed))
    return LoadResult(
        result=result,
        plan=Plan(plan.setting, tuple(run.steps)),
        invoked=tuple(invoked),
        samples=samples,
        measured=Measured(duration_s, samples),
        not_begun=len(missed),
        is_interrupted=interrupts.came,
    )
