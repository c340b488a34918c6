"""The data inside the steps that are left."""

import functools

import msgspec
import pytest

from simulator.arguments import simplify_arguments
from simulator.fault import Fault
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait
from simulator.reducer import Reducer, one_by_one
from tests.simulator.small import counting

PLAN = Plan(
    Setting(),
    (
        Step(Do("act", 0, {"number": 9, "word": "xyz"}), 0.5),
        Step(Strike(Fault("crash", ("server",), 1.0))),
        Step(Do("act", 0, {"number": 7, "word": "q"})),
        Step(Wait()),
    ),
)


def numbers(plan: Plan) -> list[object]:
    return [step.action.arguments["number"] for step in plan.steps if isinstance(step.action, Do)]


def test_arguments_become_the_simplest_that_still_fail() -> None:
    """As their strategies order them; nothing else of the plan changes."""

    def fails(plan: Plan) -> bool:
        return all(isinstance(number, int) and number >= 5 for number in numbers(plan))

    simple = simplify_arguments(counting, PLAN, fails)
    assert numbers(simple) == [5, 5]
    assert [step.action.arguments["word"] for step in simple.steps if isinstance(step.action, Do)] == ["", ""]
    assert [(type(step.action), step.after_s) for step in simple.steps] == [
        (type(step.action), step.after_s) for step in PLAN.steps
    ]
    assert fails(simple)


def test_arguments_that_nothing_simpler_replaces_stay() -> None:
    """A failing plan is never exchanged for one that does not fail."""
    assert simplify_arguments(counting, PLAN, lambda plan: plan == PLAN) == PLAN


def test_a_plan_without_arguments_is_not_replayed() -> None:
    """There is nothing to draw."""
    plan = msgspec.structs.replace(PLAN, steps=(PLAN.steps[1], Step(Do("act", 0))))

    def fails(_plan: Plan) -> bool:
        raise AssertionError("replayed")

    assert simplify_arguments(counting, plan, fails) is plan


@pytest.mark.parametrize("replays", range(12))
def test_the_budget_may_end_within_it(replays: int) -> None:
    """Out of time is the reducer's own signal; Hypothesis must not take it for a failing example."""
    asked = 0

    def fails(plan: Plan) -> bool:
        nonlocal asked
        asked += 1
        if asked > replays:
            reducer._deadline_s = 0.0
        return len(numbers(plan)) == 2 and "word" in str(plan) and numbers(plan)[0] != 0

    reducer = Reducer(one_by_one(fails), budget_s=60.0, simplify=functools.partial(simplify_arguments, counting))
    reduction = reducer.reduce(PLAN)
    assert len(numbers(reduction.plan)) == 2
    assert not reduction.complete
