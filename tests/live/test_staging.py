"""The staging and replays on it: real services, struck and put back, and what the command says when it cannot."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from models.client import ChatClient
from models.client import Outcome as Sent
from models.secret import DEMO_SECRET
from models.system import system as chat
from models.tokens import issue
from simulator.errors import EnvironmentFailedError, InputError
from simulator.fault import FAULT_KINDS, Fault
from simulator.history import Value
from simulator.live.anchors import anchors_of
from simulator.live.process import free_port
from simulator.live.redis import RedisServer
from simulator.live.run import run_live
from simulator.live.target import Control, Target, load_target
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, event_record, save_trace
from wavetank.live import replay_live
from wavetank.serve import serve
from wavetank.staging import staging
from wavetank.supervisor import PlatformServer

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 20.0  # how long something that must happen may take
CACHE = "cache-without-user"
QUESTION: dict[str, Value] = {"question": "what is our uptime?"}
LINK = ("platform", "redis")


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def wavetank(*words: str, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "wavetank", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False, timeout=60
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def target_in(directory: Path) -> Target:
    return load_target(directory / "target.toml")


def status_of(target: Target) -> dict[str, Value]:
    control = Control(target.control.address, target.control.key)
    try:
        return control.order("status")
    finally:
        control.close()


def hosts_up(target: Target) -> dict[str, Value]:
    up = status_of(target)["up"]
    assert isinstance(up, dict)
    return up


def pid_of(target: Target) -> int:
    pid = status_of(target)["pid"]
    assert isinstance(pid, int)
    return pid


def listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1.0).close()
    except OSError:
        return False
    return True


def wait_nothing_left(target: Target) -> None:
    """Wait until no process of a staging listens and its directories are gone."""
    for host in target.hosts:
        wait_until(lambda host=host: not listens(target.address(host)))  # type: ignore[misc]
    wait_until(lambda: not Path(target.logs["platform"]).parent.exists())


def staged(directory: Path, *words: str) -> Iterator[Path]:
    up = wavetank("staging", "up", *words, cwd=directory)
    assert up.returncode == 0, up.stderr
    yield directory
    target = target_in(directory)
    down = wavetank("staging", "down", cwd=directory)
    assert (down.returncode, down.stdout) == (0, "staging is down\n")
    wait_nothing_left(target)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which the platform as it should be is staged."""
    yield from staged(tmp_path_factory.mktemp("healthy"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which a platform that mixes up its users' answers is staged."""
    yield from staged(tmp_path_factory.mktemp("planted"), "--defect", CACHE)


def two_same_questions() -> Plan:
    """The shortest plan that shows `cache-without-user`."""
    steps = (
        Step(Do("connect", 0)),
        Step(Do("connect", 1), 0.05),
        Step(Do("ask", 0, QUESTION), 0.3),
        Step(Do("ask", 1, QUESTION)),
    )
    return Plan(Setting(users=2), steps)


def struck(*faults: Fault) -> Plan:
    """A plan in which a user asks before and after faults."""
    steps = (
        Step(Do("connect", 0), 0.3),
        Step(Do("ask", 0, QUESTION)),
        *(Step(Strike(fault), fault.for_s + 0.05) for fault in faults),
        Step(Do("ask", 0, QUESTION)),
    )
    return Plan(Setting(users=1), steps)


def trace_of(plan: Plan, broken: str = "isolation", site: str = "frame") -> Trace:
    """A plan with the history that it makes in simulation, as if its failure had been found there."""
    result = simulate(chat.with_defects([CACHE]), plan, ())
    return Trace(
        system="models.system:system",
        defects=(CACHE,),
        seed=0,
        plan=plan,
        broken=Broken(property=broken, site=site, evidence=""),
        hash=result.history.hash,
        simulated_s=result.simulated_s,
        story=(),
        events=tuple(event_record(event) for event in result.history.events),
    )


def replay(directory: Path, trace: Trace, runs: int = 1) -> int:
    return replay_live(chat.with_defects([CACHE]), trace, directory / "target.toml", runs)


# The verdict


def test_a_failure_is_reproduced_where_its_defect_is(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same steps, the same promise, real services: this is what a found failure is worth."""
    assert replay(planted, trace_of(two_same_questions()), runs=2) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(f"target.toml with {CACHE}")
    assert said[1].startswith("run 1 of 2: violated: bob received 'what is our uptime? -> noted for alice/1'")
    assert said[-1] == "reproduced 2 of 2: isolation (frame)"


def test_a_failure_is_not_reproduced_where_its_defect_is_not(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or the verdict would say nothing."""
    assert replay(healthy, trace_of(two_same_questions())) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "not reproduced, 0 of 1"


def test_another_site_is_another_failure(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The promise is broken all the same, and the exit code says so."""
    assert replay(planted, trace_of(two_same_questions(), site="row")) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not reproduced, 0 of 1; violated elsewhere in 1"


def test_a_promise_of_which_nothing_is_known_is_not_kept(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown is never a pass: no breaker was used, so nothing is known of it."""
    plan = Plan(Setting(users=1), (Step(Do("connect", 0)),))
    assert replay(healthy, trace_of(plan, "breaker", "recloses")) == 2
    assert "could not judge: breaker was unknown in 1 of 1 runs" in capsys.readouterr().out


def test_a_step_that_cannot_be_done_is_named_and_nothing_is_touched(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay without the fault would be another one."""
    assert replay(healthy, trace_of(struck(Fault("vanish", ("redis",), 1.0)))) == 2
    said = capsys.readouterr().out
    assert said.startswith("not expressible on ")
    assert "step 3 (redis vanishes without a word and is back after 1 s): a killed process" in said
    assert "run 1" not in said


# Faults


def test_every_fault_is_done_and_undone(healthy: Path) -> None:
    """One run with all of them, after which the platform answers, and nothing of any promise is broken."""
    links = [
        Fault(kind.name, at, 0.1)
        for kind in FAULT_KINDS.values()
        for at in (LINK, ("user:alice", "platform"))
        if kind.strikes == 2
    ]
    hosts = [Fault("freeze", ("redis",), 0.1), Fault("freeze", ("platform",), 0.1)]
    crashes = [Fault("crash", (host,), 0.1) for host in ("redis", "clickhouse", "platform")]
    faults = (*links, *hosts, *crashes)
    plan = struck(*faults)
    target = target_in(healthy)
    result = trio.run(run_live, chat, plan, anchors_of(plan, []), target, chat.all_properties())
    for phase in ("begin", "end"):
        seen = {
            (event.name, str(event.data["at"])) for event in result.history.faults() if event.data["phase"] == phase
        }
        assert seen == {(each.kind, str(list(each.at))) for each in faults if phase == "begin" or each.kind != "reset"}
    assert not result.violated
    assert all(hosts_up(target).values())
    assert result.history.observed("connection_opened"), "what the platform logs is part of the history"


def test_what_a_host_logged_before_it_crashed_is_recorded_before_the_crash(healthy: Path) -> None:
    """Else a breaker that moved just before would seem to be open in a platform that has forgotten it."""
    plan = struck(Fault("crash", ("platform",), 0.1))
    result = trio.run(run_live, chat, plan, anchors_of(plan, []), target_in(healthy), chat.all_properties())
    kinds = [event.name for event in result.history.events if event.host == "platform"]
    crash = kinds.index("crash")
    assert "connection_opened" in kinds[:crash]
    assert "listening" in kinds[crash:]


# Interrupts


def long_trouble() -> Trace:
    return trace_of(
        struck(
            Fault("partition", LINK, 60.0),
            Fault("freeze", ("redis",), 60.0),
            Fault("crash", ("clickhouse",), 60.0),
        )
    )


def in_trouble(directory: Path, trace: Trace) -> "subprocess.Popen[str]":
    """Start a replay as a command, and return it when its last fault was done."""
    # The pauses of the plan are those of its faults: shorten them, or the last fault comes after two minutes.
    steps = tuple(Step(step.action, min(step.after_s, 0.3)) for step in trace.plan.steps)
    plan = Plan(trace.plan.setting, (*steps[:-1], Step(steps[-1].action, 60.0)))
    path = save_trace(trace_of(plan), directory)
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


# Bad input


def test_a_wrong_key_is_refused_before_anything_is_touched(healthy: Path, tmp_path: Path) -> None:
    """The control can crash servers; whoever is on the machine can reach its port."""
    text = (healthy / "target.toml").read_text()
    (tmp_path / "target.toml").write_text(text.replace(target_in(healthy).control.key, "schlüssel"))
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


def test_a_staging_ends_whole_however_it_ends(tmp_path: Path) -> None:
    """By SIGTERM with its target file; by SIGKILL too, after which down, status and up know what to do."""
    assert wavetank("staging", "up", cwd=tmp_path).returncode == 0
    target = target_in(tmp_path)
    os.kill(pid_of(target), signal.SIGTERM)
    wait_nothing_left(target)
    wait_until(lambda: not (tmp_path / "target.toml").exists())

    assert wavetank("staging", "up", cwd=tmp_path).returncode == 0
    target = target_in(tmp_path)
    control = Control(target.control.address, target.control.key)
    control.order("freeze", host="clickhouse")
    os.kill(pid_of(target), signal.SIGKILL)
    control.close()
    wait_nothing_left(target)
    status = wavetank("staging", "status", cwd=tmp_path)
    assert status.returncode == 2
    assert "Start it with wavetank staging up" in status.stderr
    down = wavetank("staging", "down", cwd=tmp_path)
    assert (down.returncode, down.stdout) == (0, "the staging had ended already; removed its target.toml\n")


# The platform by itself


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--redis", "nonsense"), "is no redis URL"),
        (("--redis", "redis://127.0.0.1:99999"), "Port out of range"),
        (("--redis", "redis://user:word@127.0.0.1/3"), "nothing else is supported"),
        (("--clickhouse", "redis://127.0.0.1"), "is no http URL"),
        (("--defect", "nonsense"), "no defect named 'nonsense'"),
    ],
)
def test_the_platform_refuses_bad_addresses_in_one_sentence(words: tuple[str, str], said: str) -> None:
    """Each is a slip of the hand, none a traceback."""
    options = {"--redis": "redis://127.0.0.1:1", "--clickhouse": "http://127.0.0.1:2", "--port": "0"}
    options[words[0]] = words[1]
    with pytest.raises(InputError, match=said):
        serve.main([word for pair in options.items() for word in pair], standalone_mode=False)


def test_the_platform_says_that_its_port_is_taken(tmp_path: Path) -> None:
    """What Trio tells of it is a group of groups."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stores = ("--redis", "redis://127.0.0.1:1", "--clickhouse", "http://127.0.0.1:2")
        served = wavetank("serve", "--port", str(port), *stores, cwd=tmp_path)
    assert served.returncode == 2
    assert served.stderr.startswith(f"wavetank: cannot listen on 127.0.0.1:{port}: [Errno 98]")
    assert len(served.stderr.splitlines()) == 1


def test_the_platform_starts_without_its_stores_and_recovers() -> None:
    """On a real machine services start in any order."""
    redis_port = free_port()
    with PlatformServer(redis_port, free_port(), ()) as platform, RedisServer(redis_port):
        sent = trio.run(ask_until_acknowledged, platform.port)
    assert sent is Sent.OK


async def ask_until_acknowledged(port: int) -> Sent:
    client = ChatClient(
        user="alice",
        token=issue("alice", DEMO_SECRET),
        host="127.0.0.1",
        port=port,
        on_frame=lambda _frame: None,
        on_state=lambda _state: None,
    )
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            number, sent = 0, Sent.FAIL
            while sent is not Sent.OK:
                await trio.sleep(0.05)
                number += 1
                sent = await client.send(f"alice-{number}", "hello?", "alice/1")
            nursery.cancel_scope.cancel()
    return sent
