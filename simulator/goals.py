"""Goals: what a search must have reached, or it has not tried what matters. They follow from the system's declaration.

Nobody lists them by hand, so none can be forgotten: each way of work, each transition of each state
machine, each fault at each place, each operation while each host suffers, and each *sometimes*.
"""

from collections.abc import Iterator

import attrs

from simulator.fault import FAULT_KINDS
from simulator.history import Event, History, Kind, Reading
from simulator.property import Expectation, Property
from simulator.system import System
from simulator.ways import ways_of

__all__ = ["FAULT", "KINDS", "ORDER", "PATH", "Goal", "goals_of", "reached_in"]

PATH, TRANSITION, FAULT, ORDER, SOMETIMES = KINDS = ("path", "transition", "fault", "order", "sometimes")


@attrs.frozen(order=True)
class Goal:
    """One thing to reach: its kind, and its name within that."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def goals_of(system: System) -> list[Goal]:
    """Return every goal of a system, each kind's together."""
    return [
        *(Goal(PATH, str(way)) for way in ways_of(system)),
        *(Goal(TRANSITION, name) for name in system.transitions()),
        *(Goal(FAULT, name) for name in _faults(system)),
        *(Goal(ORDER, name) for name in _orders(system)),
        *(Goal(SOMETIMES, each.name) for each in _sometimes(system)),
    ]


def reached_in(system: System, history: History) -> dict[Goal, None]:
    """Return the goals that one run reached, in an order that is the same in every process."""
    used = [Goal(PATH, str(way)) for way in ways_of(system) if way.was_gone(history)]
    moved = [Goal(TRANSITION, name) for name in system.transitions_in(history)]
    struck = [Goal(FAULT, _fault(event.name, _at(event))) for event in history.faults()]
    ordered = [Goal(ORDER, name) for name in _orders_in(history)]
    reading = Reading(history)
    met = [Goal(SOMETIMES, each.name) for each in _sometimes(system) if each.check(reading)]
    return dict.fromkeys([*used, *moved, *struck, *ordered, *met])


def _sometimes(system: System) -> list[Property]:
    return [each for each in system.all_properties() if each.expectation is Expectation.SOMETIMES]


# Faults at places


def _faults(system: System) -> Iterator[str]:
    for kind, places in system.possible_faults().items():
        for at in places:
            yield _fault(kind, at)
            if kind in FAULT_KINDS and FAULT_KINDS[kind].one_way:
                yield _fault(kind, at[::-1])


def _fault(kind: str, at: tuple[str, ...]) -> str:
    return f"{kind} at {' > '.join(_plain(place) for place in at)}"


def _at(event: Event) -> tuple[str, ...]:
    at = event.data["at"]
    assert isinstance(at, list)
    return tuple(map(str, at))


def _plain(host: str) -> str:
    """Return a host as goals name it: one user is as good as another."""
    return host.partition(":")[0]


# Operations while a host suffers


def _orders(system: System) -> Iterator[str]:
    lasting = [
        places
        for kind, places in system.possible_faults().items()
        if kind not in FAULT_KINDS or FAULT_KINDS[kind].end is not None
    ]
    struck = dict.fromkeys(at[-1] for places in lasting for at in places)
    for name, each in system.operations().items():
        if each.weight:
            yield from (_order(name, host) for host in struck)


def _orders_in(history: History) -> Iterator[str]:
    suffering: dict[str, int] = {}
    for event in history.events:
        if event.kind is Kind.FAULT and event.data["for_s"]:
            host, change = _plain(_at(event)[-1]), 1 if event.data["phase"] == "begin" else -1
            suffering[host] = suffering.get(host, 0) + change
        elif event.kind is Kind.INVOKE:
            yield from (_order(event.name, host) for host, count in suffering.items() if count)


def _order(operation: str, host: str) -> str:
    return f"{operation} while {host} suffers"
