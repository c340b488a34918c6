"""The system under test, as its owner writes it: its hosts, its operations and its promises."""

import copy
import importlib
import inspect
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import networkx as nx

from simulator.component import Component
from simulator.conformity import Conformity
from simulator.errors import InputError, WavetankError, known_names
from simulator.fault import FAULT_KINDS, Fault, Trouble, kind_of
from simulator.history import Event, History
from simulator.host import Host, check_hosts, handed_on, topology_of
from simulator.journeys.journey import Journey, journeys_in
from simulator.load.profile import Mixed
from simulator.load.sample import Sample, samples_of
from simulator.load.service_request import ServiceRequest
from simulator.operation import Invocation, OperationType, operations_of
from simulator.pending import Pending
from simulator.plan import Do, Plan
from simulator.property import Expectation, Property, Unknown, Violation, from_method
from simulator.services.capacity import Capacity, ServiceModel
from simulator.user import Observer, User, user_host

__all__ = ["System", "load_named", "load_system"]


class System:
    """A system under test: subclass it, override `hosts`, add operations and properties.

    Every run works on a copy of the object, so what `hosts` and operations store on `self` belongs to that run.
    """

    users: ClassVar[tuple[int, int]] = (1, 3)
    """The fewest and the most users that a run may have."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = None
    """Which kinds of faults the search may use, declared troubles included. None: all of them."""

    latencies_s: ClassVar[tuple[float, ...]] = (0.001, 0.0002, 0.02)
    """Nominal one-way latencies, one of which is drawn per run; the first is the simplest."""

    replicas: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """How many hosts of a kind a run may have, for `hosts` to ask as `self.count_of("gateways")`; the first is the
    usual number, and the simplest."""

    quiet_within_s: ClassVar[float] = 60.0
    """How long after heal, in simulated seconds, the system may take until nothing is pending."""

    patience: ClassVar[Mapping[str, float]] = {}
    """What that time is made of, if it is known: for what the system may have to wait, one after another, for how many
    seconds, as its own constants say (`{"a breaker's reset": 30.0}`). The sum then counts, not `quiet_within_s`."""

    unawaited: ClassVar[tuple[str, ...]] = ()
    """Observations that a live replay does not wait for: what happens as often as connections need, and time allows."""

    defects: ClassVar[Mapping[str, str]] = {}
    """Planted bugs that can be switched on by name, and what each breaks: proof that properties can fail."""

    properties: ClassVar[tuple[Property, ...]] = ()
    """Promises beside those written as methods."""

    arrival: ClassVar[str] = ""
    """The operation by which users come, for `wavetank load`; nothing if they need none."""

    mix: ClassVar[tuple[Mixed, ...]] = ()
    """What users do under load, and how often among the rest."""

    objectives: ClassVar[Mapping[str, str]] = {}
    """What measures must come to under load (`{"deposit": "p(99) < 100ms"}`), unless the load profile says so."""

    experiments: ClassVar[Path | None] = None
    """The directory of its chaos experiments, for `wavetank chaos`."""

    journeys: ClassVar[Path | None] = None
    """The directory of its users' journeys, for `wavetank e2e`."""

    components: ClassVar[Mapping[str, Component]] = {}
    """Its parts by name, for `wavetank matrix`."""

    planted: frozenset[str] = frozenset()
    """Which defects are switched on."""

    service_models: Mapping[str, ServiceModel] = {}
    """How fast the simulated services of hosts are, for those that are not as fast as they are asked."""

    service_requests: ClassVar[Mapping[str, ServiceRequest]] = {}
    """What to ask the real services of hosts, to learn how fast they are: for `wavetank calibrate`."""

    credentials: Mapping[str, str] = {}
    """Secrets of a live deployment, by the names that its target file has for them; none in simulation."""

    unexpressed: frozenset[str] = frozenset()
    """Operations that cannot be done on a live deployment, because its adapter has no words for them."""

    untold: frozenset[str] = frozenset()
    """Types of what users observe ("reply") that its adapter never tells of."""

    faults_at: frozenset[str] | None = None
    """At which hosts the search may use faults, or at links of theirs. None: at all of them."""

    _counts: Mapping[str, int] = {}

    def hosts(self) -> Iterable[Host]:
        """Yield the system's hosts. Called once per run; make fresh services here."""
        raise InputError(f"{type(self).__name__} does not define hosts(). Yield a Host for each program of the system.")

    async def settle(self, user: User) -> None:
        """Do, for a user, what is needed after heal for everything to finish: reconnect, say.

        If some hosts are left broken at first, it is done when the others are healed, and again when all are.
        """

    def pending(self, history: History) -> Iterable[str | Pending]:
        """Name what is not finished yet. A run goes on after heal until nothing is, or its time has passed.

        What is named as a `Pending` says what it needs, and must finish also while other hosts are left broken. Of what
        is named by words only, that is not demanded.
        """
        return ()

    async def inspect(self, observer: Observer) -> None:
        """Record, from a host beside the system, what its stores hold when everything is quiet.

        What its programs hold is recorded without that, in simulation: of each host that is up an observation
        `holdings`, with the number of its `tasks` and of its open `sockets` by the host at their other end ("" for
        those that listen or are not connected yet).
        """

    def operation_behind(self, logged: Event) -> Invocation | None:
        """Say which operation made a host log this, if one did: `wavetank import` makes plans of logs by it.

        It is asked for every entry in order, on a copy of the system that may remember what came before. What a log
        does not tell, such as a question's words, is yours to make up.
        """
        return None

    def samples(self, history: History) -> Iterable[Sample]:
        """Return what a history shows of each measure: of each operation its latency, by its name, and how many failed.

        Override it to measure more than how long operations take: until an answer is there, say.
        """
        return samples_of(history)

    def conformities(self, history: History) -> Iterable[Conformity]:
        """Return how each kind of message turned out that its services have agreed on: for `wavetank contract`."""
        return ()

    def contract_journeys(self) -> Mapping[str, Journey]:
        """Return journeys by which all of these messages are sent, those that must be refused included."""
        return journeys_in(self.journeys) if self.journeys is not None else {}

    def transitions(self) -> Iterable[str]:
        """Name every transition of every state machine in the system: for `wavetank coverage`."""
        return ()

    def transitions_in(self, history: History) -> Iterable[str]:
        """Return those of them that a history shows."""
        return ()

    # What follows is read by wavetank.

    def patience_s(self) -> float:
        """Return how long it may take after heal, in simulated seconds, until nothing is pending."""
        return sum(self.patience.values()) if self.patience else self.quiet_within_s

    def patience_worded(self) -> str:
        """Word how long that is, and what it is made of."""
        parts = ", ".join(f"{seconds:g} s for {what}" for what, seconds in self.patience.items())
        return f"{self.patience_s():g} s" + (f" ({parts})" if parts else "")

    def for_run(self) -> Self:
        """Return the copy that one run works on."""
        return copy.copy(self)

    def with_defects(self, names: Iterable[str]) -> Self:
        """Return a copy with planted bugs. Raises InputError for a name that the system does not declare."""
        chosen = frozenset(names)
        for name in sorted(chosen):
            if name not in self.defects:
                raise InputError(f"no defect named {name!r}. {known_names(self.defects, 'wavetank defects', name)}")
        planted = copy.copy(self)
        planted.planted = chosen
        return planted

    def with_replicas(self, counts: Mapping[str, int]) -> Self:
        """Return a copy with so many hosts of these kinds. Raises InputError for what the system does not declare."""
        for kind, count in counts.items():
            if count not in self.replicas.get(kind, ()):
                known = "; ".join(
                    f"{each}: {', '.join(map(str, possible))}" for each, possible in self.replicas.items()
                )
                raise InputError(f"the plan has {kind}={count}, and the system {known or 'declares no replicas'}.")
        resized = copy.copy(self)
        resized._counts = dict(counts)
        return resized

    def on_target(self, constants: Mapping[str, float], credentials: Mapping[str, str]) -> Self:
        """Return a copy with the constants, among those of its `patience`, and the secrets of a live deployment."""
        copied = copy.copy(self)
        vars(copied).update(patience={**self.patience, **constants}, credentials=dict(credentials))
        return copied

    def adapted(self, adapter: object) -> Self:
        """Return a copy whose users reach a live deployment through an adapter, what its target file names.

        Override it to take one, and set `unexpressed` and `untold` of the copy. Raises InputError.
        """
        raise InputError(
            f"the target names an adapter, and {type(self).__name__} takes no adapter. "
            "Remove the key, or override System.adapted."
        )

    def with_service_models(self, models: Mapping[str, ServiceModel]) -> Self:
        """Return a copy whose services take their time. Raises InputError for a host that the system does not have."""
        names = self.host_names()
        for name in models:
            if name not in names:
                raise InputError(f"a service model is for host={name!r}. {known_names(names)}")
        copied = copy.copy(self)
        copied.service_models = dict(models)
        return copied

    def with_faults_at(self, hosts: Iterable[str]) -> Self:
        """Return a copy in which the search strikes only these hosts, and links of theirs: with none, nothing."""
        copied = copy.copy(self)
        copied.faults_at = frozenset(hosts)
        return copied

    def capacity_of(self, host: str) -> Capacity | None:
        """Return how fast the simulated service of a host is to be, for `hosts` to ask; None if nobody says."""
        model = self.service_models.get(host)
        return None if model is None else Capacity(model, host)

    def count_of(self, kind: str) -> int:
        """Return how many hosts of a declared kind there are in this run."""
        return self._counts.get(kind, self.replicas[kind][0])

    def host_names(self) -> list[str]:
        """Return the names of all hosts that a run may have, however many there are of each kind."""
        names: dict[str, None] = {}
        for counts in itertools.product(*self.replicas.values()):
            resized = self.with_replicas(dict(zip(self.replicas, counts, strict=True)))
            names.update(dict.fromkeys(host.name for host in resized.for_run().hosts()))
        return list(names)

    def operations(self) -> dict[str, OperationType]:
        """Return the declared operations by name, in alphabetical order."""
        return dict(operations_of(type(self)))  # type: ignore[arg-type]  # mypy doubts that a class is hashable

    def all_properties(self) -> tuple[Property, ...]:
        """Return every promise: the listed, the methods, and those that every system makes."""
        members = ((name, getattr(self, name)) for name, member in inspect.getmembers(type(self), inspect.isfunction))
        methods = (from_method(name, member) for name, member in members)
        return (*self.properties, *(each for each in methods if each is not None), *PROMISES_OF_EVERY_SYSTEM)

    def chosen_properties(self, names: Iterable[str]) -> tuple[Property, ...]:
        """Return the properties of these names, or all for none. Raises InputError for a name that does not exist."""
        every: dict[str, Property] = {}
        for each in self.all_properties():
            if every.setdefault(each.name, each) is not each:
                raise InputError(f"two properties are named {each.name!r}, and only one would be judged. Rename one.")
        chosen = tuple(dict.fromkeys(names))
        for name in chosen:
            if name not in every:
                raise InputError(f"no property named {name!r}. {known_names(every, 'wavetank check --runs 1', name)}")
        return tuple(every[name] for name in chosen) if chosen else tuple(every.values())

    def check_declared(self) -> None:
        """Raise InputError for a declaration that no run could be made of, before any is begun."""
        what = type(self).__name__
        try:
            fewest, most = self.users
            is_range = 0 <= fewest <= most
        except (TypeError, ValueError):
            is_range = False
        if not is_range:
            raise InputError(
                f"{what}.users={self.users!r} is not the fewest and the most users of a run. Example: (1, 3)"
            )
        if not isinstance(self.mix, Sequence) or not all(isinstance(each, Mixed) for each in self.mix):
            raise InputError(f'{what}.mix is {self.mix!r}, no tuple of Mixed. Example: mix = (Mixed("ask"),)')
        for kind, possible in self.replicas.items():
            if not possible or min(possible) < 0:
                raise InputError(
                    f"{what}.replicas has {kind!r}: {possible!r}, nothing to draw. Give numbers, 0 or more."
                )
        if not self.latencies_s or min(self.latencies_s) < 0:
            raise InputError(f"{what}.latencies_s={self.latencies_s!r} has nothing to draw. Give seconds, 0 or more.")
        for counts in ({}, *({kind: count} for kind, possible in self.replicas.items() for count in possible)):
            self.with_replicas(counts)._check_hosts(what)

    def _check_hosts(self, what: str) -> None:
        try:
            hosts = list(self.for_run().hosts())
        except WavetankError:
            raise
        except Exception as error:
            raise InputError(
                f"{what}.hosts() raised {type(error).__name__}: {error}. It yields Host objects."
            ) from error
        check_hosts(what, hosts)
        names = dict.fromkeys(name for host in hosts for name in (host.name, host.behind) if name)
        for each in self.operations().values():
            for needed in each.needs or ():
                if needed not in names:
                    raise InputError(f"operation {each.name!r} needs {needed!r}. {known_names(names)}")
        kinds = [*FAULT_KINDS, *(each.name for host in hosts for each in host.troubles)]
        for kind in self.fault_kinds or ():
            if kind not in kinds:
                raise InputError(f"no fault kind {kind!r} ({what}.fault_kinds). {known_names(dict.fromkeys(kinds))}")

    def check_plan(self, plan: Plan) -> None:
        """Raise InputError for a plan that other operations than these were made for."""
        declared = self.operations()
        for step in plan.steps:
            if isinstance(step.action, Do):
                operation_type = declared.get(step.action.operation)
                if operation_type is None:
                    raise InputError(
                        f"the system has no operation {step.action.operation!r}. Known: {', '.join(declared)}. "
                        "A trace can be replayed only on the system that it was saved from."
                    )
                operation_type.check_arguments(step.action.arguments)
        setting, system = plan.setting, self.with_replicas(plan.setting.replicas)
        if setting.left_broken or setting.latencies:
            names = [host.name for host in system.for_run().hosts()]
            users = [user_host(number) for number in range(setting.users)]
            for name in setting.left_broken:
                if name not in names:
                    raise InputError(f"the plan leaves host={name!r} broken. {known_names(names)}")
            for name in setting.latencies:
                if name not in (*names, *users):
                    raise InputError(f"the plan has host={name!r} far away. {known_names([*names, *users])}")

    def topology(self) -> "nx.DiGraph[str]":
        """Return who connects to whom: hosts, and "user" for all users. A shared name stands for all behind it."""
        return topology_of(list(self.for_run().hosts()))

    def handed_on(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Return who takes up what a host writes into a store, by both."""
        return handed_on(list(self.for_run().hosts()))

    def possible_faults(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per allowed fault kind, the places it can strike: hosts, or links as (source, destination).

        Links go from whoever connects; one-way kinds strike either direction. Users' links follow from the run's users.
        """
        hosts = list(self.for_run().hosts())
        links: list[tuple[str, ...]] = [(a, b) for a, b in topology_of(hosts).edges if a != b]
        places: dict[str, list[tuple[str, ...]]] = {
            kind.name: [(host.name,) for host in hosts] if kind.strikes == 1 else links for kind in FAULT_KINDS.values()
        }
        places["terminate"] = [(host.name,) for host in hosts if host.on_terminate is not None]
        for host in hosts:
            for trouble in host.troubles:
                places.setdefault(trouble.name, []).append((host.name,))
        allowed = {kind: places[kind] for kind in (places if self.fault_kinds is None else self.fault_kinds)}
        if self.faults_at is None:
            return allowed
        return {kind: [at for at in found if self.faults_at.intersection(at)] for kind, found in allowed.items()}

    def declared_troubles(self) -> dict[str, tuple[Trouble, ...]]:
        """Return what each host's service can be made to do, by host, for those that declare anything."""
        return {host.name: host.troubles for host in self.for_run().hosts() if host.troubles}

    def sentence(self, fault: Fault) -> str:
        """Word a fault for a report. Raises InputError for a kind that neither wavetank nor the system has."""
        return kind_of(fault, {} if fault.kind in FAULT_KINDS else self.declared_troubles()).worded(fault)


def load_system(path: str) -> System:
    """Import a system by "module:object". Raises InputError that says what is missing."""
    found = load_named("system", path, "Example: wavetank check my_system:system")
    if not isinstance(found, System):
        raise InputError(
            f"{path!r} is a {type(found).__name__}, not a System object. Write `system = MySystem()` and name that."
        )
    return found


def load_named(what: str, path: str, example: str) -> object:
    """Import a system, an adapter (`what` it is) by "module:object". Raises InputError that says what is missing."""
    module_name, colon, object_name = path.partition(":")
    is_file = "/" in module_name or module_name.startswith(".") or module_name.endswith(".py")
    if not colon or not module_name or not object_name or is_file:
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(f"{article} {what} is named module:object as in an import, not {path!r}. {example}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{what} {path!r} cannot be imported: {error}. Install what it needs.") from error
        raise InputError(
            f"no module named {module_name!r} for {what} {path!r}. "
            "Run from the directory that holds it, or set PYTHONPATH."
        ) from error
    except (Exception, SystemExit) as error:  # a script that ends when it is imported would end us, with its exit code
        raise InputError(
            f"importing {module_name!r} for {what} {path!r} raised {type(error).__name__}: {error}"
        ) from error
    found: object = getattr(module, object_name, None)
    if found is None:
        raise InputError(f"module {module_name!r} has no {object_name!r}. Name the {what} as module:object.")
    return found


def _uncaught(history: Any) -> Violation | None:
    for event in history.observed("uncaught"):
        return Violation(
            f"{event.data['what']} on {event.host} raised {event.data['error']} at {event.at_s:.3f} s, "
            "and nobody handled it",
            site=str(event.data["what"]),
        )
    history.operations()
    return None


def _finishes(history: Any) -> Violation | Unknown | None:
    for event in history.observed("still_pending"):
        what, after_s, patience = (event.data[each] for each in ("what", "after_s", "patience"))
        left = " and ".join(event.data["left"])
        healed, site = ("everything but " + left, "pending in the core") if left else ("everything", "pending")
        return Violation(f"{what}, {after_s:g} s after {healed} was healed; it had {patience}", site)
    if history.marked_at("heal") is None:
        return Unknown("the run ended before heal")
    history.operations()
    return None


PROMISES_OF_EVERY_SYSTEM = (
    Property(
        "uncaught",
        Expectation.ALWAYS,
        _uncaught,
        "no host and no operation raises what nobody handles",
        in_parts=True,
    ),
    Property("finishes", Expectation.EVENTUALLY, _finishes, "after heal, everything pending finishes in its time"),
)
