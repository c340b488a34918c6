"""Tells a plan as numbered sentences, each with the simulated time at which its step begins."""

from collections.abc import Mapping

from simulator.plan import Do, Plan, Step, Strike
from simulator.system import OperationType, System, user_name

__all__ = ["tell"]


def tell(system: System, plan: Plan) -> tuple[str, ...]:
    """Return one sentence per step: the time, what is done, how long after it the next step comes, in what weather."""
    operations = system.operations()
    at_s = plan.setting.latency_s
    lines = []
    for step in plan.steps:
        lines.append(f"{at_s:8.3f} s  {_sentence(system, operations, step)}{_weather(step)}")
        at_s += step.after_s
    lines.append(
        f"{at_s:8.3f} s  everything is healed; then the system has {system.quiet_within_s:g} s to come to rest"
    )
    return tuple(lines)


def _sentence(system: System, operations: Mapping[str, OperationType], step: Step) -> str:
    match step.action:
        case Do(name, user, arguments):
            return operations[name].sentence.format(user=user_name(user), **arguments)
        case Strike(fault):
            return system.sentence(fault)
        case _:
            return "nothing happens for a while"


def _weather(step: Step) -> str:
    return f", in weather {step.weather}" if step.weather else ""
