"""Shrinking: a failure made small by all workers, within a time, and compared with what passes beside it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import attrs

from simulator.arguments import simplest_arguments, simplify_arguments
from simulator.failure import Candidate, Failure, fails_the_same
from simulator.interrupts import Interrupts
from simulator.plan import Plan
from simulator.property import Property
from simulator.reducer import Reducer
from simulator.simulated_run import simulate, spelled_out
from simulator.system import System
from simulator.variant import nearest_passing
from simulator.workers import Workers

__all__ = ["compared", "shrink"]


def shrink(
    system: System,
    found: Failure,
    properties: Sequence[Property],
    *,
    budget_s: float,
    workers: Workers,
    interrupts: Interrupts,
    on_reduce: Callable[[Plan, int], None],
) -> tuple[Failure, bool]:
    """Make a failure small, and say whether that was interrupted: an interrupt is heeded between two replays.

    It goes on from where an earlier shrinking of the failure has come to. `interrupts` are to be deferred meanwhile,
    or what is reached by then is lost. `on_reduce` is called with each smaller plan and the number of replays.
    """
    broken, site = found.broken, found.violation.site

    def replayed(plans: Iterable[Plan]) -> Iterator[tuple[Plan, bool]]:
        candidates = (Candidate(system, broken.name, site, plan) for plan in plans)
        for candidate, fails in workers.in_order(fails_the_same, candidates, per_worker=1):
            interrupts.check()
            yield candidate.plan, fails

    reducer = Reducer(
        replayed,
        budget_s=budget_s,
        spell_out=partial(spelled_out, system),
        simplest=partial(simplest_arguments, system),
        simplify=partial(simplify_arguments, system),
        hosts=[host.name for host in system.for_run().hosts()],
        on_progress=on_reduce,
    )
    interrupted = False
    try:
        reduction = reducer.reduce(found.plan)
    except KeyboardInterrupt:
        interrupted = True
        reduction = reducer.so_far()
    result = simulate(system, reduction.plan, properties)
    violation = result.verdicts[broken.name].violation
    assert violation is not None
    return attrs.evolve(found, violation=violation, reduction=reduction, result=result), interrupted


def compared(system: System, failure: Failure, properties: Sequence[Property]) -> Failure:
    """Return a failure with the nearest variant of its plan that passes, if there is one."""
    variant = nearest_passing(failure.plan, failure.result.history, lambda plan: simulate(system, plan, properties))
    return attrs.evolve(failure, variant=variant)
