"""The Hypothesis state machine that generates plans, step by step, against a simulated run."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

import attrs
import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from simulator.fault import Fault, FaultKind, kind_of
from simulator.plan import Action, Do, Plan, Setting, Step, Strike, Wait, as_kept
from simulator.property import Property
from simulator.run import Result
from simulator.simulated_run import SimulatedRun
from simulator.system import USER, OperationType, System, User, user_name

__all__ = ["Machine", "machine_class"]

PAUSES_S = (0.0, 0.001, 0.01, 0.05, 0.2, 1.0, 3.0)
FAULT_LASTS_S = (0.05, 0.5, 2.0, 6.0, 15.0)
FAULTS_PER_RUN_MAX = 5
TERMINATIONS = 4
WEIGHTS = (2, 1, 4)
FAULTS = "a fault"  # no operation's name: that is an identifier
WEATHER_MAX = 2**32 - 1
SEED_MAX = 2**16 - 1


_Possible: TypeAlias = tuple[FaultKind, tuple[str, ...]]
"""A kind of fault, and where it can strike."""


@attrs.frozen
class _Frame:
    """What is drawn once per run: how it begins, and which faults exist in it."""

    prefix: Plan
    faults: tuple[_Possible, ...]
    weights: Mapping[str, int]


class Machine(RuleBasedStateMachine):
    """Rules for one system: its operations, its faults, and the passing of time.

    A finished run is handed to `on_run`. Raising there ends the search.
    """

    system: ClassVar[System]
    properties: ClassVar[tuple[Property, ...]]
    on_run: Callable[[Plan, Result], None]

    def __init__(self) -> None:
        super().__init__()
        self.run: SimulatedRun | None = None
        self.frame: _Frame
        self._handled_outside = sys.exc_info()[1]  # a campaign may be run from within an `except` block

    def begin(self, frame: _Frame) -> None:
        """Open the world in which the steps will be taken, and take those that are given."""
        self.frame = frame
        self.run = SimulatedRun(self.system, frame.prefix.setting)
        for step in frame.prefix.steps:
            self.run.apply(step)

    def choices(self) -> list[Callable[[st.DataObject], Action]]:
        """Return what can be done now, each as often as its weight says: sensible operations, faults, waiting."""
        assert self.run is not None
        choices: list[Callable[[st.DataObject], Action]] = []
        for name, declared in self.run.operations.items():
            users = [user for user in self.run.users if declared.when is None or declared.when(user)]
            if users:
                choices += [partial(_operation, name, declared, users)] * (declared.weight * self.frame.weights[name])
        if self.frame.faults:
            # A quarter of the steps, in a run that favours neither.
            weight = max(1, sum(each.weight for each in self.run.operations.values()) // 3)
            choices += [partial(_fault, self.frame.faults)] * (weight * self.frame.weights[FAULTS])
        return [*choices, lambda _data: Wait()]

    def take(self, action: Action, after_s: float, weather: int) -> None:
        """Take one step."""
        assert self.run is not None
        self.run.apply(Step(action, after_s, weather))

    def teardown(self) -> None:
        """Finish and judge the run, unless Hypothesis gave it up half-way."""
        if self.run is None:
            return
        with self.run as run:
            is_whole = sys.exc_info()[1] is self._handled_outside
            result = run.finish(self.properties) if is_whole else None
        if result is not None:
            type(self).on_run(Plan(run.setting, tuple(run.steps)), result)


def machine_class(
    system: System,
    properties: tuple[Property, ...],
    on_run: Callable[[Plan, Result], None],
    *,
    prefixes: Sequence[Plan | None] = (None,),
) -> type[Machine]:
    """Return the state machine of a system: each finished run is judged by `properties` and handed to `on_run`.

    Each run begins with one of `prefixes`, drawn: in its setting, with its steps as they are, which count for none of
    the run's own. None begins in a setting that is drawn, with no step. They are looked at again for every run, so a
    list may grow meanwhile. `System.check_plan` says whether a plan fits the system.
    """
    namespace: dict[str, Any] = {
        "__doc__": f"Generated rules for {type(system).__name__}.",
        "system": system,
        "properties": properties,
        "on_run": staticmethod(on_run),
        "begin_run": initialize(frame=frames(system, possible_at_places(system), dispensable_hosts(system), prefixes))(
            _begin_run
        ),
        # One rule, not one per operation: Hypothesis switches rules off at random per run, and a run without
        # the operation on which all others depend examines nothing. What a run favours is drawn in its frame.
        "step": rule(data=st.data(), after_s=pauses(), weather=weathers())(_step),
    }
    return type(f"{type(system).__name__}Machine", (Machine,), namespace)


def pauses() -> st.SearchStrategy[float]:
    """How much time passes after a step, in seconds."""
    return st.sampled_from(PAUSES_S)


def weathers() -> st.SearchStrategy[int]:
    """The weather of a step: 0 is calm, anything else a seed."""
    return st.integers(0, WEATHER_MAX)


def possible_at_places(system: System) -> list[list[_Possible]]:
    """Return what can strike each place of a system, hosts first: both directions of a link are one place."""
    troubles = system.declared_troubles()
    places: dict[tuple[str, ...], list[_Possible]] = {}
    for name, strikes in system.possible_faults().items():
        for at in strikes:
            kind = kind_of(Fault(name, at), troubles)
            # What every deployment does is drawn as often as several kinds of accident.
            places.setdefault(at, []).extend([(kind, at)] * (TERMINATIONS if name == "terminate" else 1))
            if kind.one_way:
                places[at].append((kind, at[::-1]))
    return list(places.values())


def dispensable_hosts(system: System) -> list[str]:
    """Return the hosts that others might do without: of a system of one host, none."""
    names = [host.name for host in system.for_run().hosts()]
    return names if len(names) > 1 else []


@st.composite
def frames(
    draw: st.DrawFn,
    system: System,
    possible: list[list[_Possible]],
    dispensable: list[str],
    prefixes: Sequence[Plan | None],
) -> _Frame:
    """Draw what a run is like: its beginning, its faults (swarm testing, Groce et al., ISSTA 2012)."""
    # Of one there is nothing to draw; Hypothesis would all the same, and every seed would mean other runs.
    prefix = draw(st.sampled_from(prefixes)) if len(prefixes) > 1 else prefixes[0]
    is_fresh = prefix is None
    if prefix is None:
        setting = Setting(
            users=draw(st.integers(*system.users)),
            latency_s=draw(st.sampled_from(system.latencies_s)),
            seed=draw(st.integers(0, SEED_MAX)),
        )
        prefix = Plan(setting, ())
    users = [f"user:{user_name(number)}" for number in range(prefix.setting.users)]
    # Few faults that strike the same places again and again reach deeper states than many that strike once. First is
    # drawn what suffers, then whether it is struck itself or a link to it, then the place, then the kind: a service
    # with many troubles or many clients would else keep the faults from all others.
    count = draw(st.integers(0, FAULTS_PER_RUN_MAX)) if possible else 0
    suffering = _by_sufferer([named for place in possible for named in _with_users(place, users)])
    drawn = st.sampled_from(suffering).flatmap(st.sampled_from).flatmap(st.sampled_from).flatmap(st.sampled_from)
    faults = dict.fromkeys(draw(drawn) for _ in range(count))
    weights = {name: draw(st.sampled_from(WEIGHTS)) for name in (*system.operations(), FAULTS)}
    # Mostly everything is healed at once; never are several hosts left broken, as little can be done without them.
    struck = [host for host in dispensable if any(at[-1] == host for _kind, at in faults)]
    if is_fresh and struck:
        left_broken = draw(st.sampled_from([(), ()] * len(struck) + [(host,) for host in struck]))
        prefix = Plan(msgspec.structs.replace(prefix.setting, left_broken=left_broken), ())
    return _Frame(prefix, tuple(faults), weights)


def _by_sufferer(places: list[list[_Possible]]) -> list[list[list[list[_Possible]]]]:
    """Return, per host that can suffer, the places at itself and those at the links to it, as far as there are any."""
    near: dict[str, tuple[list[list[_Possible]], list[list[_Possible]]]] = {}
    for place in places:
        at = place[0][1]
        near.setdefault(at[-1], ([], []))[len(at) - 1].append(place)
    return [[kind for kind in both if kind] for both in near.values()]


def _with_users(place: list[_Possible], users: list[str]) -> list[list[_Possible]]:
    """Replace the link of all users by one for each."""
    if USER not in place[0][1]:
        return [place]
    return [[(kind, tuple(user if end == USER else end for end in at)) for kind, at in place] for user in users]


def _operation(name: str, declared: OperationType, users: list[User], data: st.DataObject) -> Action:
    user = data.draw(st.sampled_from(users))
    return Do(name, user.number, as_kept(data.draw(st.fixed_dictionaries(dict(declared.arguments)))))


def _fault(faults: tuple[_Possible, ...], data: st.DataObject) -> Action:
    kind, at = data.draw(st.sampled_from(faults))
    lasts_s = data.draw(st.sampled_from(FAULT_LASTS_S)) if kind.end is not None else 0.0
    return Strike(Fault(kind.name, at, lasts_s))


def _begin_run(self: Machine, frame: _Frame) -> None:
    self.begin(frame)


def _step(self: Machine, data: st.DataObject, after_s: float, weather: int) -> None:
    choices = self.choices()
    action = choices[data.draw(st.integers(0, len(choices) - 1))](data)
    self.take(action, after_s, weather)
