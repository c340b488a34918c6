"""Regressions: failures that were found once, replayed on the system as it is now."""

import enum
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from simulator.divergence import divergence, record_of
from simulator.errors import InputError, WavetankError
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.system import System
from simulator.trace import Trace, load_trace

__all__ = ["CORPUS", "Regression", "Standing", "exit_code", "replay_regression", "traces_in"]

CORPUS = Path("regressions")
"""Where traces are kept that are replayed before anything is searched, unless another place is named."""


class Standing(enum.Enum):
    """What has become of a failure."""

    FIXED = "fixed"  # its steps break no promise
    STILL_FAILING = "still failing"  # they break the same promise at the same site, be it in another history
    BREAKS_ANOTHER = "breaks another"  # they break another promise, or the same one at another site
    DIVERGED = "diverged"  # two replays differ: nothing can be said
    DOES_NOT_FIT = "does not fit"  # its promise, operations or hosts are gone, or it could not be judged
    DAMAGED = "damaged"  # the file cannot be read, or is no trace


EXIT_CODES = {
    Standing.STILL_FAILING: 1,
    Standing.BREAKS_ANOTHER: 1,
    Standing.DIVERGED: 3,
    Standing.DOES_NOT_FIT: 2,
    Standing.DAMAGED: 2,
    Standing.FIXED: 0,
}
"""The worst first."""


@attrs.frozen
class Regression:
    """What has become of the failure in a file, in a sentence too. `hash` is that of the history it makes now."""

    path: Path
    standing: Standing
    says: str
    trace: Trace | None = None
    hash: str = ""


def exit_code(regressions: Iterable[Regression]) -> int:
    """Return 0 when all are fixed, else the code of the worst: 1 it fails, 3 it diverged, 2 it could not be told."""
    standings = {each.standing for each in regressions}
    return next((code for standing, code in EXIT_CODES.items() if standing in standings), 0)


def traces_in(paths: Iterable[Path]) -> list[Path]:
    """Return the files of a corpus: those named, and every `*.json` in and below a directory. Raises InputError."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not inside or not path.exists():
            raise InputError(
                f"{path} {'holds no trace' if path.exists() else 'does not exist'}. Name a trace, or a directory of "
                f"traces. To keep one that wavetank check saved: cp .wavetank/failures/ID/trace.json {CORPUS}/ID.json"
            )
        found += inside
    return list(dict.fromkeys(found))


def replay_regression(path: Path, system_of: Callable[[Trace], System]) -> Regression:
    """Replay the trace in a file on the system that is given for it, twice unless it makes the saved history.

    What is wrong with the file, or with the system that it is of, is an answer too.
    """
    try:
        trace = load_trace(path)
    except InputError as error:
        return Regression(path, Standing.DAMAGED, str(error))
    try:
        system = system_of(trace)
        system.check_declared()
        properties = system.chosen_properties(())
        system.chosen_properties((trace.broken.property,))
        result = simulate(system, trace.plan, properties)
        is_same = result.history.hash == trace.hash
        again = result if is_same else simulate(system, trace.plan, properties)
    except WavetankError as error:
        return Regression(path, Standing.DOES_NOT_FIT, str(error), trace)
    if again.history.hash != result.history.hash:
        diverged = divergence(system, trace.plan, record_of(result.history), record_of(again.history))
        return Regression(path, Standing.DIVERGED, str(diverged), trace)
    return Regression(path, *_standing(trace, result), trace, result.history.hash)


def _standing(trace: Trace, result: Result) -> tuple[Standing, str]:
    broken = trace.broken
    verdict = result.verdicts[broken.property]
    if verdict.violation is not None and verdict.violation.site == broken.site:
        history = "the same history" if result.history.hash == trace.hash else "another history"
        return Standing.STILL_FAILING, f"{verdict.violation.evidence} ({history})"
    if result.violated:
        name = broken.property if verdict.violation is not None else result.violated[0]
        violation = result.verdicts[name].violation
        assert violation is not None
        place = f" at another site ({violation.site!r}, not {broken.site!r})" if name == broken.property else ""
        return Standing.BREAKS_ANOTHER, f"{name} is violated{place}: {violation.evidence}"
    return Standing.FIXED, f"not judged: {verdict.missing}" if verdict.missing else ""
