"""What a user of wavetank writes: a system, its hosts, its operations and its promises."""

import copy
import functools
import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import attrs
import networkx as nx

from simulator.errors import InputError, WavetankError, known_names
from simulator.fault import FAULT_KINDS, Fault, Trouble, kind_of, trouble_kind
from simulator.history import History, Value
from simulator.pending import Pending
from simulator.plan import Do, Plan
from simulator.property import Expectation, Property, Unknown, Violation, from_method

if TYPE_CHECKING:  # Hypothesis is imported where plans are generated, nowhere else.
    from hypothesis.strategies import SearchStrategy

__all__ = ["Failed", "Host", "Observer", "OperationType", "System", "Trouble", "User", "operation"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "__wavetank_operation__"


class Failed(Exception):
    """Raised by an operation that definitely did not happen: it was refused before it could have any effect.

    An `OSError`, a broken connection or a timeout means instead that nobody knows, and is recorded so.
    """


@attrs.frozen
class Host:
    """A host of a system: its name, the ordinary Trio program that runs on it, and which hosts it connects to.

    `open_to_users` hosts are those that users connect to. `on_crash` is called at the instant of a crash, for a
    simulated service that must forget what was not on its disk. `troubles` are what its service can be made to do.

    `optional` are those of its `needs` that it can do without: what needs this host does not need them.

    `behind` is a name that several hosts share, beside their own: whoever connects to it is led to each of them in
    turn, as a DNS name with several addresses does. `needs` may hold such a name.

    `on_terminate` makes the host one that can be told to end, as by SIGTERM: it is called on the host, and `main` is
    expected to finish what it does and return. If it has not when the fault ends, it is crashed. A `main` that returns
    is a process that ended: what it had sent is delivered, its connections are closed in order, new ones are refused,
    and `on_crash` is not called, since it had its chance to write. Only the end of a fault starts it afresh.
    """

    name: str
    main: Callable[[], Awaitable[object]]
    needs: tuple[str, ...] = ()
    open_to_users: bool = False
    on_crash: Callable[[], None] | None = None
    troubles: tuple[Trouble, ...] = ()
    behind: str = ""
    on_terminate: Callable[[], None] | None = None
    optional: tuple[str, ...] = ()


class Observer:
    """Records what is seen on one host: `observer.observe("frame", to="alice", text="hi")`."""

    def __init__(self, record: Callable[[str, Mapping[str, Value]], None]) -> None:
        self._record = record

    def observe(self, name: str, /, **data: Value) -> None:
        """Add an observation to the history, at this moment."""
        self._record(name, data)


class User(Observer):
    """One user of a run, on a host of their own, with whatever the system's operations keep in `memory`."""

    def __init__(
        self,
        number: int,
        name: str,
        record: Callable[[str, Mapping[str, Value]], None],
        start: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        super().__init__(record)
        self.number = number
        self.name = name
        self.memory: dict[str, Any] = {}
        self._start = start

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run an async function on the user's host beside the operations, until the run ends: a reader, say."""
        self._start(task)

    def __repr__(self) -> str:
        return f"<user {self.name}>"


@attrs.frozen(eq=False)
class OperationType:
    """A kind of operation: how its arguments are drawn, and when it makes sense."""

    name: str
    arguments: Mapping[str, "SearchStrategy[Any]"]
    when: Callable[[User], bool] | None
    sentence: str
    weight: int
    takes: inspect.Signature
    """What the method takes besides itself and the user."""
    needs: tuple[str, ...] | None = None
    """What it needs in order to return, beside the user's way to the system. None: it may need everything."""

    def check_arguments(self, arguments: Mapping[str, Value]) -> None:
        """Raise InputError for arguments that the method does not take: a plan that an older system has made."""
        try:
            self.takes.bind(**arguments)
        except TypeError as error:
            raise InputError(
                f"operation {self.name!r} cannot be done with arguments={', '.join(arguments) or 'none'}: {error}; it "
                f"takes {', '.join(self.takes.parameters) or 'none'}. The system has changed since the plan was made."
            ) from error


def operation(
    *,
    when: Callable[[User], bool] | None = None,
    sentence: str = "",
    weight: int = 1,
    needs: tuple[str, ...] | None = None,
    **arguments: "SearchStrategy[Any]",
) -> Callable[[F], F]:
    """Make an async method `(self, user, **arguments)` an operation.

    It becomes a rule of the machine and a step of plans. `arguments` are strategies whose values JSON can hold.
    `when` says, from what the user remembers, whether the operation makes sense now. `sentence` words it in a
    report, with the arguments and `{user}` to be filled in. `weight` says how often it is wanted compared with
    others. `needs` are the hosts without which it may never return, beside those that users connect to; if it is not
    given, any host may be.
    """

    def mark(method: F) -> F:
        name = method.__name__
        words = sentence or " ".join(
            ["{user}", name.replace("_", " "), *(f"{each}={{{each}!r}}" for each in arguments)]
        )
        if not inspect.iscoroutinefunction(cast("object", method)):
            raise InputError(f"operation {name!r} must be async: write async def {name}(self, user, ...).")
        for argument, strategy in arguments.items():
            if not callable(getattr(strategy, "filter", None)):
                raise InputError(
                    f"argument {argument!r} of operation {name!r} is {strategy!r}, not a Hypothesis strategy. "
                    "Example: st.integers(1, 9)"
                )
            if argument not in inspect.signature(method).parameters:
                raise InputError(f"operation {name!r} has no argument {argument!r} to draw. Name one of its own.")
        for _text, field, _spec, _conversion in Formatter().parse(words):
            if field is not None and field not in ("user", *arguments):
                raise InputError(f"the sentence of operation {name!r} names {{{field}}}, which it does not have.")
        signature = inspect.signature(method)
        takes = signature.replace(parameters=list(signature.parameters.values())[2:])
        setattr(method, _MARK, OperationType(name, arguments, when, words, weight, takes, needs))
        return method

    return mark


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

    sizes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """How many hosts of a kind a run may have, for `hosts` to ask as `self.size["gateways"]`; the first is the usual
    number, and the simplest."""

    quiet_within_s: ClassVar[float] = 60.0
    """How long after heal, in simulated seconds, the system may take until nothing is pending."""

    patience: ClassVar[Mapping[str, float]] = {}
    """What that time is made of, if it is known: for what the system may have to wait, one after another, for how many
    seconds, as its own constants say (`{"a breaker's reset": 30.0}`). The sum then counts, not `quiet_within_s`."""

    defects: ClassVar[Mapping[str, str]] = {}
    """Planted bugs that can be switched on by name, and what each breaks: proof that properties can fail."""

    properties: ClassVar[tuple[Property, ...]] = ()
    """Promises beside those written as methods."""

    planted: frozenset[str] = frozenset()
    """Which defects are switched on."""

    unusual: Mapping[str, int] = {}
    """How many hosts there are of a kind, where it is not the usual number."""

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

    @property
    def size(self) -> dict[str, int]:
        """How many hosts of each declared kind there are."""
        return {kind: possible[0] for kind, possible in self.sizes.items()} | dict(self.unusual)

    def sized(self, sizes: Mapping[str, int]) -> Self:
        """Return a copy with so many hosts of these kinds. Raises InputError for what the system does not declare."""
        for kind, count in sizes.items():
            if count not in self.sizes.get(kind, ()):
                known = "; ".join(f"{each}: {', '.join(map(str, counts))}" for each, counts in self.sizes.items())
                raise InputError(f"the plan is of {kind}={count}, and the system has {known or 'one size only'}.")
        resized = copy.copy(self)
        resized.unusual = dict(sizes)
        return resized

    def operations(self) -> dict[str, OperationType]:
        """Return the declared operations by name, in alphabetical order."""
        return dict(_operations_of(type(self)))  # type: ignore[arg-type]  # mypy doubts that a class is hashable

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
        fewest, most = self.users
        if not 0 <= fewest <= most:
            raise InputError(f"{what}.users={self.users!r} is not the fewest and the most users of a run.")
        for kind, possible in self.sizes.items():
            if not possible or min(possible) < 0:
                raise InputError(f"{what}.sizes has {kind!r}: {possible!r}, nothing to draw. Give numbers, 0 or more.")
        if not self.latencies_s or min(self.latencies_s) < 0:
            raise InputError(f"{what}.latencies_s={self.latencies_s!r} has nothing to draw. Give seconds, 0 or more.")
        try:
            hosts = list(self.for_run().hosts())
        except WavetankError:
            raise
        except Exception as error:
            raise InputError(
                f"{what}.hosts() raised {type(error).__name__}: {error}. It yields Host objects."
            ) from error
        for host in hosts:
            _check_names(what, host, hosts)
            _check_troubles(what, host)
        names = dict.fromkeys(name for host in hosts for name in (host.name, host.behind) if name)
        for each in self.operations().values():
            for needed in each.needs or ():
                if needed not in names:
                    raise InputError(f"operation {each.name!r} needs {needed!r}. {known_names(names, '')}")
        kinds = [*FAULT_KINDS, *(each.name for host in hosts for each in host.troubles)]
        for kind in self.fault_kinds or ():
            if kind not in kinds:
                raise InputError(
                    f"no fault kind {kind!r} ({what}.fault_kinds). {known_names(dict.fromkeys(kinds), '')}"
                )

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
        setting, sized = plan.setting, self.sized(plan.setting.sizes)
        if setting.left_broken or setting.latencies:
            names = [host.name for host in sized.for_run().hosts()]
            users = [user_host(number) for number in range(setting.users)]
            for name in setting.left_broken:
                if name not in names:
                    raise InputError(f"the plan leaves host={name!r} broken. {known_names(names, '')}")
            for name in setting.latencies:
                if name not in (*names, *users):
                    raise InputError(f"the plan has host={name!r} far away. {known_names([*names, *users], '')}")

    def topology(self) -> "nx.DiGraph[str]":
        """Return who connects to whom: hosts, and "user" for all users. A shared name stands for all behind it."""
        return _topology(list(self.for_run().hosts()))

    def possible_faults(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per allowed fault kind, the places it can strike: hosts, or links as (source, destination).

        Links go from whoever connects; one-way kinds strike either direction. Users' links follow from the run's users.
        """
        hosts = list(self.for_run().hosts())
        links: list[tuple[str, ...]] = [(a, b) for a, b in _topology(hosts).edges if a != b]
        places: dict[str, list[tuple[str, ...]]] = {
            kind.name: [(host.name,) for host in hosts] if kind.strikes == 1 else links for kind in FAULT_KINDS.values()
        }
        places["terminate"] = [(host.name,) for host in hosts if host.on_terminate is not None]
        for host in hosts:
            for trouble in host.troubles:
                places.setdefault(trouble.name, []).append((host.name,))
        return {kind: places[kind] for kind in (places if self.fault_kinds is None else self.fault_kinds)}

    def declared_troubles(self) -> dict[str, tuple[Trouble, ...]]:
        """Return what each host's service can be made to do, by host, for those that declare anything."""
        return {host.name: host.troubles for host in self.for_run().hosts() if host.troubles}

    def sentence(self, fault: Fault) -> str:
        """Word a fault for a report. Raises InputError for a kind that neither wavetank nor the system has."""
        return kind_of(fault, {} if fault.kind in FAULT_KINDS else self.declared_troubles()).worded(fault)


@functools.cache
def _operations_of(system: type[System]) -> dict[str, OperationType]:
    found = inspect.getmembers(system, lambda member: hasattr(member, _MARK))
    return {name: getattr(member, _MARK) for name, member in found}


USER = "user"
"""All users, in a topology."""
RESERVED_NAMES = (USER, "observer")
"""Host names that mean something else: all users in a topology, and where stores are inspected from."""

USER_NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


def user_name(number: int) -> str:
    """Return the name of a plan's user."""
    return USER_NAMES[number] if number < len(USER_NAMES) else f"user{number}"


def user_host(number: int) -> str:
    """Return the name of the host that a plan's user is on."""
    return f"{USER}:{user_name(number)}"


def load_system(path: str) -> System:
    """Import a system by "module:object". Raises InputError that says what is missing."""
    module_name, colon, object_name = path.partition(":")
    if not colon or not module_name or not object_name:
        raise InputError(f"a system is named module:object, not {path!r}. Example: wavetank check my_system:system")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"system {path!r} cannot be imported: {error}. Install what it needs.") from error
        raise InputError(
            f"no module named {module_name!r} for system {path!r}. "
            "Run from the directory that holds it, or set PYTHONPATH."
        ) from error
    except (Exception, SystemExit) as error:  # a script that ends when it is imported would end us, with its exit code
        raise InputError(
            f"importing {module_name!r} for system {path!r} raised {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, object_name, None)
    if found is None:
        raise InputError(f"module {module_name!r} has no {object_name!r}. Name the System object: {module_name}:system")
    if not isinstance(found, System):
        raise InputError(
            f"{path!r} is a {type(found).__name__}, not a System object. Write `system = MySystem()` and name that."
        )
    return found


def _topology(hosts: Sequence[Host]) -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    for host in hosts:
        graph.add_node(host.name)
        for needed in host.needs:
            graph.add_edges_from((host.name, each.name) for each in hosts if needed in (each.name, each.behind))
        if host.open_to_users:
            graph.add_edge(USER, host.name)
    return graph


def _check_names(what: str, host: Host, hosts: Sequence[Host]) -> None:
    names = [each.name for each in hosts]
    if names.count(host.name) > 1 or host.name in RESERVED_NAMES:
        raise InputError(f"{what} has two hosts named {host.name!r}, or that name is wavetank's own. Rename it.")
    if host.behind in (*names, *RESERVED_NAMES):
        raise InputError(
            f"{what}'s host {host.name!r} is behind {host.behind!r}, which is a host's own name, or wavetank's. "
            "Give the hosts that share a name another one."
        )
    known = dict.fromkeys((*names, *(each.behind for each in hosts if each.behind)))
    for needed in host.needs:
        if needed not in known:
            raise InputError(f"{what}'s host {host.name!r} needs {needed!r}. {known_names(known, '')}")
    for needed in host.optional:
        if needed not in host.needs:
            raise InputError(
                f"{what}'s host {host.name!r} can do without {needed!r} (optional), which is not among its needs: "
                f"{', '.join(host.needs) or 'none'}. Name it there too."
            )


def _check_troubles(what: str, host: Host) -> None:
    names = [each.name for each in host.troubles]
    for trouble in host.troubles:
        if trouble.name in FAULT_KINDS or names.count(trouble.name) > 1:
            raise InputError(
                f"{what}'s host {host.name!r} has two troubles named {trouble.name!r}, or that is a fault kind of "
                "wavetank's own. Rename it."
            )
        try:
            trouble_kind(trouble).worded(Fault(trouble.name, (host.name,)))
        except (LookupError, ValueError) as error:
            raise InputError(
                f"the sentence of trouble {trouble.name!r} of {what}'s host {host.name!r} cannot be worded "
                f"({type(error).__name__}: {error}). It may hold {{0}}, the host, and {{for_s}}."
            ) from error


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
    Property("uncaught", Expectation.ALWAYS, _uncaught, "no host and no operation raises what nobody handles"),
    Property("finishes", Expectation.EVENTUALLY, _finishes, "after heal, everything pending finishes in its time"),
)
