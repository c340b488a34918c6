"""Taking the steps of a load by the clock: each when it is due, whatever became of those before."""

from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from simulator.load.sample import Sample, outcome
from simulator.load.simulated import EndsBefore, never
from simulator.plan import Do, Plan
from simulator.run import Run

__all__ = ["OnStep", "Paced", "take_steps"]

INTERRUPTED_WITHIN_S = 0.2

OnStep: TypeAlias = Callable[[int, float], None]
"""Is told how many steps are taken, and after how many seconds."""


@attrs.define
class Paced:
    """What only the clock can tell of the steps that were taken."""

    invoked: list[int | None] = attrs.field(factory=list)
    """The number of the operation of each step that was taken, None where there is none."""
    late_s: dict[int, float] = attrs.field(factory=dict)
    """How late each operation was begun, by its number."""
    missed: list[tuple[Sample, ...]] = attrs.field(factory=list)
    """What could not be begun."""

    def since_due(self, sample: Sample) -> Sample:
        """Return a sample as it is from when its operation was due."""
        late_s = 0.0 if sample.operation is None else self.late_s[sample.operation]
        value = sample.value + late_s * (sample.dimension == "s")
        return attrs.evolve(sample, at_s=sample.at_s - late_s, value=value, lasted_s=sample.lasted_s + late_s)


async def take_steps(
    run: Run,
    plan: Plan,
    begins_s: float,
    is_over: Callable[[], bool],
    on_step: OnStep = lambda _number, _at_s: None,
    ends_before: EndsBefore = never,
) -> Paced:
    """Take every step when it is due, if it makes sense then, until it is over. The first is due at `begins_s`."""
    paced = Paced()
    at_s = begins_s
    for number, step in enumerate(plan.steps, 1):
        if ends_before(step, run):
            break
        paced.invoked.append(None)
        if run.applicable(step):
            run.begin(step)
            if isinstance(step.action, Do):
                invoked = run.history.events[-1]
                assert invoked.operation is not None, "an operation has a number"
                paced.invoked[-1] = invoked.operation
                paced.late_s[invoked.operation] = invoked.at_s - at_s
        else:
            paced.missed.append(outcome(at_s, ok=False))
        on_step(number, at_s)
        at_s += step.after_s
        while (wait_s := at_s - run.history.now_s) > 0 and not is_over():
            await trio.sleep(min(wait_s, INTERRUPTED_WITHIN_S))
        if is_over():
            break
        await trio.lowlevel.checkpoint()  # late or not, what answers come in between is seen
    return paced
