"""The storm of a run: its faults as spans of time, and the questions that promises with a time in them ask of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Self

import attrs

from properties.places import PROCESSES
from simulator.history import Event, Kind, Reading

__all__ = ["ENDS_OF_LIFE", "FELT_S", "Disturbance", "Storm", "ends_life"]

ENDS_OF_LIFE = ("crash", "vanish")
FELT_S = 10.0
"""How long a disturbance may matter after its end: until breakers have closed and what was late has been done."""


@attrs.frozen
class Disturbance:
    """One fault: its kind, the hosts it concerns, and from when until when, in seconds since the run began."""

    kind: str
    places: tuple[str, ...]
    began_s: float
    ended_s: float

    def touches(self, *hosts: str) -> bool:
        """Whether it strikes one of these hosts, or a link of one."""
        return any(place in hosts for place in self.places)

    @property
    def is_lasting(self) -> bool:
        """Whether it leaves connections to a dependency behind that look well, and are found dead only when used."""
        return self.kind == "silence" or (self.kind == "vanish" and not self.touches(*PROCESSES))

    def is_among(self, *hosts: str) -> bool:
        """Whether it strikes one of these hosts, or a link between two of them, and nothing else."""
        return all(place in hosts for place in self.places)


def anything(_disturbance: Disturbance) -> bool:
    """Leave no disturbance out."""
    return True


@attrs.frozen
class Storm:
    """All disturbances of a run, in the order in which they began. One without an end lasted as long as it was to."""

    disturbances: Sequence[Disturbance]

    @classmethod
    def of(cls, history: Reading) -> Self:
        """Pair the beginnings of faults with their ends."""
        ends: defaultdict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
        found: list[Disturbance] = []
        for event in reversed(history.faults()):
            places = tuple(map(str, event.data.get("at") or (event.host,)))  # type: ignore[arg-type]
            if event.data["phase"] == "end":
                ends[event.name, places].append(event.at_s)
                continue
            later = ends[event.name, places]
            lasts_s = float(event.data.get("for_s") or 0.0)  # type: ignore[arg-type]
            # Backwards the nearest end comes last. Of two equal faults that overlap either end will do.
            found.append(Disturbance(event.name, places, event.at_s, later.pop() if later else event.at_s + lasts_s))
        return cls(tuple(reversed(found)))

    def during(self, from_s: float, to_s: float, where: Callable[[Disturbance], bool] = anything) -> list[Disturbance]:
        """Return what was going on at some moment of a span."""
        return [each for each in self.disturbances if each.began_s <= to_s and each.ended_s >= from_s and where(each)]

    def felt(self, from_s: float, to_s: float, where: Callable[[Disturbance], bool] = anything) -> list[Disturbance]:
        """Return what may have mattered at some moment of a span, though it was over before."""
        begun = (each for each in self.disturbances if each.began_s <= to_s and where(each))
        return [each for each in begun if each.is_lasting or each.ended_s + FELT_S >= from_s]

    def time_s(self, from_s: float, to_s: float, where: Callable[[Disturbance], bool] = anything) -> float:
        """Return for how much of a span something was going on."""
        total, covered_s = 0.0, from_s
        for each in self.during(from_s, to_s, where):
            began_s, ended_s = max(each.began_s, covered_s), min(each.ended_s, to_s)
            if ended_s > began_s:
                total += ended_s - began_s
                covered_s = ended_s
        return total

    def struck_before(self, at_s: float, *hosts: str) -> bool:
        """Whether anything has touched one of these hosts until then."""
        return any(each.began_s <= at_s and each.touches(*hosts) for each in self.disturbances)


def ends_life(event: Event) -> bool:
    """Whether, at this fault, its host loses what it had in memory.

    A host that is told to end goes on until its work is done; what is certain to be new is what is launched after it.
    """
    phase = event.data.get("phase") if event.kind is Kind.FAULT else None
    return (event.name in ENDS_OF_LIFE and phase == "begin") or (event.name == "terminate" and phase == "end")
