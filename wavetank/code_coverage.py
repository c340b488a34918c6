"""Lines and branches of the system's own code, by coverage.py."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import attrs
from coverage import Coverage
from coverage.exceptions import CoverageException

from simulator.errors import InputError

__all__ = ["CodeCoverage", "Measured"]

MISSING_SHOWN_MAX = 12


@attrs.frozen
class File:
    """One file: how many of its lines and branches there are and were run, and which lines were not."""

    path: str
    lines: int
    lines_run: int
    branches: int
    branches_run: int
    missing: tuple[int, ...]

    @property
    def percent(self) -> float:
        """How much of it was run, as coverage.py counts it: lines and branches together."""
        of = self.lines + self.branches
        return 100 * (self.lines_run + self.branches_run) / of if of else 100.0


@attrs.frozen
class Measured:
    """All files, the least covered first."""

    files: tuple[File, ...]

    @property
    def percent(self) -> float:
        """How much was run of all of them."""
        of = sum(each.lines + each.branches for each in self.files)
        return 100 * sum(each.lines_run + each.branches_run for each in self.files) / of if of else 100.0

    def lines(self) -> Iterator[str]:
        """Yield a line per file."""
        width = max((len(each.path) for each in self.files), default=0)
        for each in self.files:
            lines = f"{each.lines_run} of {each.lines} lines, {each.branches_run} of {each.branches} branches"
            shown = ", ".join(map(str, each.missing[:MISSING_SHOWN_MAX]))
            more = ", ..." if len(each.missing) > MISSING_SHOWN_MAX else ""
            yield f"{each.percent:5.1f} %  {each.path:{width}}  {lines}" + (f"; not {shown}{more}" if shown else "")
        yield f"{self.percent:5.1f} %  of the code"


class CodeCoverage:
    """Watches which lines of packages are run while it is entered: what was imported before was not seen to be."""

    def __init__(self, packages: Sequence[str]) -> None:
        loaded = [name for name in packages if name in sys.modules]
        self._coverage = Coverage(data_file=None, branch=True, source_pkgs=[*packages], messages=False)
        self.is_late = bool(loaded)
        """Whether some of it had been imported before."""

    def __enter__(self) -> Self:
        self._coverage.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._coverage.stop()

    def measured(self) -> Measured:
        """Return what was run. Raises InputError when there is no such code."""
        files = []
        try:
            for name in self._coverage.get_data().measured_files():
                analysis = self._coverage._analyze(name)
                numbers = analysis.numbers
                files.append(
                    File(
                        _relative(name),
                        numbers.n_statements,
                        numbers.n_executed,
                        numbers.n_branches,
                        numbers.n_executed_branches,
                        tuple(sorted(analysis.missing)),
                    )
                )
        except CoverageException as error:
            raise InputError(f"the code could not be measured: {error}. Name its package with --source.") from error
        if not files:
            raise InputError("none of the system's own code was run. Name its package with --source.")
        return Measured(tuple(sorted(files, key=lambda each: (each.percent, each.path))))


def _relative(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else name
