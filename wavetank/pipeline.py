"""`wavetank pipeline`: the stages from unit to chaos, one after another, as a file describes them."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from math import inf
from os import cpu_count
from pathlib import Path
from shlex import quote

import attrs
import click
import yaml

from simulator.errors import InputError, known_names
from simulator.load.quantity import seconds_of
from simulator.system import load_system
from wavetank.arguments import DEPLOYED_SYSTEM, SEED_MAX, defect_option
from wavetank.children import INTERRUPTED, Children
from wavetank.llm_endpoint import check_llm
from wavetank.provenance import SCALE, provenance
from wavetank.results import FILE, as_json, check_writable, write_results
from wavetank.stages import Chaos, EndToEnd, Integration, Performance, Stage, Unit, percent_of, read_pipeline
from wavetank.staging import checked_release

__all__ = ["pipeline"]

FILE_DEFAULT = Path("pipeline.yaml")
EVIDENCE = Path(".wavetank") / "evidence"
SECONDS_MIN = 5.0
"""No scale makes durations shorter than this: in less nothing could be measured."""
TOLD_LINES_MAX = 6

EPILOG = """
\b
Examples:
  wavetank pipeline run                            what pipeline.yaml says
  wavetank pipeline run ci.yaml --scale 0.01       the same, a hundred times shorter
  wavetank pipeline export > .github/workflows/wavetank.yml

\b
Such a file:
  stages:
    - unit:        {parallel: true, fail_fast: true, coverage: 90%}
    - integration: {services: [postgres, redis, clickhouse], parallel: false, retries: 2}
    - e2e:         {environment: staging, users: synthetic, duration: 30m}
    - performance: {load_profile: standard, duration: 1h, success_rate: 99%}
    - chaos:       {experiments: [network, service, state], duration: 2h, recovery_time: < 5m}

\b
Each stage runs commands of wavetank and keeps their results as evidence for wavetank gate. A key
that a stage does not have is refused by name: unit and integration search in simulation and have
no environment; the others have simulation, unless staging is said. Exit codes: 1 a stage failed,
2 one could not run.
"""


@click.group(epilog=EPILOG)
def pipeline() -> None:
    """Run the stages from unit to chaos, or make a workflow of them."""


@attrs.frozen
class Job:
    """One command of a stage, and the name of its evidence."""

    name: str
    words: tuple[str, ...]

    @property
    def evidence(self) -> Path:
        """Where its result is written, in the directory where a pipeline runs."""
        return EVIDENCE / f"{self.name}.json"


@attrs.frozen
class Done:
    """What became of a job: its exit code (2 if it has left no result), its last words, its tries, and their time."""

    job: Job
    code: int
    said: str
    tries: int
    took_s: float


@attrs.define
class Ran:
    """What became of a stage."""

    name: str
    done: list[Done] = attrs.field(factory=list)

    @property
    def code(self) -> int:
        """0, or the gravest of what its jobs ended with: interrupted, failed, could not run, or was killed."""
        codes = {each.code for each in self.done}
        return next((code for code in (INTERRUPTED, 1, 3, 4, 2) if code in codes), 1 if any(codes) else 0)


@attrs.frozen
class Runner:
    """Runs the jobs of stages: on which system, how much shorter, with which seed."""

    system: str
    components: Sequence[str]
    hosts: Sequence[str]
    scale: float
    seed: int | None
    defects: tuple[str, ...]

    def jobs(self, stage: Stage) -> list[Job]:
        """Return the commands that a stage comes to."""
        match stage:
            case Unit():
                made = [self._matrix(name, "unit") for name in self.components]
                if stage.coverage is not None:
                    least = f"{percent_of(stage.coverage):g}"
                    made.append(
                        self._job("coverage", self.system, "--critical-only", "--generate", "--fail-under", least)
                    )
                return made
            case Integration():
                for service in stage.services:
                    if service not in self.hosts:
                        raise InputError(f"integration: no services={service!r}. {known_names(self.hosts)}")
                struck = tuple(word for service in stage.services for word in ("--struck", service))
                return [self._matrix(name, "integration", *struck) for name in self.components]
            case EndToEnd():
                users = () if stage.users == "synthetic" else ("--users", str(stage.users))
                return [self._job("e2e", "--system", self.system, *users, "--duration", self._lasting(stage.duration))]
            case Performance():
                return [self._load(stage)]
            case Chaos():
                kinds = tuple(word for kind in stage.experiments for word in ("--kind", kind))
                lasts = () if stage.duration is None else ("--for", self._lasting(stage.duration))
                within = () if stage.recovery_time is None else ("--recovery-time", stage.recovery_time)
                return [self._job("chaos", "--system", self.system, *kinds, *lasts, *within)]
        raise AssertionError(stage)

    def _load(self, stage: Performance) -> Job:
        words = ["--profile", stage.profile]
        words += [] if stage.users is None else ["--users", str(stage.users)]
        words += ["--duration", self._lasting(stage.load().duration)]
        words += [] if stage.success_rate is None else ["--objective", f"success_rate > {stage.success_rate}"]
        return self._job("load", self.system, *words)

    def _matrix(self, component: str, kind: str, *words: str) -> Job:
        job = self._job("matrix", self.system, "--component", component, "--kind", kind, *words)
        return attrs.evolve(job, name=f"matrix-{kind}-{component}")

    def _job(self, command: str, *words: str) -> Job:
        planted = tuple(word for name in self.defects for word in ("--defect", name))
        seed = () if self.seed is None else ("--seed", str(self.seed))
        return Job(command, (command, *words, *planted, *seed))

    def _lasting(self, duration: str | float) -> str:
        whole_s = seconds_of(duration)
        return f"{max(whole_s * self.scale, min(whole_s, SECONDS_MIN)):g}"


@pipeline.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=FILE_DEFAULT)
@click.option("--system", "system_name", default=DEPLOYED_SYSTEM, show_default=True, help="module:object")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help=f"Of durations, each at least {SECONDS_MIN:g} s.",
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat all that is drawn.")
@click.option("--next-release", default="", metavar="PYTHON", help="For stagings: see wavetank staging up --help.")
@click.option(
    "--llm",
    default="",
    metavar="URL",
    help="For stagings: a real language model, with OPENAI_API_KEY and OPENAI_MODEL.",
)
@click.option("--keep-going", is_flag=True, help="Go on with the next stage when one has failed.")
@defect_option
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def run(
    file: Path,
    system_name: str,
    scale: float,
    seed: int | None,
    next_release: str,
    llm: str,
    keep_going: bool,
    defects: tuple[str, ...],
    json_file: Path | None,
) -> int:
    """Run the stages of FILE."""
    check_writable(json_file)
    stages = read_pipeline(file)
    staged = _staging_words(file, stages, next_release, llm, defects)
    system = load_system(system_name).with_defects(defects)
    runner = Runner(system_name, [*system.components], system.host_names(), scale, seed, defects)
    planned = {name: runner.jobs(stage) for name, stage in stages.items()}
    for name, jobs in planned.items():
        if not jobs:
            raise InputError(f"{file}: {name}: nothing to run, since {system_name} has no components. Set them.")
    if scale != 1:
        click.echo(
            f"SCALED by {scale:g}: a stage lasts that much of what {file} says, but {SECONDS_MIN:g} s at least, and "
            "each run of a matrix and experiment its own time; this is no full run\n"
        )
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    for job in chain.from_iterable(planned.values()):
        job.evidence.unlink(missing_ok=True)  # of an earlier run: whatever becomes of this one, it is not its own
    ran: list[Ran] = []
    with Children({SCALE: str(scale)}) as children:
        for name, stage in stages.items():
            ran.append(Ran(name))
            _run_stage(stage, planned[name], staged, ran[-1], children)
            if children.are_told_to_end or (ran[-1].code and not keep_going):
                break
    left = [name for name in stages if name not in {each.name for each in ran}]
    code = INTERRUPTED if children.are_told_to_end else next((each.code for each in ran if each.code), 0)
    for name in left:
        why = "interrupted" if children.are_told_to_end else "a stage before it failed"
        click.echo(f"- {name}: not run: {why}")
    scaled = f", SCALED by {scale:g}" if scale != 1 else ""
    click.echo(f"\n{'passed' if not code else 'FAILED'}{scaled}")
    body = {
        **provenance("pipeline"),
        "file": str(file),
        "system": system_name,
        "defects": defects,
        "scale": scale,
        "exit_code": code,
        "interrupted": children.are_told_to_end,
        "stages": [{"name": each.name, "exit_code": each.code, "jobs": each.done} for each in ran],
        "not_run": left,
    }
    written = write_results(json_file, as_json(body))
    return code if code or written else 2


def _staging_words(
    file: Path, stages: Mapping[str, Stage], next_release: str, llm: str, defects: Sequence[str]
) -> list[str]:
    """Return the options with which stagings are started. Raises InputError for what could not be, or need not."""
    for option, value in (("--next-release", next_release), ("--llm", llm)):
        if value and not any(stage.is_staged for stage in stages.values()):
            raise InputError(f"{option} is for stages with environment: staging, and {file} has none. Leave it out.")
    words = [word for name in defects for word in ("--defect", name)]
    words += ["--next-release", checked_release(next_release)] if next_release else []
    if llm:
        check_llm(llm)
        words += ["--llm", llm]
    return words


def _run_stage(stage: Stage, jobs: Sequence[Job], staged: Sequence[str], ran: Ran, children: Children) -> None:
    """Run a stage: where it is to be, on a staging that is made for it, with these options, and taken down after it."""
    if not stage.is_staged:
        _run_jobs(stage, jobs, None, ran, children)
        return
    with tempfile.TemporaryDirectory(prefix="wavetank-pipeline-") as name:
        directory = Path(name)
        try:
            up = _brought_up(staged, directory, children)
            if up.code:
                ran.done.append(up)
                click.echo("\n".join(_told(ran.name, up)))
            else:
                _run_jobs(stage, jobs, directory / "target.toml", ran, children)
        finally:
            children.run(("staging", "down"), directory, is_last=True)


def _brought_up(staged: Sequence[str], directory: Path, children: Children) -> Done:
    """Start a staging. Whatever one ends with that does not come up: its stage could not run."""
    begun_s, job = time.perf_counter(), Job("staging", ("staging", "up", *staged))
    ended = children.run(job.words, directory)
    code = ended.code if ended.code in (0, INTERRUPTED) else 2
    return Done(job, code, _last(ended.err.strip().splitlines()), 1, time.perf_counter() - begun_s)


def _run_jobs(stage: Stage, jobs: Sequence[Job], target: Path | None, ran: Ran, children: Children) -> None:
    """Run the jobs of a stage, as many at once as it allows, until one fails if it is to fail fast."""
    at_once = (cpu_count() or 1) if getattr(stage, "parallel", False) else 1
    fail_fast = getattr(stage, "fail_fast", False)

    def attempt(job: Job) -> Done | None:
        if fail_fast and ran.code:
            return None
        done = _tried(job, target, stage.retries, children)
        ran.done.append(done)
        return done

    with ThreadPoolExecutor(at_once) as pool:
        for done in pool.map(attempt, jobs):
            if done is not None:
                click.echo("\n".join(_told(ran.name, done)))


def _tried(job: Job, target: Path | None, retries: int, children: Children) -> Done:
    """Run a job until it succeeds or its retries are used up. What it has left before is no result of it now."""
    begun_s = time.perf_counter()
    words = [*job.words, "--json", str(job.evidence.resolve())]
    if target is not None:
        # A staging has its defects itself, and commands would refuse to plant them there.
        words = [*_without(words, "--defect"), "--target", str(target)]
    tries = 0
    while True:
        tries += 1
        job.evidence.unlink(missing_ok=True)
        ended = children.run(words, Path.cwd())
        code, said = ended.code, (ended.out.strip() or ended.err.strip()).splitlines()
        if not code and not job.evidence.exists():
            code, said = 2, [*said, f"it ended well and left no result in {job.evidence}"]
        if code in (0, INTERRUPTED) or tries > retries:
            return Done(job, code, _last(said), tries, time.perf_counter() - begun_s)


def _last(lines: Sequence[str]) -> str:
    return "\n".join(lines[-TOLD_LINES_MAX:])


def _without(words: Sequence[str], option: str) -> Iterator[str]:
    """Yield words, without an option and its values."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        else:
            yield word


def _told(stage: str, done: Done) -> Iterator[str]:
    again = f", at the {done.tries}. try" if done.tries > 1 else ""
    yield f"{'✗' if done.code else '✓'} {stage}: {done.job.name} in {done.took_s:.1f} s{again}"
    if done.code:
        yield f"    exit code {done.code}: wavetank {' '.join(done.job.words)}"
        yield from (f"    {line}" for line in done.said.splitlines())


@pipeline.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=FILE_DEFAULT)
def export(file: Path) -> int:
    """Print a GitHub Actions workflow that runs the pipeline of FILE."""
    stages = read_pipeline(file)
    steps: list[dict[str, object]] = [
        {"uses": "actions/checkout@v4"},
        {"uses": "actions/setup-python@v5", "with": {"python-version": "3.12"}},
        {"run": "pip install ."},
    ]
    if any(stage.is_staged for stage in stages.values()):
        steps.append(
            {
                "name": "stores for the staging",
                "run": "sudo apt-get install -y redis-server postgresql clickhouse-server",
            }
        )
    steps += [
        {"name": ", ".join(stages), "run": f"wavetank pipeline run {quote(str(file))} --json .wavetank/pipeline.json"},
        # Whatever became of the stages. The gate's exit code is that of its step: the summary has one of its own.
        {"name": "gate", "if": "always()", "run": "wavetank gate pre --markdown .wavetank/summary.md"},
        {"name": "summary", "if": "always()", "run": 'cat .wavetank/summary.md >> "$GITHUB_STEP_SUMMARY"'},
        {
            "if": "always()",
            "uses": "actions/upload-artifact@v4",
            "with": {"name": "wavetank", "path": ".wavetank", "include-hidden-files": True},
        },
    ]
    workflow = {
        "name": "wavetank",
        "on": ["push", "pull_request"],
        "jobs": {"pipeline": {"runs-on": "ubuntu-latest", "steps": steps}},
    }
    click.echo(yaml.safe_dump(workflow, sort_keys=False, width=inf), nl=False)
    return 0
