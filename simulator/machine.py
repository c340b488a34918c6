"""The Hypothesis state machine that generates plans, step by step, against a simulated run."""

import functools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from simulator.fault import Fault
from simulator.frame import FAULTS, SELDOM, Frame, Possible, frames
from simulator.operation import OperationType
from simulator.plan import Action, Do, Plan, Step, Strike, Wait, as_kept
from simulator.property import Property
from simulator.run import Result
from simulator.simulated_run import SimulatedRun
from simulator.system import System
from simulator.user import User

__all__ = ["Drawing", "Machine"]

PAUSES_S = (0.0, 0.001, 0.01, 0.05, 0.2, 1.0, 3.0)
FAULT_LASTS_S = (0.05, 0.5, 2.0, 6.0, 15.0)
WEATHER_MAX = 2**32 - 1


@attrs.frozen(eq=False)
class Drawing:
    """Whose runs are drawn, what judges each, and who is handed each finished one, with its frame in words.

    Each run begins with one of `prefixes`, drawn: in its setting, with its steps as they are, which count for none of
    the run's own. None begins in a setting that is drawn, with no step. `System.check_plan` says whether a plan fits
    the system. Raising in `on_run` ends it all.
    """

    system: System
    properties: tuple[Property, ...]
    on_run: Callable[[Plan, Result, str], None]
    prefixes: Sequence[Plan | None] = (None,)
    frames: st.SearchStrategy[Frame] = attrs.field(
        init=False, default=attrs.Factory(lambda self: frames(self.system, self.prefixes), takes_self=True)
    )


class Machine(RuleBasedStateMachine):
    """Rules for any system: its operations, its faults, and the passing of time.

    One class for all, because Hypothesis never forgets one.
    """

    drawing: ClassVar[Drawing]

    def __init__(self) -> None:
        super().__init__()
        self.run: SimulatedRun | None = None
        self.frame: Frame
        self._handled_outside = sys.exc_info()[1]  # a campaign may be run from within an `except` block

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Open the world in which the steps will be taken, and take those that are given."""
        self.frame = data.draw(self.drawing.frames)
        self.run = SimulatedRun(self.drawing.system, self.frame.prefix.setting)
        for step in self.frame.prefix.steps:
            self.run.apply(step)

    # One rule, not one per operation: Hypothesis switches rules off at random per run, and what is off is drawn in the
    # frame, where it is known without which operation nobody can do anything.
    @rule(data=st.data(), after_s=st.sampled_from(PAUSES_S), weather=st.integers(0, WEATHER_MAX))
    def take(self, data: st.DataObject, after_s: float, weather: int) -> None:
        """Take one step, with what follows it: so many seconds, in a weather (0 is calm, anything else a seed)."""
        assert self.run is not None
        choices = self.choices()
        action = choices[data.draw(st.integers(0, len(choices) - 1))](data)
        self.run.apply(Step(action, after_s, weather))

    def choices(self) -> list[Callable[[st.DataObject], Action]]:
        """Return what can be done now, each as often as its weight says: sensible operations, faults, waiting."""
        assert self.run is not None
        choices: list[Callable[[st.DataObject], Action]] = []
        for name, (declared, users) in self._sensible().items():
            weight = declared.weight * (self.frame.weights.get(name) or SELDOM)
            choices += [partial(_operation, name, declared, users)] * weight
        if self.frame.faults:
            # A quarter of the steps, in a run that favours neither.
            weight = max(1, sum(each.weight for each in self.run.operations.values()) // 3)
            choices += [partial(_fault, self.frame.faults)] * (weight * self.frame.weights[FAULTS])
        return [*choices, lambda _data: Wait()]

    def _sensible(self) -> dict[str, tuple[OperationType, list[User]]]:
        """Return the operations that make sense now, and for whom. What is off does where a user can do nothing else.

        So nobody is shut out for want of the one operation with which everything begins.
        """
        assert self.run is not None
        sensible: dict[str, tuple[OperationType, list[User]]] = {}
        for user in self.run.users:
            possible = {
                name: declared
                for name, declared in self.run.operations.items()
                if declared.when is None or declared.when(user)
            }
            wanted = [name for name in possible if self.frame.weights.get(name)]
            for name in wanted or possible:
                sensible.setdefault(name, (possible[name], []))[1].append(user)
        return sensible

    def teardown(self) -> None:
        """Finish and judge the run, unless Hypothesis gave it up half-way."""
        if self.run is None:
            return
        with self.run as run:
            is_whole = sys.exc_info()[1] is self._handled_outside
            result = run.finish(self.drawing.properties) if is_whole else None
        if result is not None:
            self.drawing.on_run(Plan(run.setting, tuple(run.steps)), result, str(self.frame))


def _operation(name: str, declared: OperationType, users: list[User], data: st.DataObject) -> Action:
    user = data.draw(st.sampled_from(users))
    return Do(name, user.number, as_kept(data.draw(_arguments(declared))))


@functools.cache
def _arguments(declared: OperationType) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict(declared.arguments))


def _fault(faults: tuple[Possible, ...], data: st.DataObject) -> Action:
    kind, at = data.draw(st.sampled_from(faults))
    lasts_s = data.draw(st.sampled_from(FAULT_LASTS_S)) if kind.end is not None else 0.0
    return Strike(Fault(kind.name, at, lasts_s))
