"""How Hypothesis draws the runs of a campaign: each independent of those before it."""

import hypothesis
from hypothesis import Phase
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from simulator.machine import Drawing, Machine

__all__ = ["draw_runs"]

BACKEND = "wavetank"


class IndependentRuns(HypothesisProvider):
    """Hypothesis's own distributions, drawn afresh for every run.

    Its default engine makes five of six examples by copying parts of the one before: good for finding edge cases
    of a pure function, but here it repeats nearly the same run, and a run is expensive. An alternative backend
    (Hypothesis's own extension point) is asked for a fresh example each time. Constants found in loaded modules
    are not drawn, since they would make a seed mean something else in another process.
    """

    def _maybe_draw_constant(self, choice_type: object, constraints: object, *, p: float = 0.05) -> None:
        return None


AVAILABLE_PROVIDERS[BACKEND] = IndependentRuns


def draw_runs(drawing: Drawing, *, runs: int, steps: int, seed: int, number: int) -> None:
    """Make the runs of one search: first the simplest that there is, as Hypothesis always does, then drawn ones.

    Each search, by its `number`, has a seed of its own, derived so that one `seed` repeats them all.
    """
    settings = hypothesis.settings(
        max_examples=runs,
        stateful_step_count=steps + 1,  # Hypothesis counts the drawing of the frame as one
        database=None,
        deadline=None,
        phases=(Phase.generate,),  # the reducer shrinks, on the recorded plan; see the decision record
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
        backend=BACKEND,
    )
    hypothesis.seed(seed + 1_000_003 * number)(Machine)
    Machine.drawing = drawing
    try:
        run_state_machine_as_test(Machine, settings=settings)
    finally:
        del Machine.drawing  # with all that its runs hold
