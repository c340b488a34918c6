"""How Hypothesis draws the runs of a campaign: each independent of those before it."""

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

__all__ = ["BACKEND"]

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
