"""The reducer: from a failing plan to its few causes, by replaying smaller plans. It needs no Hypothesis, no luck."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import inf
from typing import TypeVar

import attrs
import msgspec

from simulator.candidates import (
    calm,
    calmer,
    count_deviations,
    far_instead,
    fewer_holds,
    fewer_users,
    joined_delays,
    kinds_of_steps,
    merged_users,
    plainer_kinds,
    plainer_settings,
    rounder_holds,
    shorter_faults,
    shorter_pauses,
    slower,
    waits_instead,
    with_step,
    without_deviations,
    without_kind,
    without_steps,
)
from simulator.deviation import Delay, Hold
from simulator.plan import Plan

__all__ = ["Reducer", "Reduction", "one_by_one"]


DEVIATIONS_MAX = 8
"""More explicit deviations than that tell a reader no more than the number of a storm does."""


FEW = 5
"""Steps and deviations in all that are few enough to be content with."""


P = TypeVar("P")

Replay = Callable[[Iterable[Plan]], Iterator[tuple[Plan, bool]]]
"""Replays plans, several at once where it can, and yields each, in their order, with whether it fails the same way."""


def one_by_one(fails: Callable[[Plan], bool]) -> Replay:
    """Replay in this process, by a function that says whether a plan fails in the same way."""
    return lambda plans: ((plan, fails(plan)) for plan in plans)


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
    """Shrinks one failing plan, by trying what it may be replaced by.

    In this order, again and again until nothing helps: calm weather and a plain setting, fewer steps (delta
    debugging, Zeller and Hildebrandt, TSE 2002), fewer users, less weather, plainer and shorter faults, shorter
    pauses. A step that is left out lets its time pass all the same, in the step before it, so that what follows
    still meets the moment that matters. Nothing is made so short that it fails on a fast network only.
    """

    def __init__(
        self,
        replay: Replay,
        *,
        budget_s: float,
        spell_out: Callable[[Plan], Plan] = lambda plan: plan,
        simplest: Callable[[Plan], Plan] = lambda plan: plan,
        simplify: Callable[[Plan, Callable[[Plan], bool]], Plan] = lambda plan, _fails: plan,
        hosts: Sequence[str] = (),
        on_progress: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        self._replay = replay
        self._spell_out = spell_out
        self._simplest = simplest
        self._simplify = simplify
        self._hosts = hosts
        self._begun_s = time.perf_counter()
        self._deadline_s = self._begun_s + budget_s
        self._on_progress = on_progress
        self._seen: dict[bytes, bool] = {}
        self._margin = False  # whether what is tried now must also fail on a slower network
        self.best: Plan

    def reduce(self, plan: Plan) -> Reduction:
        """Return the smallest plan found within the budget; the given one must fail."""
        self.best = plan
        self._seen[_key(plan)] = True
        try:
            self._to_fixpoint()
            if _size(self.best) > FEW:
                self._otherwise(plan)
            self.best = self._simplify(self.best, self._still_fails)
            self._to_fixpoint()
        except _OutOfTimeError:
            return self.so_far()
        return attrs.evolve(self.so_far(), complete=True)

    def so_far(self) -> Reduction:
        """Return what is reached by now."""
        return Reduction(self.best, self._replays, time.perf_counter() - self._begun_s, complete=False)

    @property
    def _replays(self) -> int:
        return len(self._seen) - 1  # of the plan that was given it is known that it fails

    def _otherwise(self, plan: Plan) -> None:
        """Begin again, with steps left out before the weather is calmed: some failures need a storm or many steps."""
        first = self.best
        self.best = plan
        try:
            self._remove_steps()
            self._to_fixpoint()
        finally:
            self.best = min(first, self.best, key=_size)

    def _to_fixpoint(self) -> None:
        before, spelled_out = None, inf
        while before != self.best:
            before = self.best
            for whole in (calm, plainer_settings, self._simplest_everywhere):
                self._try(whole)
            self._remove_steps()
            self._sweep(self._simplest_at)
            self._try(merged_users)
            self._try(fewer_users)
            for at_step in (calmer, plainer_kinds):
                self._sweep(at_step)
            self._try(partial(far_instead, hosts=self._hosts))
            self._fewer_deviations()
            self._margin = self._still_fails(slower(self.best))
            for at_step in (shorter_faults, shorter_pauses, rounder_holds):
                self._sweep(at_step)
            self._margin = False
            steps = len(self.best.steps)
            if any(step.weather for step in self.best.steps) and len(before.steps) == steps < spelled_out:
                spelled_out = steps
                self._deviate_instead()

    def _simplest_everywhere(self, plan: Plan) -> Iterator[Plan]:
        """Small data are quick to replay; what little of them must be larger is found at the end."""
        yield self._simplest(plan)

    def _simplest_at(self, plan: Plan, index: int) -> Iterator[Plan]:
        yield with_step(plan, index, self._simplest(plan).steps[index])

    def _deviate_instead(self) -> None:
        """Replace storms by the few deviations that matter, if few enough are left to be read."""
        stormy = self.best
        self._try(lambda plan: iter((self._spell_out(plan),)))
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
            for at_step in (joined_delays, waits_instead):
                self._sweep(at_step)

    def _thin_out(self, kind: type[Hold] | type[Delay], without: Callable[..., Iterator[Plan]]) -> None:
        """Delete runs of deviations of one kind, long ones first."""
        size = count_deviations(self.best, kind)
        while size:
            before = count_deviations(self.best, kind)
            self._at_each(range(before, 0, -size), partial(_windows, without, size))
            size = (size + 1) // 2 if size > 1 else int(count_deviations(self.best, kind) < before)

    def _remove_steps(self) -> None:
        """Delete all steps of a kind; then runs of steps, long ones first, what follows the failure at once."""
        if len(self.best.steps) > FEW:
            self._at_each(kinds_of_steps(self.best), without_kind)
        size = (len(self.best.steps) + 1) // 2
        while size:
            before = len(self.best.steps)
            # Windows of two overlap: what opens something and what closes it often stand side by side.
            self._at_each(range(before, 0, -1 if size == 2 else -size), partial(_windows, without_steps, size))
            if size > 1 or len(self.best.steps) == before:
                size //= 2

    def _sweep(self, at_step: Callable[[Plan, int], Iterator[Plan]]) -> None:
        self._at_each(range(len(self.best.steps)), at_step)

    def _try(self, whole: Callable[[Plan], Iterator[Plan]]) -> None:
        self._at_each((0,), lambda plan, _place: whole(plan))

    def _at_each(self, places: Sequence[P], candidates: Callable[[Plan, P], Iterator[Plan]]) -> None:
        """At each place in turn, take the first candidate that still fails, if any does."""
        while places:
            offered = [(place, plan) for place in places for plan in candidates(self.best, place) if plan != self.best]
            failing = self._first_lasting([plan for _place, plan in offered])
            if failing is None:
                return
            done = next(place for place, plan in offered if plan == failing)
            places = places[places.index(done) + 1 :]
            self.best = failing
            self._on_progress(failing, self._replays)

    def _first_lasting(self, candidates: Sequence[Plan]) -> Plan | None:
        """Return the first that fails; where that is asked, also one that fails on a slower network."""
        while (failing := self._first_failing(candidates)) is not None:
            if not self._margin or self._still_fails(slower(failing)):
                return failing
            candidates = candidates[candidates.index(failing) + 1 :]
        return None

    def _first_failing(self, candidates: Iterable[Plan]) -> Plan | None:
        known = []

        def unknown() -> Iterator[Plan]:
            for plan in candidates:
                verdict = self._seen.get(_key(plan))
                if verdict:
                    known.append(plan)
                    return
                if verdict is None:
                    if time.perf_counter() > self._deadline_s:
                        raise _OutOfTimeError
                    yield plan

        for plan, fails in self._replay(unknown()):
            self._seen[_key(plan)] = fails
            if fails:
                return plan
        return known[0] if known else None

    def _still_fails(self, plan: Plan) -> bool:
        """Replay one plan, unless its verdict is known."""
        return self._first_failing((plan,)) is not None


def _size(plan: Plan) -> int:
    """How much a reader has to keep in mind: steps, deviations, who is far; of a storm, everything it may have done."""
    storms = sum(step.weather != 0 for step in plan.steps)
    far = len(plan.setting.latencies)
    return len(plan.steps) + far + count_deviations(plan, Delay, Hold) + DEVIATIONS_MAX * storms


def _windows(without: Callable[..., Iterator[Plan]], size: int, plan: Plan, end: int) -> Iterator[Plan]:
    return without(plan, start=max(0, end - size), end=end)


def _key(plan: Plan) -> bytes:
    return msgspec.json.encode(plan)
