"""The reducer: from a failing plan to its few causes, by replaying smaller plans. It needs no Hypothesis, no luck."""

import time
from collections.abc import Callable, Iterator, Mapping

import attrs
import msgspec

from simulator.fault import Fault
from simulator.plan import Do, Plan, Setting, Step, Strike

__all__ = ["Reducer", "Reduction"]

MARGIN = 5.0
"""How many times slower a network a shorter pause must bear, if the longer one did."""

PAUSES_S = (0.0, 0.01, 0.05, 0.2, 1.0, 3.0)
PLAINER_KINDS = {
    "vanish": ("crash", "freeze"),
    "freeze": ("crash",),
    "terminate": ("crash",),
    "silence": ("partition",),
    "hold": ("partition",),
    "slow": ("partition",),
}
"""What a fault is first replaced by: kinds that a reader meets more often, and that can be done to real services."""

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
        simplify: Callable[[Plan, Fails], Plan] = lambda plan, _fails: plan,
        on_progress: Callable[[Plan, int], None] = lambda _plan, _replays: None,
    ) -> None:
        self._fails = fails
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
        before = None
        while before != self.best:
            before = self.best
            for whole in (_calm, _plainer_settings):
                self._try_first(whole(self.best))
            self._remove_steps()
            self._try_first(_merged_users(self.best))
            self._try_first(_fewer_users(self.best))
            for at_step in (_calmer, _plainer_kinds):
                self._sweep(at_step)
            self._margin = self._still_fails(_slower(self.best))
            for at_step in (_shorter_faults, _shorter_pauses):
                self._sweep(at_step)
            self._margin = False

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
                    self._try_first(_without(self.best, max(0, end - size), end))
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
        return not self._margin or self._still_fails(_slower(candidate))

    def _still_fails(self, candidate: Plan) -> bool:
        key = msgspec.json.encode(candidate)
        known = self._seen.get(key)
        if known is None:
            if time.perf_counter() > self._deadline_s:
                raise _OutOfTimeError
            known = self._seen[key] = self._fails(candidate)
        return known


# Candidates for the plan as a whole


def _calm(plan: Plan) -> Iterator[Plan]:
    """Calm every step at once: what fails in calm weather fails for a reason that survives other deletions."""
    yield Plan(plan.setting, tuple(msgspec.structs.replace(step, weather=0) for step in plan.steps))


def _plainer_settings(plan: Plan) -> Iterator[Plan]:
    """Use the default latency and seed."""
    plain = Setting(users=plan.setting.users)
    yield Plan(plain, plan.steps)
    yield Plan(msgspec.structs.replace(plan.setting, seed=plain.seed), plan.steps)
    yield Plan(msgspec.structs.replace(plan.setting, latency_s=plain.latency_s), plan.steps)


def _merged_users(plan: Plan) -> Iterator[Plan]:
    """Let one user do what another did: then the other need not connect, and may go."""
    used = _acting_users(plan)
    for gone in reversed(used):
        for other in used:
            if other < gone:
                yield Plan(plan.setting, _renamed(plan, {gone: other}))


def _acting_users(plan: Plan) -> list[int]:
    return sorted({step.action.user for step in plan.steps if isinstance(step.action, Do)})


def _renamed(plan: Plan, number: Mapping[int, int]) -> tuple[Step, ...]:
    def renamed(step: Step) -> Step:
        if not isinstance(step.action, Do):
            return step
        user = number.get(step.action.user, step.action.user)
        return msgspec.structs.replace(step, action=msgspec.structs.replace(step.action, user=user))

    return tuple(renamed(step) for step in plan.steps)


def _slower(plan: Plan) -> Plan:
    """Return the plan on a slower network."""
    return Plan(msgspec.structs.replace(plan.setting, latency_s=MARGIN * plan.setting.latency_s), plan.steps)


def _fewer_users(plan: Plan) -> Iterator[Plan]:
    """Leave out users who do nothing, renaming the others so that the first ones are used; or only the last ones."""
    used = _acting_users(plan)
    fewest = msgspec.structs.replace(plan.setting, users=max(1, len(used)))
    yield Plan(fewest, _renamed(plan, {user: index for index, user in enumerate(used)}))
    yield Plan(msgspec.structs.replace(plan.setting, users=max(used, default=0) + 1), plan.steps)


# Candidates for one step, or a run of steps


def _without(plan: Plan, start: int, end: int) -> Iterator[Plan]:
    """Leave out a run of steps: letting its time pass in the step before; a single step also with its time."""
    steps = plan.steps
    passed_s = round(sum(step.after_s for step in steps[start:end]), 6)
    if start > 0 and passed_s:
        before = msgspec.structs.replace(steps[start - 1], after_s=round(steps[start - 1].after_s + passed_s, 6))
        yield Plan(plan.setting, (*steps[: start - 1], before, *steps[end:]))
    if start == 0 or not passed_s or end - start == 1:
        yield Plan(plan.setting, steps[:start] + steps[end:])


def _calmer(plan: Plan, index: int) -> Iterator[Plan]:
    """Calm one step."""
    yield _with_step(plan, index, msgspec.structs.replace(plan.steps[index], weather=0))


def _plainer_kinds(plan: Plan, index: int) -> Iterator[Plan]:
    """Replace a fault by a better known one that strikes the same place."""
    fault = _fault_at(plan, index)
    if fault is not None:
        for kind in PLAINER_KINDS.get(fault.kind, ()):
            yield _with_fault(plan, index, msgspec.structs.replace(fault, kind=kind))


def _shorter_faults(plan: Plan, index: int) -> Iterator[Plan]:
    """Let a fault last less long."""
    fault = _fault_at(plan, index)
    if fault is not None:
        for shorter_s in _below(fault.for_s)[1:]:  # a fault that lasts no time at all is hard to believe in
            yield _with_fault(plan, index, msgspec.structs.replace(fault, for_s=shorter_s))


def _shorter_pauses(plan: Plan, index: int) -> Iterator[Plan]:
    """Let less time pass after a step."""
    for shorter_s in _below(plan.steps[index].after_s):
        yield _with_step(plan, index, msgspec.structs.replace(plan.steps[index], after_s=shorter_s))


def _below(seconds: float) -> list[float]:
    return [each for each in PAUSES_S if each < seconds]


def _fault_at(plan: Plan, index: int) -> Fault | None:
    action = plan.steps[index].action
    return action.fault if isinstance(action, Strike) else None


def _with_fault(plan: Plan, index: int, fault: Fault) -> Plan:
    return _with_step(plan, index, msgspec.structs.replace(plan.steps[index], action=Strike(fault)))


def _with_step(plan: Plan, index: int, step: Step) -> Plan:
    return Plan(plan.setting, (*plan.steps[:index], step, *plan.steps[index + 1 :]))
