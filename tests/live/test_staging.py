"""The staging and replays on it: verdicts, interrupts, and what the command says when it cannot."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import httpx
import msgspec
import pytest
import trio
import trio.testing

from models.system import CONFIG, LLM_PROBED
from models.system import system as chat
from simulator.errors import EnvironmentFailedError, InputError
from simulator.fault import Fault
from simulator.live.target import ByToxiproxy, Target
from simulator.plan import Do, Plan, Step
from simulator.trace import Trace, save_trace
from tests.command.stage import refused
from tests.command.test_serve_llm import KEY, serving
from tests.live.stage import (
    CACHE,
    PATIENCE_S,
    QUESTION,
    control_of,
    environment,
    hosts_up,
    pid_of,
    plan,
    played,
    replay,
    staged,
    staging_of,
    struck,
    target_in,
    trace_of,
    two_same_questions,
    wait_nothing_left,
    wait_until,
    wavetank,
)
from wavetank.processes import LLM_TIMEOUT_S
from wavetank.staging import staging
from wavetank.supervisor import AT_REST_FOR_S, AT_REST_WITHIN_S, Supervisor


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which a platform that mixes up its users' answers is staged."""
    yield from staged(tmp_path_factory.mktemp("planted"), "--defect", CACHE)


def test_a_run_begins_when_processes_have_nothing_more_to_do() -> None:
    """They are ready before that, and what they do first is slow; one that is never at rest is not waited for."""
    worked_s = iter([0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 9.0])
    waiting = SimpleNamespace(_worked_s=lambda: next(worked_s))
    restless = SimpleNamespace(_worked_s=count().__next__)

    async def waited_s(supervisor: SimpleNamespace) -> float:
        begun_s = trio.current_time()
        await Supervisor._come_to_rest(supervisor)  # type: ignore[arg-type]
        return trio.current_time() - begun_s

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(waited_s, waiting, clock=clock) == pytest.approx(3 * AT_REST_FOR_S)
    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(waited_s, restless, clock=clock) == pytest.approx(AT_REST_WITHIN_S)


# The verdict


def test_a_failure_is_reproduced_where_its_defect_is(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same steps, the same promise, real services: this is what a found failure is worth."""
    assert replay(planted, trace_of(two_same_questions()), runs=2) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(f"target.toml with {CACHE}")
    assert said[1].startswith("run 1 of 2: violated: ")
    assert said[-1] == "reproduced 2 of 2 (95 % interval 34 to 100 %): isolation (frame)"


def test_a_failure_is_not_reproduced_where_its_defect_is_not(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or the verdict would say nothing. That the target is another platform is said before, or it reads as mended."""
    assert replay(healthy, trace_of(two_same_questions())) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == (
        f"the trace was saved with {CACHE}, which this target does not have: "
        f"not to reproduce it says nothing (wavetank staging up --defect {CACHE})"
    )
    assert said[2].startswith("run 1 of 1: ")
    assert said[-1] == "not reproduced, 0 of 1 (95 % interval 0 to 79 %)"


def test_a_defect_that_only_the_target_has_is_told_of(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was found in a platform as it should be may fail there for another reason."""
    sound = msgspec.structs.replace(trace_of(two_same_questions()), defects=())
    assert replay(planted, sound) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"the target has {CACHE}, without which the trace was saved: it may fail by that"


def test_another_site_is_another_failure(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The promise is broken all the same, and the exit code says so."""
    assert replay(planted, trace_of(two_same_questions(), site="row")) == 1
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "not reproduced, 0 of 1 (95 % interval 0 to 79 %); violated elsewhere in 1"
    )


def test_a_promise_of_which_nothing_is_known_is_not_kept(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown is never a pass: no breaker was used, so nothing is known of it."""
    assert replay(healthy, trace_of(plan(), "breaker", "recloses")) == 2
    assert "could not judge: breaker was unknown in 1 of 1 runs" in capsys.readouterr().out


def test_a_step_that_cannot_be_done_is_named_and_nothing_is_touched(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay without the fault would be another one."""
    memory = Fault("clickhouse-memory-limit", ("clickhouse",), 1.0)
    assert replay(healthy, trace_of(struck(Fault("vanish", ("redis",), 1.0), memory))) == 2
    said = capsys.readouterr().out
    assert said.startswith("not expressible on ")
    assert "step 3 (redis vanishes without a word and is back after 1 s): a killed process" in said
    assert "the staging declares no trouble 'clickhouse-memory-limit' of host clickhouse" in said
    assert "run 1" not in said


# Interrupts


def long_trouble() -> Trace:
    return trace_of(
        struck(
            Fault("partition", ("agents", "redis"), 60.0),
            Fault("freeze", ("redis",), 60.0),
            Fault("crash", ("clickhouse",), 60.0),
        )
    )


def in_trouble(directory: Path, trace: Trace) -> "subprocess.Popen[str]":
    """Start a replay as a command, and return it when its last fault was done."""
    # The pauses of the plan are those of its faults: shorten them, or the last fault comes after two minutes.
    steps = tuple(Step(step.action, min(step.after_s, 0.3)) for step in trace.plan.steps)
    steps = (*steps[:-1], Step(steps[-1].action, 60.0))
    path = save_trace(trace_of(Plan(trace.plan.setting, steps)), directory)
    command = [sys.executable, "-m", "wavetank", "replay", str(path), "--target", "target.toml", "-n", "1"]
    process = subprocess.Popen(
        command, cwd=directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    target = target_in(directory)
    wait_until(lambda: not hosts_up(target)["clickhouse"] or process.poll() is not None)
    return process


def test_an_interrupted_replay_undoes_what_it_did(healthy: Path) -> None:
    """Ctrl-C in the middle of the worst: the network heals, who was frozen thaws, who crashed is back."""
    process = in_trouble(healthy, long_trouble())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.strip()) == (130, "wavetank: interrupted."), out
    assert all(hosts_up(target_in(healthy)).values())
    assert replay(healthy, trace_of(two_same_questions())) == 0


def test_a_killed_replay_is_undone_by_the_staging(healthy: Path) -> None:
    """A replay that was killed can undo nothing."""
    process = in_trouble(healthy, long_trouble())
    process.kill()
    process.communicate()
    wait_until(lambda: all(hosts_up(target_in(healthy)).values()))


# By the API of Toxiproxy


@pytest.fixture(scope="module")
def toxic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which a platform is staged whose links are struck by the API of Toxiproxy."""
    yield from staged(tmp_path_factory.mktemp("toxic"), "--toxiproxy")


def toxics_of(target: Target) -> dict[str, list[str]]:
    """The names of the toxics of each proxy that has any."""
    (url,) = (means.url for means in target.means if isinstance(means, ByToxiproxy))
    proxies = httpx.get(f"{url}/proxies", trust_env=False, timeout=PATIENCE_S).json()
    named = {name: [each["name"] for each in proxy["toxics"]] for name, proxy in proxies.items()}
    return {name: toxics for name, toxics in named.items() if toxics}


def test_what_is_struck_by_toxiproxy_is_healed_by_it(toxic: Path) -> None:
    """Partitions, slow links and silence are what they are by other means: the platform keeps its promises."""
    faults = [Fault(kind, ("agents", "redis"), 0.5) for kind in ("partition", "slow", "silence", "reset")]
    result = played(toxic, struck(*faults))
    assert [each.name for each in result.history.faults() if each.data["phase"] == "begin"] == [
        each.kind for each in faults
    ]
    assert toxics_of(target_in(toxic)) == {}


def test_what_a_killed_replay_left_at_a_toxiproxy_is_healed(toxic: Path) -> None:
    """The toxics are gone, proxies pass and processes run."""
    process = in_trouble(toxic, long_trouble())
    target = target_in(toxic)
    assert any("hold" in name or "delay" in name for names in toxics_of(target).values() for name in names)
    process.kill()
    process.communicate()
    healed = wavetank("heal", cwd=toxic)
    assert healed.returncode == 0, healed.stderr
    assert "undone: release agents->redis" in healed.stdout.splitlines()
    assert toxics_of(target) == {}
    wait_until(lambda: all(hosts_up(target).values()))
    assert wavetank("heal", cwd=toxic).stdout.startswith("nothing was left to undo")
    assert replay(toxic, trace_of(two_same_questions())) == 0


# Bad input


def test_a_wrong_key_is_refused_before_anything_is_touched(healthy: Path, tmp_path: Path) -> None:
    """The control can crash servers; whoever is on the machine can reach its port."""
    text = (healthy / "target.toml").read_text()
    (tmp_path / "wrong.key").write_text("schlüssel")
    key_file = staging_of(target_in(healthy)).key.file
    (tmp_path / "target.toml").write_text(text.replace(str(key_file), "wrong.key"))
    with pytest.raises(EnvironmentFailedError, match="the target could not reset: wrong key"):
        replay(tmp_path, trace_of(two_same_questions()))
    assert all(hosts_up(target_in(healthy)).values())


def test_up_twice_is_welcome_for_the_same_and_refused_for_another(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stagings with one target file would be one too many."""
    monkeypatch.chdir(healthy)
    before = target_in(healthy)
    assert staging.main(["up"], standalone_mode=False) == 0
    with pytest.raises(InputError, match="Run wavetank staging down first"):
        staging.main(["up", "--defect", CACHE], standalone_mode=False)
    assert target_in(healthy) == before


def test_what_cannot_start_says_so_in_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """The first try on a new machine is often without Redis."""
    up = wavetank("staging", "up", cwd=tmp_path, PATH=str(tmp_path))
    assert up.returncode == 2
    assert up.stderr.splitlines()[-1] == (
        "wavetank: redis could not be started: redis-server is not installed. "
        "Install it with scripts/services, then try again."
    )
    assert [path.name for path in tmp_path.iterdir()] == [".wavetank"]


def test_a_directory_that_cannot_be_written_is_one_sentence() -> None:
    """Before anything starts. Nobody can write to /proc, root neither."""
    sentence = refused(Path("/proc"), "staging", "up")
    assert sentence == (
        "wavetank: a staging cannot be described here: [Errno 2] No such file or directory: '.wavetank'. "
        "Run it in a directory that can be written."
    )


@pytest.mark.parametrize("made", ["wavetank-redis-*", "wavetank-agents-*", "wavetank-postgresql-*/fresh/PG_VERSION"])
def test_who_is_interrupted_while_it_starts_leaves_nothing(tmp_path: Path, made: str) -> None:
    """Whatever is made by then, run or not: directories, half a database."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL runs as another user
        process = subprocess.Popen(
            [sys.executable, "-m", "wavetank", "staging", "up"],
            cwd=tmp_path,
            env=environment(TMPDIR=temporary),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: any(Path(temporary).glob(made)) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err.splitlines()[-1]) == (130, "wavetank: interrupted.")
        assert list(Path(temporary).iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == [".wavetank"]


def test_a_staging_ends_whole_however_it_ends(tmp_path: Path) -> None:
    """By SIGTERM with its target file; by SIGKILL too, after which down, status and up know what to do."""
    assert wavetank("staging", "up", cwd=tmp_path).returncode == 0
    target = target_in(tmp_path)
    os.kill(pid_of(target), signal.SIGTERM)
    wait_nothing_left(target)
    wait_until(lambda: not (tmp_path / "target.toml").exists())

    assert wavetank("staging", "up", cwd=tmp_path).returncode == 0
    target = target_in(tmp_path)
    with closing(control_of(target)) as control:
        control.order("freeze", host="clickhouse")
        os.kill(pid_of(target), signal.SIGKILL)
    wait_nothing_left(target)
    status = wavetank("staging", "status", cwd=tmp_path)
    assert status.returncode == 2
    assert "Start it with wavetank staging up" in status.stderr
    down = wavetank("staging", "down", cwd=tmp_path)
    assert (down.returncode, down.stdout) == (0, "the staging had ended already; removed its target.toml\n")


RELEASE = """#!/bin/sh
echo "$@" >> {log}
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """A staging with a next release, our own by an interpreter that logs, and an LLM that wants a key; that, too."""
    directory = tmp_path_factory.mktemp("renewed")
    interpreter = directory / "python"
    interpreter.write_text(RELEASE.format(log=directory / "next.log", python=sys.executable))
    interpreter.chmod(0o755)
    with serving(directory, "--api-key-env", "LLM_KEY") as (llm, port), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        words = ("--next-release", "./python", "--llm", f"http://127.0.0.1:{port}/v1", "--model", "tried")
        yield from ((each, llm) for each in staged(directory, *words))


def test_another_release_runs_from_the_next_start_on_until_it_is_taken_back(
    renewed: tuple[Path, "subprocess.Popen[str]"],
) -> None:
    directory, _ = renewed
    target, log = target_in(directory), directory / "next.log"
    with closing(control_of(target)) as control:
        for is_on in (True, False):
            before = log.read_text()
            control.order("trouble", host="gateway-b", name="next-release", on=is_on)
            control.order("terminate", host="gateway-b")
            control.order("restart", host="gateway-b")
            control.order("revive")  # which returns when it answers: a process is up before it has said anything
            assert ("serve --role gateway" in log.read_text().removeprefix(before)) is is_on
        with pytest.raises(EnvironmentFailedError, match="host 'redis' is no process of the platform"):
            control.order("trouble", host="redis", name="next-release", on=True)


def test_a_heal_is_a_rollback(renewed: tuple[Path, "subprocess.Popen[str]"]) -> None:
    """Or what was tried would be left behind."""
    directory, _ = renewed
    with closing(control_of(target_in(directory))) as control:
        control.order("trouble", host="agents", name="next-release", on=True)
        control.order("crash", host="agents")
        control.order("restart", host="agents")
        wait_until(lambda: "serve --role agents" in (directory / "next.log").read_text())
        pids = control.order("status")["pids"]
        before = (directory / "next.log").read_text()
        control.order("heal")
        assert control.order("status")["pids"]["agents"] != pids["agents"]  # type: ignore[index, call-overload]
        assert (directory / "next.log").read_text() == before


def test_a_real_language_model_is_asked_with_its_key(renewed: tuple[Path, "subprocess.Popen[str]"]) -> None:
    """And nothing stands in for it."""
    directory, llm = renewed
    target = target_in(directory)
    assert "llm" not in target.hosts
    assert target.constants == {
        LLM_PROBED: 2 * LLM_TIMEOUT_S + CONFIG.breaker_reset_s
    }  # who waits for one waits longer
    result = played(directory, plan(Step(Do("ask", 0, QUESTION), 1.0)))
    request = result.history.observed("llm_exchanged")[0].data["request"]
    assert isinstance(request, dict)
    assert request["model"] == "tried"
    assert llm.stdout is not None
    assert json.loads(llm.stdout.readline())["question"] == f"{QUESTION['question']}"


@pytest.mark.parametrize(
    ("interpreter", "said"),
    [("no-such-python", "is no program."), ("/bin/false", "runs no wavetank: it says nothing")],
)
def test_what_has_no_next_release_is_refused_before_anything_starts(
    tmp_path: Path, interpreter: str, said: str
) -> None:
    assert said in refused(tmp_path, "staging", "up", "--next-release", interpreter)
    assert list(tmp_path.iterdir()) == []


def test_what_runs_is_said_host_by_host(healthy: Path) -> None:
    """The first thing that a person wants to know, and the address to connect to."""
    said = wavetank("staging", "status", cwd=healthy).stdout.splitlines()
    hosts = [host for host in chat.topology().nodes if host != "user"]
    assert sorted(line.split()[0] for line in said[:-1]) == sorted(hosts)
    assert all(line.endswith(" up") for line in said[:-1])
    assert said[-1] == "staging is up; target.toml describes it"


def test_every_link_of_the_simulated_system_can_be_struck(healthy: Path) -> None:
    """So that a trace is not refused for a fault that a network can have."""
    links = ["->".join(edge) for edge in chat.topology().edges if edge[0] != "user"]
    assert list(staging_of(target_in(healthy)).links) == links
