"""A journey: what one user does, one thing after another, and what must come of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from simulator.errors import InputError
from simulator.history import Value
from simulator.load.objective import parse_objective
from simulator.load.quantity import seconds_of
from simulator.toml_file import read_toml

if TYPE_CHECKING:
    from simulator.system import System

__all__ = ["Journey", "Leg", "journeys_in", "read_journey"]

PAUSE_S = 1.0


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation, what must come of it, and how long it is until the next.

    `{number}` in a text argument is replaced by how many journeys the user has begun before. `expect` is whether it
    happens ("ok"), certainly does not ("refused"), or may or may not ("any"); `result` is what it must return, and
    `objectives` what must hold of it by what is measured of this one operation (`{degraded_rate = "< 1%"}`).
    """

    operation: str
    arguments: dict[str, Value] = {}
    pause: str | float = PAUSE_S
    expect: Literal["ok", "refused", "any"] = "ok"
    result: str | int | float | bool | None = None
    objectives: dict[str, str] = {}

    @property
    def pause_s(self) -> float:
        """How long it is until the next, in seconds."""
        return seconds_of(self.pause)


class Journey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user does to come to what they want."""

    title: str
    legs: tuple[Leg, ...]
    description: str = ""

    @property
    def lasts_s(self) -> float:
        """How long it takes, in seconds."""
        return sum(leg.pause_s for leg in self.legs)

    def check(self, where: str, system: "System") -> None:
        """Raise InputError for what users of the system cannot do."""
        if not self.legs:
            raise InputError(f"{where}: the journey has no legs. Add a [[legs]] with an operation.")
        declared = system.operations()
        for leg in self.legs:
            if leg.operation not in declared:
                raise InputError(f"{where}: no operation {leg.operation!r}. Known: {', '.join(declared)}.")
            declared[leg.operation].check_arguments(leg.arguments)
            _ = leg.pause_s, [parse_objective(*each) for each in leg.objectives.items()]


def journeys_in(directory: Path) -> dict[str, Journey]:
    """Return the journeys in a directory, by the names of their files. Raises InputError."""
    return {path.stem: read_journey(path) for path in sorted(directory.glob("*.toml"))}


def read_journey(path: Path) -> Journey:
    """Read one. Raises InputError."""
    return read_toml(path, Journey, "journey", "wavetank e2e")
