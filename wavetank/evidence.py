"""Evidence: the results that commands wrote, as far as a gate reads them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import attrs
import msgspec

__all__ = [
    "ChaosResult",
    "CoverageResult",
    "E2eResult",
    "Evidence",
    "LoadResult",
    "MatrixResult",
    "ObserveResult",
    "Result",
    "evidence_in",
    "least_scale",
    "whole",
]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What every result says: what made it, of what, and how that ended."""

    command: str
    made_at: Annotated[datetime, msgspec.Meta(tz=True)]
    commit: str | None
    module: str | None = None
    system: str = ""
    defects: tuple[str, ...] = ()
    target: str | None = None
    target_sha256: str | None = None
    scale: float | None = None
    exit_code: int = 0
    interrupted: bool = False


class Cell(msgspec.Struct, frozen=True):
    """One cell of a matrix."""

    component: str
    kind: str
    state: str
    ran: str
    why: str


class MatrixResult(Result, frozen=True, kw_only=True):
    """Some cells, and of which components there should be any."""

    components: tuple[str, ...]
    cells: tuple[Cell, ...]


class Wrong(msgspec.Struct, frozen=True):
    """What went wrong on one walk."""

    what: str


class Walked(msgspec.Struct, frozen=True):
    """How often one journey was walked, and what went wrong."""

    walked: int
    wrong: tuple[Wrong, ...]


class E2eResult(Result, frozen=True, kw_only=True):
    """Journeys, and those that the system comes with."""

    known_journeys: tuple[str, ...]
    journeys: dict[str, Walked]
    violated: tuple[str, ...]


class Objective(msgspec.Struct, frozen=True):
    """What became of one objective."""

    measure: str
    objective: str
    met: str


class Growth(msgspec.Struct, frozen=True):
    """How the memory of a host grew."""

    host: str
    is_leak: bool


class LoadResult(Result, frozen=True, kw_only=True):
    """Objectives and promises, and those that the system has."""

    known_objectives: tuple[str, ...]
    objectives: tuple[Objective, ...]
    known_promises: tuple[str, ...]
    verdicts: dict[str, str]
    violated: tuple[str, ...]
    growths: tuple[Growth, ...]
    growths_unjudged: tuple[str, ...] = ()


class Goal(msgspec.Struct, frozen=True):
    """Something that a search should reach."""

    kind: str
    name: str
    reached: bool


class CoverageResult(Result, frozen=True, kw_only=True):
    """Goals, and what went wrong on the way to them."""

    goals: tuple[Goal, ...]
    broken: tuple[str, ...]


class Told(msgspec.Struct, frozen=True):
    """What an experiment came to."""

    outcome: str
    violated: tuple[str, ...]


class Tagged(msgspec.Struct, frozen=True):
    """What an experiment is about."""

    tags: tuple[str, ...] = ()


class Journal(msgspec.Struct, frozen=True):
    """One experiment that was done."""

    experiment: Tagged
    wavetank: Told


class ChaosResult(Result, frozen=True, kw_only=True):
    """Experiments, those that cannot be done there, and the kinds of those that the system comes with."""

    known_experiments: dict[str, str]
    journals: dict[str, Journal]
    not_done: dict[str, str]


class Judged(msgspec.Struct, frozen=True):
    """What one promise came to."""

    name: str
    outcome: str


class ObserveResult(Result, frozen=True, kw_only=True):
    """What was seen of a deployment; `errors` is None where nobody looked for any."""

    events: int
    errors: tuple[str, ...] | None
    properties: tuple[Judged, ...]


RESULTS: Mapping[str, type[Result]] = {
    "matrix": MatrixResult,
    "e2e": E2eResult,
    "load": LoadResult,
    "coverage": CoverageResult,
    "chaos": ChaosResult,
    "observe": ObserveResult,
}


@attrs.frozen
class Evidence:
    """One result: its file, what it says, and what it is worth."""

    file: Path
    sha256: str
    result: Result

    @property
    def is_live(self) -> bool:
        """Whether it was made on a target."""
        return self.result.target is not None

    @property
    def deployment(self) -> str:
        """What it was made on."""
        return f"on {self.result.target}" if self.is_live else "simulated"

    def age_s(self, now: datetime) -> float:
        """How old it is, in seconds."""
        return (now - self.result.made_at).total_seconds()


def evidence_in(directory: Path) -> tuple[list[Evidence], list[str]]:
    """Return what a directory holds, the latest first, and of each file that is no result a sentence that says why."""
    found, damaged = [], []
    for file in sorted(directory.glob("*.json")):
        try:
            data = file.read_bytes()
            result = msgspec.json.decode(data, type=Result)
            result = msgspec.json.decode(data, type=RESULTS.get(result.command, Result))
        except (OSError, UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
            damaged.append(f"{file} is no whole result of a command of wavetank: {error}. Make it again or remove it.")
        else:
            found.append(Evidence(file, hashlib.sha256(data).hexdigest(), result))
    found.sort(key=lambda each: each.result.made_at, reverse=True)
    return found, damaged


def whole(parts: Sequence[Evidence]) -> Evidence:
    """Return what results of one command, the latest first, come to: the latest, but parts of a matrix are one.

    That is as old as the oldest of the cells that count: the latest of each.
    """
    matrices = [(each, each.result) for each in parts if isinstance(each.result, MatrixResult)]
    if not matrices:
        return parts[0]
    cells: dict[tuple[str, str], tuple[Evidence, Cell]] = {}
    for each, result in matrices:
        for cell in result.cells:
            cells.setdefault((cell.component, cell.kind), (each, cell))
    used = [each for each in parts if any(each is by for by, _ in cells.values())] or [parts[0]]
    hashed = hashlib.sha256("".join(each.sha256 for each in used).encode()).hexdigest()
    return Evidence(
        used[0].file if len(used) == 1 else used[0].file.parent / "matrix*.json",
        used[0].sha256 if len(used) == 1 else hashed,
        msgspec.structs.replace(
            used[0].result,
            made_at=min(each.result.made_at for each in used),
            scale=least_scale(used),
            exit_code=0 if all(cell.state == "holds" for _, cell in cells.values()) else 1,
            interrupted=any(each.result.interrupted for each in used),
            components=tuple(dict.fromkeys(name for _, result in matrices for name in result.components)),
            cells=tuple(cell for _, cell in cells.values()),
        ),
    )


def least_scale(evidence: Iterable[Evidence]) -> float | None:
    """Return by how much the most shortened of it was scaled; None if all of it is full."""
    scales = [each.result.scale for each in evidence if each.result.scale not in (None, 1.0)]
    return min((each for each in scales if each is not None), default=None)
