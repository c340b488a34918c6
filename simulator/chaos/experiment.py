"""Experiments: faults while users use a system, and what must hold before, during and after.

The words are the Chaos Toolkit's: steady state, method, rollbacks (chaostoolkit.org/reference/api/experiment).
"""

from collections.abc import Iterator

import attrs
import msgspec

from simulator.errors import InputError, known_names
from simulator.fault import Fault, kind_of
from simulator.load.objective import Objective, parse_objective
from simulator.load.profile import Load, Mixed
from simulator.load.quantity import seconds_of
from simulator.system import System

__all__ = [
    "ANY",
    "KINDS",
    "Action",
    "Experiment",
    "Probe",
    "Rollback",
    "SteadyState",
    "Struck",
    "Traffic",
    "parse_recovery_time",
    "tell_method",
]

KINDS = ("network", "service", "state")
"""The tags by which experiments are chosen."""
ANY = "any"
"""What must hold of a measure during a method if nothing needs to."""

Time = str | float


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who uses the system meanwhile: an open model, as a load profile has it.

    `before` is how long until the method begins, `after` how long they go on when it is over.
    """

    users: int = 10
    per_minute: float = 12
    before: Time = 15.0
    after: Time = 30.0
    mix: tuple[Mixed, ...] = ()


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold of a measure: `tolerance` as a load profile has its objectives.

    `during` is what must hold while the method is under way, where that is another, or "any".
    """

    measure: str
    tolerance: str
    name: str = ""
    during: str = ""


class SteadyState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a system in order looks like."""

    probes: tuple[Probe, ...]
    title: str = ""


class Pauses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long nothing more is done before and after an activity."""

    before: Time = 0.0
    after: Time = 0.0


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """A fault at a host, or at a link as [source, destination]. Without `for` it lasts until it is rolled back."""

    name: str
    fault: str
    at: str | tuple[str, ...]
    for_: Time | None = None
    pauses: Pauses = Pauses()

    @property
    def places(self) -> tuple[str, ...]:
        """What it strikes."""
        return (self.at,) if isinstance(self.at, str) else self.at


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The end of an action, by its name. Those without one end when the method is over."""

    ends: str
    pauses: Pauses = Pauses()


@attrs.frozen
class Struck:
    """An action when it is done, in seconds since the beginning."""

    action: Action
    at_s: float
    fault: Fault

    @property
    def ends_s(self) -> float:
        """When what it did is undone, or over."""
        return self.at_s + self.fault.for_s


class Experiment(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"steady_state": "steady-state-hypothesis"},
):
    """A steady state, the method that shall not disturb it for longer than `recovery_time`, and rollbacks."""

    title: str
    steady_state: SteadyState
    method: tuple[Action, ...]
    rollbacks: tuple[Rollback, ...] = ()
    description: str = ""
    tags: tuple[str, ...] = ()
    traffic: Traffic = Traffic()
    recovery_time: str = "< 5m"

    @property
    def kind(self) -> str:
        """Its kind: the first of its tags that is one, or nothing."""
        return next((tag for tag in self.tags if tag in KINDS), "")

    @property
    def begins_s(self) -> float:
        """When something is done for the first time, in seconds since users began to come."""
        return self.struck()[0].at_s

    @property
    def over_s(self) -> float:
        """When all that the method does is undone."""
        return max(each.ends_s for each in self.struck())

    @property
    def lasts_s(self) -> float:
        """How long users use the system, in seconds."""
        return self.over_s + seconds_of(self.traffic.after)

    def struck(self) -> list[Struck]:
        """Return what is done, in order, with its times."""
        begun: list[tuple[Action, float]] = []
        now_s = seconds_of(self.traffic.before)
        for action in self.method:
            now_s += _pause_s(action.pauses.before)
            begun.append((action, now_s))
            now_s += _pause_s(action.pauses.after)
        ended_s = {}
        is_over_s = max([now_s, *(at_s + _pause_s(action.for_ or 0.0) for action, at_s in begun)])
        rolled_s = is_over_s
        for rollback in self.rollbacks:
            rolled_s += _pause_s(rollback.pauses.before)
            ended_s[rollback.ends] = rolled_s
            rolled_s += _pause_s(rollback.pauses.after)
        return [
            Struck(
                action,
                at_s,
                Fault(
                    action.fault,
                    action.places,
                    ended_s.get(action.name, is_over_s) - at_s if action.for_ is None else seconds_of(action.for_),
                ),
            )
            for action, at_s in begun
        ]

    def load(self) -> Load:
        """Return the load that users put on the system."""
        traffic = self.traffic
        return Load(users=traffic.users, per_minute=traffic.per_minute, duration=self.lasts_s, mix=traffic.mix)

    def tolerances(self) -> tuple[Objective, ...]:
        """Return what must hold before and after the method."""
        return tuple(parse_objective(each.measure, each.tolerance) for each in self.steady_state.probes)

    def tolerances_during(self) -> tuple[Objective, ...]:
        """Return what must hold while it is under way."""
        return tuple(
            parse_objective(each.measure, each.during or each.tolerance)
            for each in self.steady_state.probes
            if each.during != ANY
        )

    def recovers_within(self) -> Objective:
        """Return what the time must keep to that the system takes until its steady state is back."""
        return parse_recovery_time(self.recovery_time)

    def check(self, where: str, system: System) -> None:
        """Raise InputError for what could not be done to the system."""
        if not self.method:
            raise InputError(f"{where}: the method is empty. Add a [[method]] with name, fault and at.")
        if not self.steady_state.probes:
            raise InputError(f"{where}: the steady state has no probes, so nothing could be said of it. Add one.")
        names = [action.name for action in self.method]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{where}: two actions are named {name!r}. Rename one.")
        for rollback in self.rollbacks:
            lasting = [action.name for action in self.method if action.for_ is None]
            if rollback.ends not in lasting:
                known = f"Those without `for`: {', '.join(lasting) or 'none'}."
                raise InputError(f"{where}: a rollback ends {rollback.ends!r}. {known}")
        hosts, troubles = system.host_names(), system.declared_troubles()
        for each in self.struck():
            kind = kind_of(each.fault, troubles)
            for place in each.fault.at:
                if place not in hosts and not place.startswith("user:"):
                    raise InputError(f"{where}: {each.action.name!r} is at host={place!r}. {known_names(hosts)}")
            if kind.end is not None and not each.fault.for_s:
                raise InputError(
                    f"{where}: {each.action.name!r} would be over at once. Say `for`, or pause after it in the method."
                )
        if self.begins_s == self.over_s and self.tolerances_during():
            told = "nothing can be measured during a method that takes no time"
            raise InputError(f'{where}: {told}. Say during = "any", or pause after it.')
        self.load().check(f"{where}: traffic")
        _ = self.tolerances(), self.tolerances_during(), self.recovers_within()


def parse_recovery_time(text: str) -> Objective:
    """Read what a recovery may take: `< 5m`. Raises InputError."""
    try:
        objective = parse_objective("recovery_time", text)
    except InputError:
        objective = None
    if objective is None or objective.bound.dimension not in ("s", "") or not objective.is_upper:
        raise InputError(f"{text!r} is nothing that a recovery time could keep to. Write < and a time: < 5m.")
    return objective


def _pause_s(time: Time) -> float:
    return seconds_of(time) if time else 0.0


def tell_method(experiment: Experiment, system: System) -> Iterator[str]:
    """Yield what is done when, a line each."""
    for each in experiment.struck():
        yield f"{each.at_s:8.1f} s  {system.sentence(each.fault)}"
