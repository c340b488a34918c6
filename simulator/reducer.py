"""The reducer: from a failing plan to its few causes, by replaying smaller plans. It needs no Hypothesis, no luck."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import attrs
import msgspec

from simulator.candidates import (
    calm,
    calmer,
    count_deviations,
    fewer_holds,
    fewer_users,
    joined_delays,
    merged_users,
    plainer_kinds,
    plainer_settings,
    rounder_holds,
    shorter_faults,
    shorter_pauses,
    slower,
    without_deviations,
    without_steps,
)
from simulator.deviation import Delay, Hold
from simulator.plan import Plan

__all__ = ["Reducer", "Reduction"]


DEVIATIONS_MAX = 8
"""More explicit deviations than that tell a reader no more than the number of a storm does."""

Fails = Callable[[Plan], bool]


@attrs.frozen
class Reduction:
    """A smaller plan that fails in the same way, and what it took: replays, real seconds, whether time ran out."""

    plan: Plan
    replays: int
    real_s: float
    complete: bool


class _OutOfTimeError(Exception):
    """The budget is used up; what was reached so far is the result."""


class Reducer:
    """Shrinks one failing plan. `fails` replays a candidate and says whether it fails in the same way.

    In this order, again and again until nothing helps: calm weather and a plain setting, fewer steps (delta
    debugging, Zeller and Hildebrandt, TSE 2002), fewer users, less weather, plainer and shorter faults, shorter
    pauses. A step that is left out lets its time pass all the same, in the step before it, so that what follows
    still meets the moment that matters. Nothing is made so short that it fails on a fast network only.
    """

    def __init__(
        self,
        fails: Fails,
        *,
        budget_s: float,
        spell_out: Callable[[Plan], Plan] = lambda plan: plan,
        simplify: Callable[[Plan, Fails], Plan] = lambda plan, _fails: plan,
        on_progress: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        self._fails = fails
        self._spell_out = spell_out
        self._simplify = simplify
        self._begun_s = time.perf_counter()
        self._deadline_s = self._begun_s + budget_s
        self._on_progress = on_progress
        self._seen: dict[bytes, bool] = {}
        self._margin = False  # whether what is tried now must also fail on a slower network
        self.best: Plan

    def reduce(self, plan: Plan) -> Reduction:
        """Return the smallest plan found within the budget; the given one must fail."""
        self.best = plan
        try:
            self._to_fixpoint()
            self.best = self._simplify(self.best, self._still_fails)
            self._to_fixpoint()
        except _OutOfTimeError:
            return self.so_far()
        return attrs.evolve(self.so_far(), complete=True)

    def so_far(self) -> Reduction:
        """Return what is reached by now."""
        return Reduction(self.best, len(self._seen), time.perf_counter() - self._begun_s, complete=False)

    def _to_fixpoint(self) -> None:
        before, spelled_out = None, inf
        while before != self.best:
            before = self.best
            for whole in (calm, plainer_settings):
                self._try_first(whole(self.best))
            self._remove_steps()
            self._try_first(merged_users(self.best))
            self._try_first(fewer_users(self.best))
            for at_step in (calmer, plainer_kinds):
                self._sweep(at_step)
            self._fewer_deviations()
            self._margin = self._still_fails(slower(self.best))
            for at_step in (shorter_faults, shorter_pauses, rounder_holds):
                self._sweep(at_step)
            self._margin = False
            steps = len(self.best.steps)
            if any(step.weather for step in self.best.steps) and len(before.steps) == steps < spelled_out:
                spelled_out = steps
                self._deviate_instead()

    def _deviate_instead(self) -> None:
        """Replace storms by the few deviations that matter, if few enough are left to be read."""
        stormy = self.best
        self._try_first(iter((self._spell_out(stormy),)))
        try:
            self._fewer_deviations()
        finally:
            if count_deviations(self.best, Delay, Hold) > DEVIATIONS_MAX:
                self.best = stormy

    def _fewer_deviations(self) -> None:
        before = None
        while before != self.best:
            before = self.best
            self._thin_out(Delay, partial(without_deviations, kind=Delay))
            self._thin_out(Hold, fewer_holds)
            self._sweep(joined_delays)

    def _thin_out(self, kind: type[Hold] | type[Delay], without: Callable[..., Iterator[Plan]]) -> None:
        """Delete runs of deviations of one kind, long ones first."""
        size = count_deviations(self.best, kind)
        while size:
            before = count_deviations(self.best, kind)
            for end in range(before, 0, -size):
                self._try_first(without(self.best, start=max(0, end - size), end=end))
            size = (size + 1) // 2 if size > 1 else int(count_deviations(self.best, kind) < before)

    def _sweep(self, at_step: Callable[[Plan, int], Iterator[Plan]]) -> None:
        for index in range(len(self.best.steps)):
            self._try_first(at_step(self.best, index))

    def _remove_steps(self) -> None:
        """Delete runs of steps, long ones first, the last steps first: what follows the failure goes at once."""
        size = (len(self.best.steps) + 1) // 2
        while size:
            before = len(self.best.steps)
            # Windows of two overlap: what opens something and what closes it often stand side by side.
            for end in range(before, 0, -1 if size == 2 else -size):
                if end <= len(self.best.steps):
                    self._try_first(without_steps(self.best, max(0, end - size), end))
            if size > 1 or len(self.best.steps) == before:
                size //= 2

    def _try_first(self, candidates: Iterator[Plan]) -> None:
        """Take the first candidate that still fails, if any does."""
        for candidate in candidates:
            if candidate != self.best and self._still_fails(candidate) and self._keeps_margin(candidate):
                self.best = candidate
                self._on_progress(candidate, len(self._seen))
                return

    def _keeps_margin(self, candidate: Plan) -> bool:
        """Say whether a plan is as little a matter of milliseconds as before: too tight a one fails nowhere real."""
        return not self._margin or self._still_fails(slower(candidate))

    def _still_fails(self, candidate: Plan) -> bool:
        key = msgspec.json.encode(candidate)
        known = self._seen.get(key)
        if known is None:
            if time.perf_counter() > self._deadline_s:
                raise _OutOfTimeError
            known = self._seen[key] = self._fails(candidate)
        return known
