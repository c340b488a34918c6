"""Whether the description of a deployment makes sense for a system: every name in it must mean something."""

from collections.abc import Iterator

from simulator.errors import InputError, known_names
from simulator.live.deed import UNDONE_BY
from simulator.live.target import ByCommand, ByPostgreSQL, ByRedis, BySignals, ByStaging, ByToxiproxy, Target
from simulator.system import System, load_named

__all__ = ["adapted_to", "check_target", "problems_of"]


def adapted_to(target: Target, system: System) -> System:
    """Return the system as users reach it on a target: by its adapter, if it names one. Raises InputError."""
    if not target.adapter:
        return system
    return system.adapted(load_named("adapter", target.adapter, 'Example: adapter = "my_adapter:MyAdapter"'))


def check_target(target: Target, system: System, *, confirmed: bool) -> None:
    """Raise InputError for a target that makes no sense for the system, or that must not be touched."""
    problem = next(problems_of(target, system), None)
    if problem is not None:
        raise InputError(f"the target makes no sense for this system: {problem} See wavetank target validate.")
    target.check_allowed(confirmed=confirmed)


def problems_of(target: Target, system: System) -> Iterator[str]:
    """Yield a sentence for whatever in a target the system does not know."""
    hosts = list(system.for_run().hosts())
    names = dict.fromkeys(name for host in hosts for name in (host.name, host.behind) if name)
    for name in target.hosts:
        if name not in names:
            yield f"[hosts] has {name!r}. {known_names(names, 'the hosts of the system')}"
    entries = dict.fromkeys(name for host in hosts if host.open_to_users for name in (host.name, host.behind) if name)
    is_driven = target.limits is None or not target.limits.observe_only
    if is_driven and entries and not any(map(target.reaches, entries)):
        yield f"no host that users connect to has an address under [hosts]: {' or '.join(entries)}."
    for name in target.constants:
        if name not in system.patience:
            yield f"[constants] has {name!r}. {known_names(system.patience, 'the patience of the system')}"
    troubles = {host.name: {trouble.name for trouble in host.troubles} for host in hosts}
    for number, means in enumerate(target.means):
        for host in _hosts_of(means):
            if host not in names:
                yield f"means[{number}] names host {host!r}. {known_names(names, 'the hosts of the system')}"
        for host, named in _troubles_of(means):
            if named not in troubles.get(host, ()):
                yield f"means[{number}] names {named!r}, no action and no trouble of host {host!r}."
        if isinstance(means, ByRedis | ByPostgreSQL) and not target.reaches(means.host):
            yield f"means[{number}] is for host {means.host!r}, which has no address under [hosts]."


def _hosts_of(means: object) -> Iterator[str]:
    match means:
        case ByStaging():
            yield from (*means.hosts, *means.troubles)
            yield from (host for link in means.links for host in link.split("->"))
        case ByToxiproxy():
            yield from (host for link in means.links for host in link.split("->"))
        case ByCommand():
            yield from means.at.split("->")
        case BySignals() | ByRedis() | ByPostgreSQL():
            yield means.host


def _troubles_of(means: object) -> Iterator[tuple[str, str]]:
    # What a staging can do is written by itself, also for variants of the system that can get into more.
    if isinstance(means, ByCommand) and means.action not in (*UNDONE_BY, "reset"):
        yield means.at, means.action
