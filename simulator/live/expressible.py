"""Whether a plan can be done to a target, found out before anything is touched."""

from collections.abc import Collection, Iterator

from simulator.deviation import Hold
from simulator.fault import FAULT_KINDS, Fault, kind_of
from simulator.live.deed import Deed
from simulator.live.deployment import why_not
from simulator.live.nemesis import deeds_of
from simulator.live.target import Target
from simulator.plan import Do, Plan, Strike
from simulator.story import tell_deviation

__all__ = ["hindrances", "inexpressible"]

NOT_LIVE = {"vanish": "a killed process always resets its connections"}


def inexpressible(plan: Plan, target: Target, time_scale: float = 1.0, unexpressed: Collection[str] = ()) -> list[str]:
    """Return, per step that cannot or must not be done to the target, a sentence that says which and why.

    `unexpressed` are operations for which the target's adapter has no words. Raises InputError for a fault that makes
    no sense.
    """
    problems = [
        f"it has {kind}={count}, and how many the target has cannot be changed"
        for kind, count in plan.setting.replicas.items()
    ]
    limits = target.limits
    if limits is not None and limits.observe_only:
        problems.append("the target may only be observed (observe_only in [limits])")
    if limits is not None and limits.users is not None and plan.setting.users > limits.users:
        problems.append(f"it has {plan.setting.users} users, and [limits] allows users={limits.users}")
    if plan.setting.left_broken and limits is not None and limits.fault_s is not None:
        left = " and ".join(plan.setting.left_broken)
        problems.append(
            f"it leaves {left} broken until all else has come to rest, and [limits] allows fault_s={limits.fault_s:g}"
        )
    for number, step in enumerate(plan.steps, 1):
        for deviation in step.deviations:
            if isinstance(deviation, Hold):
                link = deviation.source, deviation.destination
                if not any(place.startswith("user:") for place in link):
                    why = why_not(target, Deed("hold-message", link, nth=deviation.nth))
                    problems += [f"step {number} ({tell_deviation(deviation)}): {why}"] if why else []
        if isinstance(step.action, Strike):
            why = "; ".join(hindrances(step.action.fault, target, time_scale))
            if why:
                problems.append(f"step {number} ({step.action.fault}): {why}")
        elif isinstance(step.action, Do) and step.action.operation in unexpressed:
            problems.append(f"step {number} ({step.action.operation}): the target's adapter does not express that")
    return problems


def hindrances(fault: Fault, target: Target, time_scale: float) -> Iterator[str]:
    """Yield why a fault cannot, or must not, be done to the target. Raises InputError for one that makes no sense."""
    limits, lasts_s = target.limits, fault.for_s * time_scale
    if limits is not None and limits.fault_s is not None and lasts_s > limits.fault_s:
        yield f"it takes {lasts_s:g} s, and [limits] allows fault_s={limits.fault_s:g}"
    if fault.kind in NOT_LIVE:
        yield NOT_LIVE[fault.kind]
        return
    if fault.kind in FAULT_KINDS:
        deeds = deeds_of(kind_of(fault, {}), fault)
    else:
        deeds = [Deed("begin", fault.at[:1], name=fault.kind)]
    users = [place for place in fault.at if place.startswith("user:")]
    if users:
        yield from (
            f"the target has no address of host {place}"
            for place in fault.at
            if place not in users and not target.reaches(place)
        )
    else:
        yield from dict.fromkeys(why for why in (why_not(target, deed) for deed in deeds) if why)
