"""A run applies steps to a system and records a history: what simulated and live runs share."""

import copy
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

import attrs
import trio

from simulator.errors import AdapterFailedError, InputError
from simulator.excuse import Excuses
from simulator.fault import Fault, FaultKind, Nemesis, kind_of
from simulator.history import History, Kind, Value
from simulator.operation import Failed, OperationType
from simulator.pending import Pending
from simulator.plan import Do, Setting, Step, Strike
from simulator.property import Outcome, Property, Verdict
from simulator.system import System
from simulator.user import USER, User, user_name
from simulator.world.host import describe

__all__ = ["OBSERVER", "Result", "Run", "judge"]

OBSERVER = "observer"
"""The host from which stores are inspected: beside the system, never struck by a fault."""

FOR_EVER_S = 1e9
_CONNECTION_LOST = (OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


def is_connection_loss(error: BaseException) -> bool:
    """Say whether an exception means that nobody knows what became of a request.

    Client libraries wrap what the socket raised in errors of their own (httpx.ConnectError), or in groups.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_connection_loss(each) for each in error.exceptions)
    if isinstance(error, socket.gaierror):
        return False  # no fault takes a name away: the name is wrong
    cause = error.__cause__
    if cause is not None and isinstance(error, OSError):
        return is_connection_loss(cause)
    return isinstance(error, _CONNECTION_LOST) or (cause is not None and is_connection_loss(cause))


@attrs.frozen(eq=False)
class Result:
    """What a finished run was found to be: its history, and every property's verdict by name."""

    history: History
    verdicts: Mapping[str, Verdict]
    simulated_s: float

    @property
    def violated(self) -> list[str]:
        """The names of the violated properties, in the order in which the system declares them."""
        return [name for name, verdict in self.verdicts.items() if verdict.outcome is Outcome.VIOLATED]


def judge(properties: Iterable[Property], history: History) -> dict[str, Verdict]:
    """Judge a history by each property."""
    return {each.name: each.judge(history) for each in properties}


def is_from_outside(error: BaseException) -> bool:
    """Say whether an exception only ends a task on behalf of others: a cancellation, an interrupt, the end of a run.

    That of an adapter is one, too: it is no part of the system, and the run ends with it.

    Everything else is the code's own, `SystemExit` and what test libraries raise to fail or skip included.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(is_from_outside(each) for each in error.exceptions)
    return isinstance(error, trio.Cancelled | KeyboardInterrupt | GeneratorExit | AdapterFailedError)


class Run:
    """One run of a system: its users, its history, and the faults that are under way.

    Subclasses say what a host is, how a task starts on one, and how time passes.
    """

    nemesis: Nemesis
    """What faults are done to."""

    def __init__(self, system: System, setting: Setting, history: History) -> None:
        self.system = system.with_replicas(setting.replicas).for_run()
        self.hosts = tuple(self.system.hosts())
        """The hosts as this run has them: their services are its own."""
        self._troubles = {host.name: host.troubles for host in self.hosts if host.troubles}
        self._terminable = {host.name for host in self.hosts if host.on_terminate is not None}
        self.setting = setting
        self.history = history
        self.operations = self.system.operations()
        history.declared = tuple(self.operations)
        self.users: list[User] = []
        self.steps: list[Step] = []
        self._open_faults: dict[int, tuple[Fault, Callable[[], None]]] = {}
        self._left: dict[int, Fault] = {}  # those that do not end by themselves any more
        self._excuses = Excuses(self.hosts, ())
        self._unfinished: dict[int, Pending] = {}
        self._begun = 0
        self._settled: dict[int, trio.Event] = {}

    def start_task(self, host: str, task: Callable[[], Awaitable[None]]) -> None:
        """Start an async function on a host."""
        raise NotImplementedError

    def call_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action` once, later."""
        raise NotImplementedError

    def knows_host(self, name: str) -> bool:
        """Say whether a fault can name this host."""
        raise NotImplementedError

    # Steps

    def applicable(self, step: Step) -> bool:
        """Say whether a step makes sense now: its user exists, and the operation's `when` agrees."""
        if not isinstance(step.action, Do):
            return True
        if step.action.user >= len(self.users):
            return False
        when = self.operations[step.action.operation].when
        return when is None or when(self.users[step.action.user])

    def begin(self, step: Step) -> None:
        """Begin what the step says, without letting time pass."""
        self.steps.append(step)
        self.history.begin_step(step)
        if isinstance(step.action, Do):
            self._invoke(self.operations[step.action.operation], self.users[step.action.user], step.action.arguments)
        elif isinstance(step.action, Strike):
            self._strike(step.action.fault)

    def limit(self, hosts: Iterable[str]) -> None:
        """Record that these hosts may be asked for more than they can do: who waits for one is excused by that."""
        for name in hosts:
            data: dict[str, Value] = {"at": [name], "for_s": FOR_EVER_S, "phase": "begin"}
            self.history.record(Kind.FAULT, name, "limited", data)

    def heal_core(self) -> bool:
        """End every fault that strikes nothing of what is to be left broken; say whether any is left, which then stay.

        Every user's client is told to come to rest with what there is.
        """
        apart = self.setting.left_broken
        left = {
            number: fault
            for number, (fault, _end) in self._open_faults.items()
            if any(place in apart for place in fault.at)
        }
        if left:
            self._heal("heal_core", left)
        return bool(left)

    def heal(self) -> None:
        """End every fault, and tell every user's client to come to rest."""
        self._heal("heal", {})

    def unfinished(self) -> dict[int, Pending]:
        """Return what was begun for users and is not finished, each by a number of its own."""
        return dict(self._unfinished)

    def pending(self) -> list[Pending]:
        """Return what is not finished although nothing excuses it: operations first, then what the system says."""
        return [each for each in self._all_pending() if self._excuses.excuse(each) is None]

    def record_pending(self, pending: Iterable[Pending], after_s: float) -> None:
        """Record what was still not finished when its time was up."""
        patience = self.system.patience_worded()
        left: list[Value] = [fault.named() for fault in self._left.values()]
        for each in pending:
            data: dict[str, Value] = {"what": each.what, "after_s": after_s, "patience": patience, "left": left}
            self.history.record(Kind.OBSERVE, "", "still_pending", data)

    def record_excused(self) -> None:
        """Record what is not finished because of what is still broken."""
        for each in self._all_pending():
            why = self._excuses.excuse(each)
            if why is not None:
                self.history.record(Kind.OBSERVE, "", "excused", {"what": each.what, "why": why})

    def _heal(self, phase: str, left: dict[int, Fault]) -> None:
        self.history.record(Kind.MARK, "", phase, {"left": [fault.named() for fault in left.values()]} if left else {})
        self._left = left
        self._excuses = Excuses(self.hosts, tuple(left.values()))
        for number, (_fault, end) in list(self._open_faults.items()):
            if number not in left:
                end()
        self.settle_users()

    def settle_users(self) -> None:
        """Tell every user's client to come to rest."""
        for user in self.users:
            self._start_counted(user, Pending(f"settle of {user.name} did not return"), partial(self._settle, user))

    def _all_pending(self) -> Iterator[Pending]:
        yield from self.unfinished().values()
        for each in self.system.pending(self.history):
            yield Pending(each) if isinstance(each, str) else each

    # Operations, faults, observations

    def add_user(self, number: int) -> User:
        """Make the user of this number, on a host of their own."""
        name = user_name(number)
        host = f"user:{name}"

        def beside(task: Callable[[], Awaitable[object]]) -> None:
            self.start_task(host, lambda: self._guarded(host, task))

        user = User(number, name, lambda observation, data: self.observe(host, observation, data), beside)
        self.users.append(user)
        return user

    def observe(self, host: str, name: str, data: Mapping[str, Value]) -> None:
        """Record an observation."""
        self.history.record(Kind.OBSERVE, host, name, data)

    def host_failed(self, host: str, error: str) -> None:
        """Record that what ran on a host raised what nobody handled."""
        self.observe(host, "uncaught", {"what": "main", "error": error})

    async def _guarded(self, host: str, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except BaseException as error:
            if is_from_outside(error):
                raise
            self.host_failed(host, describe(error))

    async def _settle(self, user: User) -> None:
        before, done = self._settled.get(user.number), trio.Event()
        self._settled[user.number] = done
        try:
            if before is not None:
                await before.wait()
            await self.system.settle(user)
        except BaseException as error:
            if is_from_outside(error):
                raise
            data: dict[str, Value] = {"what": "settle", "error": describe(error)}
            self.observe(f"user:{user.name}", "settle_failed" if is_connection_loss(error) else "uncaught", data)
        finally:
            done.set()

    def _invoke(self, declared: OperationType, user: User, arguments: Mapping[str, Value]) -> None:
        number = self.history.next_operation()
        self.history.record(Kind.INVOKE, f"user:{user.name}", declared.name, arguments, number)
        needs = None if declared.needs is None else (f"{USER}:{user.name}", *declared.needs)
        pending = Pending(f"{declared.name} of {user.name} did not return", needs)
        self._start_counted(user, pending, lambda: self._perform(declared, user, arguments, number))

    async def _perform(self, declared: OperationType, user: User, arguments: Mapping[str, Value], number: int) -> None:
        """Run one operation, and record how it ended."""
        host = f"user:{user.name}"
        try:
            # The operation may change what it was given; the plan may not change with it.
            result = await getattr(self.system, declared.name)(user, **copy.deepcopy(dict(arguments)))
            self.history.record(Kind.OK, host, declared.name, {"result": result}, number)
        except Failed as error:
            self.history.record(Kind.FAIL, host, declared.name, {"error": str(error)}, number)
        except BaseException as error:
            if is_from_outside(error):
                raise
            self.history.record(Kind.INFO, host, declared.name, {"error": describe(error)}, number)
            if not is_connection_loss(error):
                self.observe(host, "uncaught", {"what": declared.name, "error": describe(error)})

    def _start_counted(self, user: User, pending: Pending, task: Callable[[], Awaitable[None]]) -> None:
        number = self._begun = self._begun + 1

        async def counted() -> None:
            try:
                await task()
            finally:
                del self._unfinished[number]

        self._unfinished[number] = pending
        self.start_task(f"user:{user.name}", counted)

    def _kind_of(self, fault: Fault) -> FaultKind:
        """Return what the fault does. Raises InputError when this run's system cannot suffer it."""
        kind = kind_of(fault, self._troubles)
        for name in fault.at:
            if not self.knows_host(name):
                raise InputError(f"the fault {str(fault)!r} names host={name!r}, which this run does not have.")
        if kind.name == "terminate" and fault.at[0] not in self._terminable:
            raise InputError(f"host={fault.at[0]!r} cannot be told to end: it is declared without on_terminate.")
        return kind

    def _strike(self, fault: Fault) -> None:
        kind = self._kind_of(fault)
        data: dict[str, Value] = {"at": list(fault.at), "for_s": fault.for_s}
        self.history.record(Kind.FAULT, fault.at[0], fault.kind, {**data, "phase": "begin"})
        kind.begin(self.nemesis, fault)
        if kind.end is None:
            return
        number, finish = len(self.steps), kind.end

        def end() -> None:
            if self._open_faults.pop(number, None) is not None:
                self.history.record(Kind.FAULT, fault.at[0], fault.kind, {**data, "phase": "end"})
                finish(self.nemesis, fault)

        def end_in_time() -> None:
            if number not in self._left:
                end()

        self._open_faults[number] = fault, end
        self.call_after(fault.for_s, end_in_time)
