"""A corpus of regressions: replayed, told line by line as it goes, and as parts of a result for machines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import click
import msgspec

from simulator.regression import Regression, Standing, exit_code, replay_regression
from simulator.system import System
from simulator.trace import Trace
from wavetank.junit import Case, as_junit
from wavetank.results import write_results

__all__ = ["Corpus", "replay_corpus", "write_corpus"]

PROBLEMS = {Standing.FIXED: "", Standing.STILL_FAILING: "failure", Standing.BREAKS_ANOTHER: "failure"}
"""What a standing is to JUnit; every other is an error."""


@attrs.frozen
class Corpus:
    """What has become of the failures of a corpus, as far as it was replayed."""

    regressions: Sequence[Regression] = ()
    interrupted: bool = False
    real_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all are fixed; else that of the worst, or 130 when interrupted before one of them failed."""
        code = exit_code(self.regressions)
        return 130 if self.interrupted and code != 1 else code

    def as_json(self) -> list[dict[str, object]]:
        """Return one object per trace."""
        return [
            {
                "file": str(each.path),
                "standing": each.standing.value,
                "says": each.says,
                "property": each.trace and each.trace.broken.property,
                "site": each.trace and each.trace.broken.site,
                "system": each.trace and each.trace.system,
                "defects": each.trace and each.trace.defects,
                "hash_saved": each.trace and each.trace.hash,
                "hash": each.hash or None,
            }
            for each in self.regressions
        ]

    def cases(self) -> Iterator[Case]:
        """Yield one test case per trace."""
        for each in self.regressions:
            story = "\n".join(each.trace.story) if each.trace else ""
            yield Case("regressions", str(each.path), PROBLEMS.get(each.standing, "error"), each.says, story)
        if self.interrupted:
            yield Case("regressions", "corpus", "error", "interrupted")


def replay_corpus(paths: Sequence[Path], system_of: Callable[[Trace], System]) -> Corpus:
    """Replay every trace, tell of each when it is done, and sum up. An interrupt ends it with what is known by then."""
    done: list[Regression] = []
    interrupted, begun_s = False, time.perf_counter()
    width = max((len(str(path)) for path in paths), default=0)
    try:
        for path in paths:
            done.append(replay_regression(path, system_of))
            click.echo(f"{done[-1].standing.value.upper():14}  {path!s:{width}}  {_detail(done[-1])}".rstrip())
    except KeyboardInterrupt:
        interrupted = True
    _sum_up(done, of=len(paths))
    return Corpus(done, interrupted, time.perf_counter() - begun_s)


def write_corpus(corpus: Corpus, json_file: Path | None, junit_file: Path | None) -> int:
    """Write what became of a corpus for machines, and return the exit code."""
    body = {"exit_code": corpus.exit_code, "interrupted": corpus.interrupted, "regressions": corpus.as_json()}
    json = msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
    written = write_results(json_file, json, junit_file, as_junit("regressions", corpus.cases(), corpus.real_s))
    return corpus.exit_code or (0 if written else 2)


def _detail(regression: Regression) -> str:
    if regression.trace is None:
        return regression.says
    found_with = f", found with {', '.join(regression.trace.defects)}" if regression.trace.defects else ""
    says = f": {regression.says}" if regression.says else ""
    return f"{regression.trace.broken.property}{found_with}{says}"


def _sum_up(done: Sequence[Regression], *, of: int) -> None:
    counts = Counter(each.standing for each in done)
    summed = ", ".join(f"{counts[standing]} {standing.value}" for standing in Standing if counts[standing])
    vacuous = sum(each.standing is Standing.FIXED and each.says != "" for each in done)
    unjudged = f" ({vacuous} of the fixed not judged)" if vacuous else ""
    rest = f"; interrupted, {of - len(done)} not replayed" if len(done) < of else ""
    click.echo(f"\n{len(done)} of {of} regressions: {summed or 'none'}{unjudged}{rest}")
    failing = next((each for each in done if each.standing is Standing.STILL_FAILING), None)
    if failing is not None:
        click.echo(f"step by step:  wavetank replay {failing.path}")
