"""Excuses: why something cannot be finished while some of the faults are not over."""

from collections.abc import Sequence
from typing import TypeAlias

from simulator.errors import InputError, known_names
from simulator.fault import Fault
from simulator.host import Host
from simulator.pending import Pending
from simulator.user import USER

__all__ = ["Excuses"]

_Obstacle: TypeAlias = tuple[tuple[str, ...], Fault]
"""The way to a fault, by the hosts that need one another, and the fault."""


class Excuses:
    """Looks for what makes it impossible to finish something: a fault at a host that it needs, or on the way to it.

    A fault that only slows it down is an excuse as well: nothing that is impossible may ever be demanded, and less
    than what is possible may be.
    """

    def __init__(self, hosts: Sequence[Host], faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._hosts = {host.name: host for host in hosts}
        self._named: dict[str, list[str]] = {}  # a host's own name stands for itself, a shared one for all behind it
        for host in hosts:
            for name in filter(None, (host.name, host.behind)):
                self._named.setdefault(name, []).append(host.name)

    def excuse(self, pending: Pending) -> str | None:
        """Say in words why it cannot be finished; None if it can. Raises InputError for a need that is no host."""
        if pending.needs is None:
            return f"it may need everything, and {self._faults[0].named()} is not over" if self._faults else None
        for name in pending.needs:
            if name not in self._named and not name.startswith(f"{USER}:"):
                raise InputError(f"pending {pending.what!r} needs {name!r}. {known_names(self._named)}")
            obstacle = self._obstacle(pending.needs, USER, name, ())
            if obstacle is not None:
                way, fault = obstacle
                return f"it needs {', and so '.join(way)}, and {fault.named()} is not over"
        return None

    def _obstacle(self, needed: tuple[str, ...], source: str, name: str, passed: tuple[str, ...]) -> _Obstacle | None:
        """Return what keeps a host from what is under a name; None if it reaches only such behind it as are well.

        Who cannot reach one of several goes on to the next. But one that is reached, and lacks what it needs itself,
        may keep whom it has.
        """
        obstacles = [self._at(needed, source, host, passed) for host in self._named.get(name, [name])]
        lacking = next((each for each in obstacles if each is not None and len(each[0]) > 1), None)
        return lacking or (None if None in obstacles else obstacles[0])

    def _at(self, needed: tuple[str, ...], source: str, host: str, passed: tuple[str, ...]) -> _Obstacle | None:
        for fault in self._faults:
            places = [USER if source == USER and place.startswith(f"{USER}:") else place for place in fault.at]
            if places in ([host], [source, host], [host, source]):
                return (host,), fault
        for need in self._needs(host, needed) if host not in passed else ():
            obstacle = self._obstacle(needed, host, need, (*passed, host))
            if obstacle is not None:
                return (host, *obstacle[0]), obstacle[1]
        return None

    def _needs(self, name: str, needed: tuple[str, ...]) -> list[str]:
        host = self._hosts.get(name)
        if host is None:  # a user
            return list(dict.fromkeys(each.behind or each.name for each in self._hosts.values() if each.open_to_users))
        return [each for each in host.needs if each not in host.optional or each in needed]
