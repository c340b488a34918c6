"""Behaviours: what a run did, as a set of small features. When runs show no new ones, more of them teach little.

Coarse on purpose. Of 512 behaviours of the chat platform 367 came in 25 runs, 484 in 200, 495 in 400, and the last in
run 1,295 of 1,950. Pairs of successive observations on a host, and operations by each kind of fault, still came anew in
one run of six after 800: they would never have been flat.
"""

from collections.abc import Iterable

from simulator.history import Event, Kind
from simulator.run import Result

__all__ = ["behaviours"]


def behaviours(result: Result) -> Iterable[str]:
    """Return the behaviours of a run, each once, in an order that is the same in every process.

    What each property said (of a *sometimes*: whether it was reached); what was observed where, and whether a fault was
    under way; how each operation ended, and by what it was met while it was open: which host suffered, and how.
    """
    seen = {f"{name} {verdict.outcome.value}": None for name, verdict in result.verdicts.items()}
    under_way: dict[tuple[str, str], int] = {}  # fault kinds at their last place, and how many of each
    met: dict[int | None, dict[tuple[str, str], None]] = {}  # by open operation
    for event in result.history.events:
        if event.kind is Kind.FAULT:
            struck = event.name, _sufferer(event)
            if event.data["phase"] == "end":
                under_way[struck] -= 1
                if not under_way[struck]:
                    del under_way[struck]
            else:
                if event.data["for_s"]:  # others are over as soon as they have begun
                    under_way[struck] = under_way.get(struck, 0) + 1
                for faults in met.values():
                    faults[struck] = None
        elif event.kind is Kind.INVOKE:
            met[event.operation] = dict.fromkeys(under_way)
        elif event.kind is Kind.OBSERVE:
            seen[f"{event.name} on {_place(event.host)}{' during a fault' if under_way else ''}"] = None
        elif event.kind is not Kind.MARK:
            how = event.kind.value
            for fault, place in met.pop(event.operation, {}) or {("no fault", "nobody"): None}:
                seen[f"{event.name} {how} while {place} suffers"] = None
                seen[f"{how} during {fault}"] = None
    return seen


def _sufferer(event: Event) -> str:
    at = event.data["at"]
    assert isinstance(at, list)
    return _place(str(at[-1]))


def _place(host: str) -> str:
    """Return a host as behaviours name it: one user is as good as another."""
    return host.partition(":")[0]
