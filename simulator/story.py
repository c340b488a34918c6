"""Tells a plan as numbered sentences, each with the simulated time at which its step begins."""

from collections.abc import Mapping

from simulator.deviation import Delay, Deviation, Hold
from simulator.operation import OperationType
from simulator.plan import Do, Plan, Step, Strike
from simulator.system import System
from simulator.user import user_name

__all__ = ["tell", "tell_deviation"]

INDENT = " " * 17


def tell(system: System, plan: Plan) -> tuple[str, ...]:
    """Return one sentence per step: the time, what is done, how long after it the next step comes, in what weather."""
    operations = system.operations()
    at_s = plan.setting.latency_s
    lines = []
    for step in plan.steps:
        lines.append(f"{at_s:8.3f} s  {_sentence(system, operations, step)}{_weather(step)}")
        at_s += step.after_s
    patience_s, healed_at = system.patience_s(), f"{at_s:8.3f} s"
    if plan.setting.left_broken:
        left = " and ".join(plan.setting.left_broken)
        lines.append(f"{healed_at}  all but {left} is healed; what does not need {left} has {patience_s:g} s to finish")
        healed_at = " " * len(healed_at)
    lines.append(f"{healed_at}  everything is healed; then the system has {patience_s:g} s to come to rest")
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
    if step.weather:
        return f", in weather {step.weather}"
    return "".join(f",\n{INDENT}provided that {tell_deviation(each)}" for each in step.deviations)


def tell_deviation(deviation: Deviation) -> str:
    """Return a deviation as the end of a sentence: what is late, or what waits for what."""
    match deviation:
        case Hold(source, destination, nth, for_s, what):
            quoted = f" ({what})" if what else ""
            return f"the {_ordinal(nth)} message from {source} to {destination}{quoted} is {for_s:.6g} s late"
        case Delay(task, nth, until, until_nth, what, until_what):
            return (
                f"task {task} ({what}) waits with its {_ordinal(nth)} turn for the {_ordinal(until_nth)} turn of "
                f"{until} ({until_what})"
            )


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
