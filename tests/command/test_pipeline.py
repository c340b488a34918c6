"""`wavetank pipeline`: stages as a file describes them, each key honoured or refused by name."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import attrs
import pytest
import yaml

from models.system import deployed
from tests.command.stage import called, environment, refused, wavetank
from tests.live.stage import wait_until
from wavetank.children import Children, Ended
from wavetank.pipeline import Done, Job, Ran, Runner, _tried
from wavetank.provenance import provenance, scaled_lines
from wavetank.stages import read_pipeline

THEIRS = """
stages:
  - unit:        {parallel: true, fail_fast: true, coverage: 90%}
  - integration: {services: [postgres, redis, clickhouse], parallel: false, retries: 2}
  - e2e:         {environment: staging, users: synthetic, duration: 30m}
  - performance: {load_profile: standard, duration: 1h, success_rate: 99%}
  - chaos:       {experiments: [network, service, state], duration: 2h, recovery_time: < 5m}
"""
ROOT = Path(__file__).parents[2]
RUNNER = Runner("models.system:deployed", [*deployed.components], deployed.host_names(), 0.5, 3, ())


def read(directory: Path, text: str) -> dict[str, list[tuple[str, ...]]]:
    """Return the commands of each stage."""
    (directory / "pipeline.yaml").write_text(text)
    stages = read_pipeline(directory / "pipeline.yaml")
    return {name: [job.words for job in RUNNER.jobs(stage)] for name, stage in stages.items()}


def test_a_file_that_exists_at_users_is_honoured_in_every_key(tmp_path: Path) -> None:
    made = read(tmp_path, THEIRS)
    assert list(made) == ["unit", "integration", "e2e", "performance", "chaos"]
    system, seed = "models.system:deployed", ("--seed", "3")
    assert made["unit"][0] == ("matrix", system, "--component", "ClickHouse", "--kind", "unit", *seed)
    assert made["unit"][-1] == ("coverage", system, "--critical-only", "--generate", "--fail-under", "90", *seed)
    assert [words[3] for words in made["integration"]] == [*deployed.components]  # or a gate would block
    assert made["integration"][0][6:] == ("--struck", "postgres", "--struck", "redis", "--struck", "clickhouse", *seed)
    assert made["e2e"] == [("e2e", "--system", system, "--duration", "900", *seed)]
    (load,) = made["performance"]
    assert load[2:8] == ("--profile", "steady", "--duration", "1800", "--objective", "success_rate > 99%")
    (chaos,) = made["chaos"]
    assert chaos[3:] == (
        *("--kind", "network", "--kind", "service", "--kind", "state"),
        *("--for", "3600", "--recovery-time", "< 5m", *seed),
    )
    stages = read_pipeline(tmp_path / "pipeline.yaml")
    assert [name for name, each in stages.items() if each.is_staged] == ["e2e"]
    assert stages["integration"].retries == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("fail_fast", "fail_slow", "the stage unit cannot be honoured: Object contains unknown field `fail_slow`"),
        ("90%", "ninety", "'ninety' is no quantity"),
        ("90%", "90", "the stage unit cannot be honoured"),
        ("retries: 2", "retries: 99", "the stage integration cannot be honoured"),
        ("environment: staging", "environment: moon", "the stage e2e cannot be honoured"),
        ("unit:        {", "unit: {environment: staging, ", "Object contains unknown field `environment`"),
        ("retries: 2", "environment: simulation", "Object contains unknown field `environment`"),
        ("30m", "soon", "'soon' is not a duration"),
        ("standard", "enormous", "no load profile named 'enormous'"),
        ("success_rate: 99%", "success_rate: 5s", "'5s' is no percentage"),
        ("[network, service, state]", "[weather]", "the stage chaos cannot be honoured"),
        ("[network, service, state]", "[]", "Expected `array` of length >= 1 - at `$.experiments`"),
        ("[postgres, redis, clickhouse]", "[]", "Expected `array` of length >= 1 - at `$.services`"),
        ("users: synthetic", "users: -3", "- at `$.users`"),
        ("users: synthetic", "users: 0", "- at `$.users`"),
        ("users: synthetic", "users: 1000000", "- at `$.users`"),
        ("load_profile: standard", "users: 0", "- at `$.users`"),
        ("standard, duration: 1h", "standard, users: 9999, duration: 2h", "that is 1,199,880 operations"),
        ("standard", "missing.toml", "the load profile cannot be read"),
        ("coverage: 90%", "coverage: 90%, coverage: 1%", "is not YAML: the key 'coverage' is there twice"),
        ("stages:", "stages: []\nstages:", "is not YAML: the key 'stages' is there twice"),
        ("90%", "2001-99-99", "is not YAML: month must be in 1..12"),
        ("{parallel: true, fail_fast: true, coverage: 90%}", "[]", "Expected `object`, got `array`"),
        ("{parallel: true, fail_fast: true, coverage: 90%}", "false", "Expected `object`, got `bool`"),
        ("< 5m", "soon", "'soon' is nothing that a recovery time could keep to"),
        ("- chaos:", "- havoc:", "'havoc' is no stage"),
        ("- chaos:", "- unit:", "'unit' is no stage, or there twice"),
        ("stages:", "steps:", "is no pipeline"),
        ("{parallel: true,", "{parallel: true", "is not YAML"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in THEIRS
    (tmp_path / "pipeline.yaml").write_text(THEIRS.replace(old, new, 1))
    assert told in refused(tmp_path, "pipeline", "run")


@pytest.mark.parametrize(
    ("keys", "scale", "lasts"),
    [
        ("{}", 0.5, "300"),  # what its profile says
        ("{duration: 10s}", 0.01, "5"),
        ("{duration: 2s}", 0.01, "2"),
        ("{duration: 2s}", 1.0, "2"),
    ],
)
def test_no_duration_is_less_than_five_seconds_unless_it_was_before(
    tmp_path: Path, keys: str, scale: float, lasts: str
) -> None:
    (tmp_path / "pipeline.yaml").write_text(f"stages: [{{performance: {keys}}}]")
    (stage,) = read_pipeline(tmp_path / "pipeline.yaml").values()
    (job,) = attrs.evolve(RUNNER, scale=scale).jobs(stage)
    assert job.words[job.words.index("--duration") + 1] == lasts


@pytest.mark.parametrize(
    "words", [("e2e", "first-chat", "--duration", "1s"), ("coverage", "--critical-only", "--runs", "1")]
)
def test_a_command_of_a_scaled_pipeline_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Its result may be read alone."""
    monkeypatch.setenv("WAVETANK_SCALE", "0.005")
    _, out, _ = called(tmp_path, *words, "--seed", "1", "--json", "out.json")
    assert "SCALED by 0.005: this is no full run" in out.splitlines()
    assert json.loads((tmp_path / "out.json").read_bytes())["scale"] == 0.005
    monkeypatch.setenv("WAVETANK_SCALE", "brief")
    assert "WAVETANK_SCALE='brief' is no scale" in refused(tmp_path, *words)


def test_what_is_not_scaled_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVETANK_SCALE", raising=False)
    assert provenance("load")["scale"] is None
    monkeypatch.setenv("WAVETANK_SCALE", "1.0")
    assert provenance("load")["scale"] == 1
    assert not [*scaled_lines()]


def test_a_service_that_there_is_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("stages:\n  - integration: {services: [mysql]}\n")
    assert "integration: no services='mysql'. Known: redis, postgres," in refused(tmp_path, "pipeline", "run")
    (tmp_path / "pipeline.yaml").write_text("stages: [{e2e: {environment: staging}}]")
    assert "--next-release nothing is no program" in refused(tmp_path, "pipeline", "run", "--next-release", "nothing")


BRIEF = """
stages:
  - e2e: {users: 8, duration: 10m}
  - performance: {load_profile: peak, users: 5, duration: 10m, success_rate: 99%}
"""


def test_stages_run_one_after_another_and_leave_evidence(tmp_path: Path) -> None:
    """And a scale is told, before and after."""
    (tmp_path / "pipeline.yaml").write_text(BRIEF)
    code, out, _ = called(tmp_path, "pipeline", "run", "--scale", "0.02", "--seed", "1", "--json", "out.json")
    assert code == 0, out
    assert out.startswith("SCALED by 0.02: a stage lasts that much of what pipeline.yaml says, but 5 s at least")
    assert out.rstrip().endswith("passed, SCALED by 0.02")
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert [(each["name"], each["exit_code"]) for each in told["stages"]] == [("e2e", 0), ("performance", 0)]
    evidence = {path.name: json.loads(path.read_bytes()) for path in (tmp_path / ".wavetank/evidence").iterdir()}
    assert [each["scale"] for each in evidence.values()] == [0.02, 0.02]  # or a gate would take it for a full run
    assert evidence["e2e.json"]["users"] == 8
    assert evidence["load.json"]["load"]["duration"] == 12
    assert {"measure": "success_rate", "objective": "> 99%"}.items() <= evidence["load.json"]["objectives"][-1].items()


def test_a_stage_of_a_system_without_components_is_refused(tmp_path: Path) -> None:
    """It would pass, with nothing run."""
    (tmp_path / "pipeline.yaml").write_text("stages: [{unit: {}}]")
    told = refused(tmp_path, "pipeline", "run", "--system", "tests.simulator.small:armed")
    assert "unit: nothing to run, since tests.simulator.small:armed has no components" in told


@pytest.mark.parametrize(("written", "code"), [(False, 2), (True, 0)])
def test_a_job_must_leave_a_result_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool, code: int
) -> None:
    """What an earlier one left is none."""
    monkeypatch.chdir(tmp_path)
    job = Job("load", ("load",))
    job.evidence.parent.mkdir(parents=True)
    job.evidence.write_text("of yesterday")

    def ran(words: list[str], _directory: Path) -> Ended:
        if written:
            Path(words[-1]).write_text("of today")
        return Ended(0, "all is well", "")

    children = mock.create_autospec(Children, instance=True)
    children.run.side_effect = ran
    done = _tried(job, None, 1, children)
    assert (done.code, done.tries) == (code, 1 if written else 2)
    assert job.evidence.exists() is written
    assert ("left no result in .wavetank/evidence/load.json" in done.said) is not written


def test_a_stage_that_fails_stops_those_after_it(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(BRIEF)
    words = ("pipeline", "run", "--scale", "0.01", "--seed", "1", "--defect", "sessions-never-pruned")
    code, out, _ = called(tmp_path, *words, "--json", "out.json")
    assert code == 1
    assert "VIOLATED" in out or "resources" in out
    assert "- performance: not run: a stage before it failed" in out
    assert json.loads((tmp_path / "out.json").read_bytes())["not_run"] == ["performance"]


@pytest.mark.parametrize("more", [(), ("--keep-going",)])
def test_a_staging_that_does_not_come_up_is_a_stage_that_could_not_run(tmp_path: Path, more: tuple[str, ...]) -> None:
    """It is in the result, and evidence of an earlier run does not stand for it."""
    (tmp_path / "pipeline.yaml").write_text(
        "stages: [{chaos: {environment: staging}}, {e2e: {duration: 1s, users: 1}}]"
    )
    evidence = tmp_path / ".wavetank" / "evidence"
    evidence.mkdir(parents=True)
    for name in ("chaos", "e2e"):
        (evidence / f"{name}.json").write_text("of yesterday")
    stores = tmp_path / "stores"
    stores.mkdir()
    (stores / "redis-server").write_text("#!/bin/sh\nexit 1\n")
    (stores / "redis-server").chmod(0o755)
    path = f"{stores}:{os.environ['PATH']}"
    words = ("pipeline", "run", "--scale", "0.5", "--seed", "1", "--json", "out.json", *more)
    ran = wavetank(tmp_path, *words, PATH=path)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "✗ chaos: staging in" in ran.stdout
    told = json.loads((tmp_path / "out.json").read_bytes())
    chaos, *others = told["stages"]
    assert (chaos["exit_code"], [each["job"]["words"] for each in chaos["jobs"]]) == (2, [["staging", "up"]])
    assert chaos["jobs"][0]["said"]
    assert [each["name"] for each in others] == (["e2e"] if more else [])
    assert told["not_run"] == ([] if more else ["e2e"])
    assert [path.name for path in evidence.iterdir()] == (["e2e.json"] if more else [])


@pytest.mark.parametrize(("ended", "code"), [((0, 0), 0), ((0, 2), 2), ((1, 2), 1), ((0, -9), 1), ((130, 1), 130)])
def test_a_stage_ends_as_the_gravest_of_its_jobs(ended: tuple[int, ...], code: int) -> None:
    """Also when one was killed."""
    done = [Done(Job("load", ("load",)), each, "", 1, 0.0) for each in ended]
    assert Ran("performance", done).code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_end_ends_what_runs_and_tells_what_there_is(tmp_path: Path, number: int) -> None:
    """A cancelled job of a CI is; what runs then has done things to a deployment that it must undo."""
    (tmp_path / "pipeline.yaml").write_text("stages: [{e2e: {duration: 1h}}, {chaos: {duration: 1h}}]")
    process = subprocess.Popen(
        [sys.executable, "-m", "wavetank", "pipeline", "run", "--seed", "1", "--keep-going"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    evidence = tmp_path / ".wavetank" / "evidence"
    wait_until(evidence.exists)
    time.sleep(2.0)  # by then it drives users
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "✗ e2e: e2e in" in out
    assert "- chaos: not run: interrupted" in out


def test_the_exported_workflow_is_one_that_github_reads(tmp_path: Path) -> None:
    """Whatever the file is called, and whatever becomes of its stages: gate, summary and results are there."""
    name = "what: we, 'run' #1.yaml"
    (tmp_path / name).write_text(THEIRS)
    code, out, _ = called(tmp_path, "pipeline", "export", name)
    assert code == 0
    workflow = yaml.safe_load(out)
    assert workflow["on"] == ["push", "pull_request"]
    steps = workflow["jobs"]["pipeline"]["steps"]
    assert any("redis-server" in step.get("run", "") for step in steps)
    pipeline, gate, summary, upload = steps[-4:]
    assert shlex.split(pipeline["run"])[:4] == ["wavetank", "pipeline", "run", name]
    assert [each.get("if") for each in steps[-4:]] == [None, "always()", "always()", "always()"]
    assert gate["run"].startswith("wavetank gate pre --markdown ")
    assert upload["with"]["path"] == ".wavetank"
    written = [shlex.split(pipeline["run"])[-1], shlex.split(gate["run"])[-1], shlex.split(summary["run"])[1]]
    assert written == [".wavetank/pipeline.json", ".wavetank/summary.md", ".wavetank/summary.md"]


SCRIPTS = [
    ("tests/mission_critical/test_websocket_agent_events_suite.py", ("--seed", "1"), "sessions-never-pruned"),
    (
        "tests/performance/run_load_tests.py",
        ("--profile", "peak", "--users", "8", "--duration", "30s", "--seed", "3"),
        "cache-without-user",
    ),
    ("tests/chaos/run_experiments.py", ("answers-mixed-up", "--seed", "1"), "answer-not-checked"),
    (
        "tests/generate_coverage_report.py",
        ("--critical-only", "--runs", "2", "--fail-under", "15", "--seed", "1"),
        "cache-without-user",
    ),
    (
        "tests/unified_test_runner.py",
        ("--stage", "e2e", "--scale", "0.003", "--seed", "1"),
        "sessions-never-pruned",
    ),
]
"""The platform's own scripts, each as brief as can be, and a defect that fails it."""


def ran(directory: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    variables = environment()
    for name in ("PYTHONPATH", "OPENAI_BASE_URL"):
        variables.pop(name, None)
    return subprocess.run(
        [sys.executable, str(ROOT / script), *words],
        cwd=directory,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("script", "words", "defect"), SCRIPTS, ids=[Path(each[0]).stem for each in SCRIPTS])
def test_each_script_of_the_platform_ends_well_and_fails_with_a_defect(
    tmp_path: Path, script: str, words: tuple[str, ...], defect: str
) -> None:
    healthy = ran(tmp_path, script, *words)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    is_runner = script == "tests/unified_test_runner.py"  # whose file says staging, and which was not told to
    assert ("e2e: environment simulation" in healthy.stdout) is is_runner
    broken = ran(tmp_path, script, *words, "--defect", defect)
    assert broken.returncode == 1, broken.stdout + broken.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--stage", "e2e", "--stage", "prformance"), "invalid choice: 'prformance'"),
        (("--all", "--next-release", "python"), "--next-release is of real services"),
        (("--stage", "unit", "--real-services"), "--real-services is of real services, and no stage would run on them"),
    ],
)
def test_what_would_be_dropped_silently_is_refused(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    refusal = ran(tmp_path, "tests/unified_test_runner.py", *words)
    assert refusal.returncode == 2
    assert told in refusal.stderr.splitlines()[-1]


def test_a_pipeline_without_a_staging_has_no_use_for_what_is_for_one(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("stages: [{e2e: {}}]")
    for option in ("--next-release", "--llm"):
        told = refused(tmp_path, "pipeline", "run", option, "any")
        assert f"{option} is for stages with environment: staging, and pipeline.yaml has none" in told


def test_a_stand_in_is_never_taken_for_a_real_llm(tmp_path: Path) -> None:
    refusal = ran(tmp_path, "tests/unified_test_runner.py", "--all", "--real-services", "--real-llm")
    assert refusal.returncode == 2
    assert "never taken silently for a real one" in refusal.stderr
