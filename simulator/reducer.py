"""The reducer: from a failing plan to its few causes, by replaying smaller plans. It needs no Hypothesis and no luck."""

import time
from collections.abc import Callable, Iterator

import attrs
import msgspec

from simulator.fault import FAULT_KINDS
from simulator.plan import Do, Plan, Setting, Step, Strike

__all__ = ["Reducer", "Reduction"]

PAUSE_LADDER_S = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0)


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
    """Shrinks one failing plan. `fails` replays a candidate and says whether the same property fails at the same site.

    In this order, again and again until nothing helps: calmer weather, a plainer setting, fewer steps (delta debugging, Zeller and
    Hildebrandt, TSE 2002), fewer users, shorter faults, shorter pauses.
    """

    def __init__(
        self,
        fails: Callable[[Plan], bool],
        *,
        budget_s: float,
        simplify: Callable[[Plan, Callable[[Plan], bool]], Plan] = lambda plan, _fails: plan,
        on_progress: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        self._fails = fails
        self._simplify = simplify
        self._deadline_s = time.perf_counter() + budget_s
        self._on_progress = on_progress
        self._seen: dict[bytes, bool] = {}
        self.best: Plan

    def reduce(self, plan: Plan) -> Reduction:
        """Return the smallest plan found within the budget; the given one must fail."""
        begun_s = time.perf_counter()
        self.best = plan
        complete = True
        try:
            self._to_fixpoint()
            self.best = self._simplify(self.best, self._still_fails)
            self._to_fixpoint()
        except _OutOfTimeError:
            complete = False
        return Reduction(self.best, len(self._seen), time.perf_counter() - begun_s, complete)

    def _to_fixpoint(self) -> None:
        before = None
        while before != self.best:
            before = self.best
            # Calm first: what fails in calm weather fails for a reason that survives the deletion of steps.
            for candidates in (_calm, _plainer_setting):
                self._take_any(candidates)
            self._remove_steps()
            for candidates in (_fewer_users, _calmer, _milder_faults, _shorter_pauses):
                self._take_any(candidates)

    def _remove_steps(self) -> None:
        """Delete runs of steps, long ones first, the last steps first: what follows the failure goes at once.

        The time of what is deleted passes all the same, in the step before it, so that what follows still meets the
        moment that matters; pauses are shortened afterwards.
        """
        size = max(1, len(self.best.steps) // 2)
        while True:
            removed = False
            start = len(self.best.steps) - size
            while start > -size:
                removed |= any(self._try(each) for each in _without(self.best, max(start, 0), max(start + size, 0)))
                start -= size
            if size > 1:
                size //= 2
            elif not removed:
                return

    def _take_any(self, candidates: Callable[[Plan], Iterator[Plan]]) -> None:
        """Accept the first candidate that still fails, and start again from it, until none does."""
        while any(self._try(candidate) for candidate in candidates(self.best)):
            pass

    def _try(self, candidate: Plan) -> bool:
        if candidate == self.best or not self._still_fails(candidate):
            return False
        self.best = candidate
        self._on_progress(candidate, len(self._seen))
        return True

    def _still_fails(self, candidate: Plan) -> bool:
        key = msgspec.json.encode(candidate)
        known = self._seen.get(key)
        if known is None:
            if time.perf_counter() > self._deadline_s:
                raise _OutOfTimeError
            known = self._seen[key] = self._fails(candidate)
        return known


def _with_step(plan: Plan, index: int, step: Step) -> Plan:
    return msgspec.structs.replace(plan, steps=(*plan.steps[:index], step, *plan.steps[index + 1 :]))


def _without(plan: Plan, start: int, end: int) -> Iterator[Plan]:
    """Leave out a run of steps: first letting its time pass, then not."""
    steps, left_out = plan.steps, plan.steps[start:end]
    if not left_out:
        return
    passed_s = round(sum(step.after_s for step in left_out), 6)
    if start > 0 and passed_s:
        before = msgspec.structs.replace(steps[start - 1], after_s=round(steps[start - 1].after_s + passed_s, 6))
        yield Plan(plan.setting, (*steps[: start - 1], before, *steps[end:]))
    yield Plan(plan.setting, steps[:start] + steps[end:])


def _fewer_users(plan: Plan) -> Iterator[Plan]:
    """Rename users so that the first ones are used and no more exist."""
    used = sorted({step.action.user for step in plan.steps if isinstance(step.action, Do)})
    number = {user: index for index, user in enumerate(used)}

    def renamed(step: Step) -> Step:
        if not isinstance(step.action, Do):
            return step
        return msgspec.structs.replace(
            step, action=msgspec.structs.replace(step.action, user=number[step.action.user])
        )

    users = max(1, len(used))
    if users < plan.setting.users:
        setting = msgspec.structs.replace(plan.setting, users=users)
        yield Plan(setting, tuple(renamed(step) for step in plan.steps))
        yield msgspec.structs.replace(
            plan, setting=msgspec.structs.replace(plan.setting, users=max(used, default=0) + 1)
        )


def _calm(plan: Plan) -> Iterator[Plan]:
    """Calm every step at once."""
    if any(step.weather for step in plan.steps):
        yield Plan(plan.setting, tuple(msgspec.structs.replace(step, weather=0) for step in plan.steps))


def _calmer(plan: Plan) -> Iterator[Plan]:
    """Calm each step by itself."""
    for index, step in enumerate(plan.steps):
        if step.weather:
            yield _with_step(plan, index, msgspec.structs.replace(step, weather=0))


def _plainer_setting(plan: Plan) -> Iterator[Plan]:
    """Use the default latency and seed."""
    plain = Setting(users=plan.setting.users)
    for setting in (
        plain,
        msgspec.structs.replace(plan.setting, seed=plain.seed),
        msgspec.structs.replace(plan.setting, latency_s=plain.latency_s),
    ):
        if setting != plan.setting:
            yield Plan(setting, plan.steps)


def _milder_faults(plan: Plan) -> Iterator[Plan]:
    """Let faults last less long."""
    for index, step in enumerate(plan.steps):
        if isinstance(step.action, Strike) and FAULT_KINDS[step.action.fault.kind].end is not None:
            for shorter_s in _below(step.action.fault.for_s):
                fault = msgspec.structs.replace(step.action.fault, for_s=shorter_s)
                yield _with_step(plan, index, msgspec.structs.replace(step, action=Strike(fault)))


def _shorter_pauses(plan: Plan) -> Iterator[Plan]:
    """Let less time pass after steps."""
    for index, step in enumerate(plan.steps):
        for shorter_s in _below(step.after_s):
            yield _with_step(plan, index, msgspec.structs.replace(step, after_s=shorter_s))


def _below(seconds: float) -> list[float]:
    return [each for each in PAUSE_LADDER_S if each < seconds]
