"""Hosts as a system declares them: what runs where, who connects to whom, and what makes no sense."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs
import networkx as nx

from simulator.errors import InputError, known_names
from simulator.fault import FAULT_KINDS, Fault, Trouble, trouble_kind
from simulator.user import USER

__all__ = ["Host", "check_hosts", "handed_on", "topology_of"]

RESERVED_NAMES = (USER, "observer")
"""Host names that mean something else: all users in a topology, and where stores are inspected from."""


@attrs.frozen
class Host:
    """A host of a system: its name, the ordinary Trio program that runs on it, and which hosts it connects to.

    `open_to_users` hosts are those that users connect to. `on_crash` is called at the instant of a crash, for a
    simulated service that must forget what was not on its disk. `troubles` are what its service can be made to do.

    `optional` are those of its `needs` that it can do without: what needs this host does not need them.

    `behind` is a name that several hosts share, beside their own: whoever connects to it is led to each of them in
    turn, as a DNS name with several addresses does. `needs` may hold such a name.

    `hands_on` says of a store by whom the work is taken up that a host writes there: `{"front": ("worker",)}`. Both are
    names of hosts that need the store, or names that such hosts share. Ways of work follow from it (`wavetank
    coverage`).

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
    hands_on: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


def topology_of(hosts: Sequence[Host]) -> "nx.DiGraph[str]":
    """Return who connects to whom: hosts, and "user" for all users. A shared name stands for all behind it."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for host in hosts:
        graph.add_node(host.name)
        for needed in host.needs:
            graph.add_edges_from((host.name, each.name) for each in hosts if needed in (each.name, each.behind))
        if host.open_to_users:
            graph.add_edge(USER, host.name)
    return graph


def handed_on(hosts: Sequence[Host]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return who takes up what a host writes into a store, by both. A shared name stands for all behind it."""
    return {
        (writer.name, store.name): tuple(each.name for each in hosts if {each.name, each.behind}.intersection(readers))
        for store in hosts
        for name, readers in store.hands_on.items()
        for writer in hosts
        if name in (writer.name, writer.behind)
    }


def check_hosts(what: str, hosts: Sequence[Host]) -> None:
    """Raise InputError for hosts of which no run could be made; `what` has declared them."""
    for host in hosts:
        _check_names(what, host, hosts)
        _check_troubles(what, host)


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
            raise InputError(f"{what}'s host {host.name!r} needs {needed!r}. {known_names(known)}")
    for needed in host.optional:
        if needed not in host.needs:
            raise InputError(
                f"{what}'s host {host.name!r} can do without {needed!r} (optional), which is not among its needs: "
                f"{', '.join(host.needs) or 'none'}. Name it there too."
            )
    for writer, readers in host.hands_on.items():
        for name in (writer, *readers):
            if name not in known:
                raise InputError(f"{what}'s host {host.name!r} hands on work of, or to, {name!r}. {known_names(known)}")
            for each in hosts:
                if name in (each.name, each.behind) and not {host.name, host.behind}.intersection(each.needs):
                    raise InputError(
                        f"{what}'s host {host.name!r} hands on work of, or to, {each.name!r}, which does not need it. "
                        f"Add {host.name!r} to its needs."
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
