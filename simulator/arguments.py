"""Makes the data inside the few steps that are left simpler, with Hypothesis on a structure that is fixed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import msgspec
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from simulator.history import Value
from simulator.operation import OperationType
from simulator.plan import Do, Plan, Step, as_kept
from simulator.system import System

__all__ = ["simplest_arguments", "simplify_arguments"]

EXAMPLES_MAX = 40

_SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES_MAX,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(hypothesis.HealthCheck),
)


def simplest_arguments(system: System, plan: Plan) -> Plan:
    """Return the plan with the simplest arguments that there are: whether it still fails is for others to try."""
    declared = system.operations()

    def simplest(step: Step) -> Step:
        if not isinstance(step.action, Do):
            return step
        arguments = _simplest(declared[step.action.operation])
        return msgspec.structs.replace(step, action=msgspec.structs.replace(step.action, arguments=arguments))

    return msgspec.structs.replace(plan, steps=tuple(simplest(step) for step in plan.steps))


@functools.cache
def _simplest(declared: OperationType) -> dict[str, Value]:
    strategy = st.fixed_dictionaries(dict(declared.arguments))
    return as_kept(hypothesis.find(strategy, lambda _arguments: True, settings=_SETTINGS))


def simplify_arguments(system: System, plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Return the plan with the simplest arguments, as their strategies order them, with which it still fails."""
    declared = system.operations()
    places = [index for index, step in enumerate(plan.steps) if isinstance(step.action, Do) and step.action.arguments]
    if not places:
        return plan

    def filled(arguments: Sequence[dict[str, Any]]) -> Plan:
        steps = list(plan.steps)
        for index, chosen in zip(places, arguments, strict=True):
            action = msgspec.structs.replace(steps[index].action, arguments=as_kept(chosen))
            steps[index] = msgspec.structs.replace(steps[index], action=action)
        return msgspec.structs.replace(plan, steps=tuple(steps))

    structure = st.tuples(
        *(
            st.fixed_dictionaries(dict(declared[action.operation].arguments))
            for action in (plan.steps[index].action for index in places)
            if isinstance(action, Do)
        )
    )
    try:
        return filled(hypothesis.find(structure, lambda arguments: fails(filled(arguments)), settings=_SETTINGS))
    except NoSuchExample:
        return plan
