"""Candidates: what a failing plan may be replaced by, each a little simpler, in the order in which to try them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations
from typing import Any, TypeVar

import msgspec

from simulator.deviation import LATE_MAX_S, Delay, Deviation, Hold
from simulator.fault import Fault
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.user import user_host

__all__ = [
    "calm",
    "calmer",
    "count_deviations",
    "far_instead",
    "fewer_holds",
    "fewer_users",
    "joined_delays",
    "kinds_of_steps",
    "merged_users",
    "nearer",
    "plainer_kinds",
    "plainer_settings",
    "rounder_holds",
    "shorter_faults",
    "shorter_pauses",
    "slower",
    "waits_instead",
    "with_step",
    "without_deviations",
    "without_kind",
    "without_steps",
]

T = TypeVar("T")

MARGIN = 5.0
"""How many times slower a network a shorter pause must bear, if the longer one did."""

PAUSES_S = (0.0, 0.01, 0.05, 0.2, 1.0, 3.0)
PLAINER_KINDS = {
    "crash": (),
    "freeze": ("crash",),
    "silence": ("partition",),
    "hold": ("partition",),
    "slow": ("partition",),
}
"""What a fault is first replaced by: kinds that a reader meets more often, and that can be done to real services."""
PLAINER_ANYWHERE = ("crash", "freeze")
"""The same for every other kind that strikes one host, a trouble of its service for one."""
FAR_S = LATE_MAX_S / 2
"""How late a host that is far away makes all its messages, if that is what a storm's late messages come to."""
HOLDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, LATE_MAX_S)

# Candidates for the plan as a whole


def calm(plan: Plan) -> Iterator[Plan]:
    """Calm every step at once: what fails in calm weather fails for a reason that survives other deletions."""
    steps = (msgspec.structs.replace(step, weather=0, deviations=()) for step in plan.steps)
    yield Plan(plan.setting, tuple(steps))


def far_instead(plan: Plan, hosts: Iterable[str]) -> Iterator[Plan]:
    """Calm every step, and let one host be farther away: a reader knows what that is, and a real host can be so."""
    if any(step.weather for step in plan.steps):
        (quiet,) = calm(plan)
        for host in hosts:
            latencies = {**plan.setting.latencies, host: FAR_S}
            yield Plan(msgspec.structs.replace(plan.setting, latencies=latencies), quiet.steps)


def plainer_settings(plan: Plan) -> Iterator[Plan]:
    """Heal everything at once; use the default latencies, seed and replicas."""
    setting = plan.setting
    plain = Setting(users=setting.users)
    left = setting.left_broken
    plainer: Iterable[dict[str, Any]] = (
        {name: getattr(plain, name) for name in ("left_broken", "latency_s", "seed", "latencies", "replicas")},
        {"left_broken": ()},
        *({"left_broken": left[:place] + left[place + 1 :]} for place in range(len(left))),
        {"seed": plain.seed},
        {"replicas": {}},
        *({"replicas": _without(setting.replicas, kind)} for kind in setting.replicas),
        {"latencies": {}},
        *({"latencies": _without(setting.latencies, host)} for host in setting.latencies),
        {"latency_s": plain.latency_s},
    )
    for changes in plainer:
        yield Plan(msgspec.structs.replace(setting, **changes), plan.steps)


def nearer(plan: Plan, host: str) -> Plan:
    """Return the plan with a host that was far away as near as the others."""
    latencies = _without(plan.setting.latencies, host)
    return Plan(msgspec.structs.replace(plan.setting, latencies=latencies), plan.steps)


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {each: value for each, value in mapping.items() if each != name}


def merged_users(plan: Plan) -> Iterator[Plan]:
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


def _at_hosts(step: Step, names: Mapping[str, str]) -> Step:
    if not isinstance(step.action, Strike):
        return step
    fault = step.action.fault
    at = tuple(names.get(host, host) for host in fault.at)
    return msgspec.structs.replace(step, action=Strike(msgspec.structs.replace(fault, at=at)))


def slower(plan: Plan) -> Plan:
    """Return the plan on a slower network."""
    latencies = {host: MARGIN * seconds for host, seconds in plan.setting.latencies.items()}
    setting = msgspec.structs.replace(plan.setting, latency_s=MARGIN * plan.setting.latency_s, latencies=latencies)
    return Plan(setting, plan.steps)


def fewer_users(plan: Plan) -> Iterator[Plan]:
    """Leave out users who do nothing, renaming the others so that the first ones are used; or only the last ones."""
    used = _acting_users(plan)
    number = {user: index for index, user in enumerate(used)}
    names = {user_host(user): user_host(index) for user, index in number.items()}
    gone = {user_host(user) for user in range(plan.setting.users) if user not in number}
    latencies = {names.get(host, host): each for host, each in plan.setting.latencies.items() if host not in gone}
    fewest = msgspec.structs.replace(plan.setting, users=max(1, len(used)), latencies=latencies)
    steps = (_at_hosts(step, names) for step in _renamed(plan, number))
    yield Plan(fewest, tuple(steps))
    yield Plan(msgspec.structs.replace(plan.setting, users=max(used, default=0) + 1), plan.steps)


# Candidates for one step, or a run of steps


def kinds_of_steps(plan: Plan) -> list[str | int]:
    """Return what there is of steps: those that are no operation (""), each user's, and those of each operation."""
    done = [step.action for step in plan.steps if isinstance(step.action, Do)]
    return list(dict.fromkeys(["", *sorted({each.user for each in done}), *(each.operation for each in done)]))


def without_kind(plan: Plan, kind: str | int) -> Iterator[Plan]:
    """Leave out all steps of one kind, letting their time pass in the steps before."""
    kept: list[Step] = []
    for step in plan.steps:
        action = step.action
        if kind not in ((action.user, action.operation) if isinstance(action, Do) else ("",)):
            kept.append(step)
        elif kept and step.after_s:
            after_s = round(kept[-1].after_s + step.after_s, 6)
            kept[-1] = msgspec.structs.replace(kept[-1], after_s=after_s)
    yield Plan(plan.setting, tuple(kept))


def without_steps(plan: Plan, start: int, end: int) -> Iterator[Plan]:
    """Leave out a run of steps: letting its time pass in the step before; a single step also with its time."""
    steps = plan.steps
    passed_s = round(sum(step.after_s for step in steps[start:end]), 6)
    if start > 0 and passed_s:
        before = msgspec.structs.replace(steps[start - 1], after_s=round(steps[start - 1].after_s + passed_s, 6))
        yield Plan(plan.setting, (*steps[: start - 1], before, *steps[end:]))
    if start == 0 or not passed_s or end - start == 1:
        yield Plan(plan.setting, steps[:start] + steps[end:])


def calmer(plan: Plan, index: int) -> Iterator[Plan]:
    """Calm one step."""
    yield with_step(plan, index, msgspec.structs.replace(plan.steps[index], weather=0, deviations=()))


def plainer_kinds(plan: Plan, index: int) -> Iterator[Plan]:
    """Replace a fault by a better known one that strikes the same place."""
    fault = _fault_at(plan, index)
    if fault is not None:
        for kind in PLAINER_KINDS.get(fault.kind, PLAINER_ANYWHERE if len(fault.at) == 1 else ()):
            yield _with_fault(plan, index, msgspec.structs.replace(fault, kind=kind))


def shorter_faults(plan: Plan, index: int) -> Iterator[Plan]:
    """Let a fault last less long."""
    fault = _fault_at(plan, index)
    if fault is not None:
        for shorter_s in _below(fault.for_s)[1:]:  # a fault that lasts no time at all is hard to believe in
            yield _with_fault(plan, index, msgspec.structs.replace(fault, for_s=shorter_s))


def shorter_pauses(plan: Plan, index: int) -> Iterator[Plan]:
    """Let less time pass after a step."""
    for shorter_s in _below(plan.steps[index].after_s):
        yield with_step(plan, index, msgspec.structs.replace(plan.steps[index], after_s=shorter_s))


def _below(seconds: float) -> list[float]:
    return [each for each in PAUSES_S if each < seconds]


def _fault_at(plan: Plan, index: int) -> Fault | None:
    action = plan.steps[index].action
    return action.fault if isinstance(action, Strike) else None


def _with_fault(plan: Plan, index: int, fault: Fault) -> Plan:
    return with_step(plan, index, msgspec.structs.replace(plan.steps[index], action=Strike(fault)))


def with_step(plan: Plan, index: int, step: Step) -> Plan:
    """Return the plan with another step in one place."""
    return Plan(plan.setting, (*plan.steps[:index], step, *plan.steps[index + 1 :]))


# Deviations


def count_deviations(plan: Plan, *kinds: type[Hold] | type[Delay]) -> int:
    """How many deviations of these kinds the whole plan has."""
    return sum(isinstance(each, kinds) for step in plan.steps for each in step.deviations)


def without_deviations(plan: Plan, kind: type[Hold] | type[Delay], start: int, end: int) -> Iterator[Plan]:
    """Leave out a run of the deviations of one kind, counted over all steps."""
    yield _with_deviations(plan, kind, dict.fromkeys(range(start, end)))


def fewer_holds(plan: Plan, start: int, end: int) -> Iterator[Plan]:
    """Leave out a run of late messages; or let one of them, the last or the first, be late by what all of them were.

    A chain of messages, each a little late, is late as a whole; but no message is later than a storm makes it.
    """
    yield from without_deviations(plan, Hold, start, end)
    if end - start > 1:
        holds = [each for step in plan.steps for each in step.deviations if isinstance(each, Hold)]
        late_s = min(LATE_MAX_S, sum(each.for_s for each in holds[start:end]))
        for kept in (end - 1, start):
            merged = {kept: msgspec.structs.replace(holds[kept], for_s=late_s)}
            yield _with_deviations(plan, Hold, dict.fromkeys(range(start, end)) | merged)


def _with_deviations(plan: Plan, kind: type[Hold] | type[Delay], changed: Mapping[int, Hold | Delay | None]) -> Plan:
    """Replace some of the deviations of one kind, by their number among all of the plan; None leaves one out."""
    number = 0
    steps = []
    for step in plan.steps:
        kept = []
        for each in step.deviations:
            now: Deviation | None = each
            if isinstance(each, kind):
                now = changed.get(number, each)
                number += 1
            if now is not None:
                kept.append(now)
        steps.append(msgspec.structs.replace(step, deviations=tuple(kept)) if step.deviations else step)
    return Plan(plan.setting, tuple(steps))


def rounder_holds(plan: Plan, index: int) -> Iterator[Plan]:
    """Hold a message for a time that is short and easy to say; one at a time."""
    step = plan.steps[index]
    for place, each in enumerate(step.deviations):
        if isinstance(each, Hold):
            longer = [seconds for seconds in HOLDS_S if seconds > each.for_s and each.for_s not in HOLDS_S]
            for seconds in [*(seconds for seconds in HOLDS_S if seconds < each.for_s), *longer[:1]]:
                rounder = msgspec.structs.replace(each, for_s=seconds)
                deviations = (*step.deviations[:place], rounder, *step.deviations[place + 1 :])
                yield with_step(plan, index, msgspec.structs.replace(step, deviations=deviations))


def waits_instead(plan: Plan, index: int) -> Iterator[Plan]:
    """Let time pass for what a message is late by: after its own step, or after the one before."""
    step = plan.steps[index]
    for place, each in enumerate(step.deviations):
        if isinstance(each, Hold):
            rest = (*step.deviations[:place], *step.deviations[place + 1 :])
            without = with_step(plan, index, msgspec.structs.replace(step, deviations=rest))
            for where, by_s in ((index, each.for_s), (index - 1, each.for_s), (index - 1, -each.for_s)):
                after_s = round(plan.steps[where].after_s + by_s, 3)
                if where >= 0 and after_s >= 0:
                    yield with_step(without, where, msgspec.structs.replace(without.steps[where], after_s=after_s))


def joined_delays(plan: Plan, index: int) -> Iterator[Plan]:
    """Make one of two deviations: a task waits at once for what the other waits for, or a little more or less long."""
    step = plan.steps[index]
    delays = [each for each in step.deviations if isinstance(each, Delay)]
    for late, gone in permutations(delays, 2):
        others = [each for each in step.deviations if each not in (late, gone)]
        for joined in _joined(late, gone):
            yield with_step(plan, index, msgspec.structs.replace(step, deviations=(*others, joined)))


def _joined(late: Delay, gone: Delay) -> Iterator[Delay]:
    if gone.task == late.until and gone.until != late.task:
        for nth in dict.fromkeys((gone.until_nth, gone.until_nth + late.until_nth - gone.nth)):
            yield msgspec.structs.replace(late, until=gone.until, until_nth=nth, until_what=gone.until_what)
    for by in (1, -1, 2, -2):
        if late.until_nth + by > 0:
            yield msgspec.structs.replace(late, until_nth=late.until_nth + by)
        if late.nth + by > 0:
            yield msgspec.structs.replace(late, nth=late.nth + by)
