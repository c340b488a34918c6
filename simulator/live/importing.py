"""Makes a plan of what was recorded: the invocations of a session, or what a system says that its logs tell of."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from simulator.errors import InputError, known_names
from simulator.fault import FAULT_KINDS, Fault, kind_of
from simulator.history import Event, Kind
from simulator.live.recording import Recorded
from simulator.operation import Invocation
from simulator.plan import Action, Do, Plan, Setting, Step, Strike, as_kept
from simulator.run import OBSERVER
from simulator.system import System
from simulator.user import USER, user_host

__all__ = ["PAUSE_S_MAX", "plan_of"]

PAUSE_S_MAX = 30.0
"""How long nothing happens between two steps at most."""


def plan_of(system: System, recording: Iterable[Recorded]) -> Plan:
    """Return the plan that does again what users did, in the times between, of PAUSE_S_MAX at most.

    Users are numbered in the order of their coming, and steps are in calm weather. A session's faults are steps too.
    Raises InputError, with file and line, for what the system does not have.
    """
    recorded = list(recording)
    replicas = _replicas(system, recorded)
    system = system.with_replicas(replicas)
    lines = list(itertools.takewhile(lambda each: not _is_heal(each.event), recorded))
    users = _Users(system.users[1])
    timed = [(each.event.at_s, action) for each, action in _actions(system, lines, users)]
    if not timed:
        raise InputError(
            "nothing that was recorded tells of what a user did. Record a session, or let System.operation_behind say "
            "which entries of a log do."
        )
    ends_s = [*(at_s for at_s, _ in timed[1:]), recorded[len(lines) if len(lines) < len(recorded) else -1].event.at_s]
    steps = (
        Step(action, round(min(PAUSE_S_MAX, max(0.0, end_s - at_s)), 6))
        for (at_s, action), end_s in zip(timed, ends_s, strict=True)
    )
    setting = Setting(users=max(len(users.numbers), system.users[0]), replicas=replicas)
    latency_s = recorded[0].event.data.get("latency_s")
    if isinstance(latency_s, int | float) and latency_s >= 0:
        setting = msgspec.structs.replace(setting, latency_s=float(latency_s))
    return Plan(setting, tuple(steps))


class _Users:
    """The users that have come so far, and their numbers."""

    def __init__(self, most: int) -> None:
        self.numbers: dict[str, int] = {}
        self._most = most

    def number(self, name: str) -> int:
        """Return a user's number. Raises InputError for one more than the system has."""
        if name not in self.numbers and len(self.numbers) >= self._most:
            raise InputError(
                f"{name!r} is user {len(self.numbers) + 1}, and the system has {self._most} at most. Leave in it what "
                f"{self._most} users did, or raise the system's users."
            )
        return self.numbers.setdefault(name, len(self.numbers))


def _is_heal(event: Event) -> bool:
    """Whether what users do ends here: a run of the plan has an end of its own."""
    return event.kind is Kind.MARK and event.name in ("heal", "heal_core")


def _actions(system: System, lines: Sequence[Recorded], users: _Users) -> Iterator[tuple[Recorded, Action]]:
    """Yield what was done. Where a session has invocations, its logs tell of nothing else."""
    has_invocations = any(each.event.kind is Kind.INVOKE for each in lines)
    asked = system.for_run()
    for each in lines:
        try:
            if each.event.kind is Kind.FAULT and each.event.data.get("phase") == "begin":
                yield each, Strike(_fault(system, each.event, users))
            elif each.event.kind is Kind.INVOKE:
                user = each.event.host.removeprefix(f"{USER}:")
                yield each, _do(system, Invocation(user, each.event.name, each.event.data), users)
            elif each.event.kind is Kind.OBSERVE and not has_invocations:
                invocation = asked.operation_behind(each.event)
                if invocation is not None:
                    yield each, _do(system, invocation, users)
        except InputError as error:
            raise InputError(f"{each.where}: {error}") from error


def _do(system: System, invocation: Invocation, users: _Users) -> Do:
    declared = system.operations().get(invocation.operation)
    if declared is None:
        known = ", ".join(system.operations())
        raise InputError(f"the system has no operation {invocation.operation!r}. Known: {known}.")
    arguments = as_kept(invocation.arguments)
    declared.check_arguments(arguments)
    return Do(invocation.operation, users.number(invocation.user), arguments)


def _fault(system: System, event: Event, users: _Users) -> Fault:
    """Return a fault, at the users that the plan has in place of those that were there."""
    at, for_s = event.data.get("at"), event.data.get("for_s", 0.0)
    if not isinstance(at, list) or not isinstance(for_s, int | float):
        raise InputError(f"the fault {event.name!r} does not say where it strikes, or how long it lasts.")
    hosts = list(system.for_run().hosts())
    names = [host.name for host in hosts]
    places = []
    for place in map(str, at):
        if place.startswith(f"{USER}:"):
            places.append(user_host(users.number(place.removeprefix(f"{USER}:"))))
        elif place in names:
            places.append(place)
        else:
            raise InputError(f"the fault {event.name!r} strikes {place!r}. {known_names(names)}")
    fault = Fault(event.name, tuple(places), float(for_s))
    kind_of(fault, {} if event.name in FAULT_KINDS else {host.name: host.troubles for host in hosts})
    return fault


def _replicas(system: System, recorded: Sequence[Recorded]) -> dict[str, int]:
    """Return how many hosts of each kind there are, where it is not the usual number, so that all that speak exist."""
    speaking = {each.event.host: each.where for each in reversed(recorded) if _is_host(each.event)}
    for counts in itertools.product(*system.replicas.values()):
        resized = dict(zip(system.replicas, counts, strict=True))
        names = [host.name for host in system.with_replicas(resized).for_run().hosts()]
        if all(host in names for host in speaking):
            usual = {kind: possible[0] for kind, possible in system.replicas.items()}
            return {kind: count for kind, count in resized.items() if count != usual[kind]}
    known = system.host_names()
    host = next((host for host in speaking if host not in known), next(iter(speaking)))
    raise InputError(f"{speaking[host]} is of host {host!r}. {known_names(known, 'the hosts of the system')}")


def _is_host(event: Event) -> bool:
    return event.kind is Kind.OBSERVE and event.host not in ("", OBSERVER) and not event.host.startswith(f"{USER}:")
