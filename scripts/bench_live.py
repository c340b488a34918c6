"""`scripts/bench live`: each kept failure replayed on real services, with its defect and without."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import attrs
import click
import msgspec

from scripts.bench_command import run_command
from scripts.bench_journal import append, read
from simulator.errors import EnvironmentFailedError, InputError

TRACES = Path(__file__).parents[1] / "tests" / "traces"
HEADER = """\
| failure | promise | with the defect | without |
|---|---|---|---|"""
EPILOG = """
\b
Examples:
  scripts/bench live --runs 10 --journal live.jsonl     hours; interrupted, the same command goes on
  scripts/bench live cache-without-user --runs 3        one of them
  scripts/bench live drain-read-then-delete --toxiproxy by way of the API of Toxiproxy
"""


@attrs.frozen
class Replayed:
    """What the runs of one trace on one staging came to. `problems` are why it is not expressible."""

    trace: str
    is_healthy: bool
    promise: str
    verdict: str
    findings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def worded(self) -> str:
        """Word it for a cell of the table."""
        if self.problems:
            return f"not expressible: {'; '.join(self.problems)}"
        counts = {each: self.findings.count(each) for each in dict.fromkeys(self.findings)}
        reproduced = f"{counts.pop('reproduced', 0)} of {len(self.findings)}"
        others = [f"{each} {count}" for each, count in counts.items() if each != "not reproduced"]
        return ", ".join([reproduced, *others])


@contextmanager
def staged(defects: Sequence[str], *, toxiproxy: bool) -> Iterator[Path]:
    """Provide a directory in which a staging is up."""
    with tempfile.TemporaryDirectory(prefix="wavetank-live-") as name:
        directory = Path(name)
        options = [word for defect in defects for word in ("--defect", defect)] + ["--toxiproxy"] * toxiproxy
        try:
            up = wavetank(directory, "staging", "up", *options)
            if up.returncode:
                raise EnvironmentFailedError(up.stderr.strip())
            yield directory
        finally:
            wavetank(directory, "staging", "down")


def wavetank(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of wavetank's in a directory."""
    command = [sys.executable, "-m", "wavetank", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def replayed(directory: Path, path: Path, runs: int, *, is_healthy: bool) -> Replayed:
    """Replay a trace on the staging of a directory."""
    trace = directory / path.name
    shutil.copy(path, trace)
    ran = wavetank(directory, "replay", path.name, "--target", "target.toml", "-n", str(runs))
    try:
        result = msgspec.json.decode((directory / f"{path.stem}.replay.json").read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise EnvironmentFailedError(f"{path.stem} could not be replayed: {ran.stderr.strip()}") from error
    return Replayed(
        path.stem,
        is_healthy,
        str(result["property"]),
        str(result["verdict"]),
        tuple(each["finding"] for each in result.get("runs", ())),
        tuple(result.get("problems", ())),
    )


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, metavar="[DEFECT]...")
@click.option("--runs", type=click.IntRange(min=1), default=10, show_default=True, help="Of each on each staging.")
@click.option("--stagings", type=click.IntRange(min=1), default=3, show_default=True, help="How many at once.")
@click.option("--toxiproxy", is_flag=True, help="Strike links through the API of Toxiproxy.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append each result here, and do not measure again what is there.",
)
def bench(names: tuple[str, ...], runs: int, stagings: int, toxiproxy: bool, journal: Path | None) -> int:
    """Replay the kept failure of each DEFECT, or all, and print a table.

    Exit code 1 unless each that can be expressed is reproduced in nine of ten runs with its defect, and never without.
    """
    known = {path.stem: path for path in sorted(TRACES.glob("*.json"))}
    for name in names:
        if name not in known:
            raise InputError(f"no failure named {name!r} is kept. Known: {', '.join(known)}.")
    chosen = [known[name] for name in names or known]
    made = {(each.trace, each.is_healthy): each for each in read(journal, Replayed)}
    lock = Lock()

    def measure(paths: Sequence[Path], *, is_healthy: bool) -> None:
        missing = [path for path in paths if (path.stem, is_healthy) not in made]
        if not missing:
            return
        with staged([] if is_healthy else [missing[0].stem], toxiproxy=toxiproxy) as directory:
            for path in missing:
                result = replayed(directory, path, runs, is_healthy=is_healthy)
                with lock:
                    made[path.stem, is_healthy] = result
                    append(journal, result)
                    where = "without its defect" if is_healthy else "with it"
                    click.echo(f"{path.stem} {where}: {result.worded()}", err=True)

    with ThreadPoolExecutor(stagings) as pool:
        jobs = [pool.submit(measure, [path], is_healthy=False) for path in chosen]
        jobs += [pool.submit(measure, chosen[number::stagings], is_healthy=True) for number in range(stagings)]
        for job in jobs:
            job.result()
    print(HEADER)
    rows = [(made[path.stem, False], made[path.stem, True]) for path in chosen]
    for planted, healthy in rows:
        print(f"| {planted.trace} | {planted.promise} | {planted.worded()} | {healthy.worded()} |")
    good = [
        (planted, healthy)
        for planted, healthy in rows
        if planted.findings.count("reproduced") >= 0.9 * runs and not healthy.findings.count("reproduced")
    ]
    expressible = [planted for planted, _ in rows if not planted.problems]
    print(
        f"\n{len(good)} of {len(rows)} are reproduced in at least nine of ten runs with their defect and in none "
        f"without; {len(rows) - len(expressible)} cannot be expressed live."
    )
    return 0 if len(good) == len(expressible) else 1


if __name__ == "__main__":
    run_command(bench, "scripts/bench live")
