"""Ways: how work goes through a system, from whoever begins it, and whether a run shows that it went so.

A way follows connections, and what hosts hand on through a store (`Host.hands_on`). Whoever takes up what was handed
on asks one of the services for it that need nobody, before handing on the result. A way ends at such a service, or at
the user, when a host that users connect to takes up the result.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import attrs
import networkx as nx

from simulator.history import History
from simulator.system import System
from simulator.user import USER

__all__ = ["Way", "ways_of"]


@attrs.frozen
class Way:
    """The hosts that work comes to, one after another ("user" is any), and whether it is handed on between them."""

    hosts: tuple[str, ...]
    is_handed_on: bool

    def __str__(self) -> str:
        return " > ".join(self.hosts)

    def was_gone(self, history: History) -> bool:
        """Say whether, for one operation, a message went over each link when one had come over the link before.

        The time of an operation is until its end. What it hands on is done later: then it is until its user begins
        another, or the run ends. A message that something else caused in this time is taken for its own.
        """
        if self.hosts[0] != USER:
            return self._end_s(history, 0.0, "") is not None
        operations = history.operations()
        for number, each in enumerate(operations):
            ends = (other.invoked for other in operations[number + 1 :] if other.user == each.user)
            until = next(ends, None) if self.is_handed_on else each.completed
            end_s = self._end_s(history, each.invoked.at_s, each.invoked.host)
            if end_s is not None and (until is None or end_s <= until.at_s):
                return True
        return False

    def _end_s(self, history: History, at_s: float, user: str) -> float | None:
        """Return when what a user began could have come to the end, None if it could not."""
        for link in pairwise(user if host == USER else host for host in self.hosts):
            traffic = history.links.get(link)
            arrived_s = None if traffic is None else traffic.arrival_s(at_s)
            if arrived_s is None:
                return None
            at_s = arrived_s
        return at_s


def ways_of(system: System) -> list[Way]:
    """Return every way of work through a system."""
    needs, readers = system.topology(), system.handed_on()
    taking = {reader for found in readers.values() for reader in found}
    sources = [host for host in needs if not needs.in_degree(host) and host not in taking]
    return [
        Way(hosts, any(link in readers for link in pairwise(hosts)))
        for source in sources
        for hosts in _onward((source,), needs, readers)
    ]


def _onward(
    way: tuple[str, ...], needs: "nx.DiGraph[str]", readers: Mapping[tuple[str, str], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """Yield the ways that begin like this one; nothing is asked over one link twice."""
    here, before = way[-1], way[-2:-1]
    takes_up = bool(before) and not needs.has_edge(*before, here)
    if takes_up and needs.has_edge(USER, here):
        yield (*way, USER)
        return
    needed = [each for each in needs.successors(here) if each not in before and (here, each) not in pairwise(way)]
    onward: list[tuple[str, ...]] = [(each, reader) for each in needed for reader in readers.get((here, each), ())]
    onward += [(each,) for each in needed if needs.out_degree(each)]
    asked = [each for each in needed if (here, each) not in readers and not needs.out_degree(each)]
    begun = [way]
    if takes_up and onward and asked:
        begun = [(*way, each, here) for each in asked]
    else:
        yield from ((*way, each) for each in asked)
    if before and not needed:
        yield way
    for each in begun:
        for rest in onward:
            yield from _onward((*each, *rest), needs, readers)
