"""The means of doing faults, each on something real: processes, commands, a Redis, a PostgreSQL."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from simulator.errors import EnvironmentFailedError
from simulator.live.credential import Credential
from simulator.live.deed import UNDONE_BY, Deed
from simulator.live.deployment import why_not
from simulator.live.means.command import OwnCommand, run_command
from simulator.live.means.postgresql import PostgreSQL
from simulator.live.means.redis import Redis
from simulator.live.means.signals import Signals, state_of
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.redis import RedisServer
from simulator.live.target import ByCommand, ByPostgreSQL, ByRedis, BySignals, HostTarget, Target

HOST = ("worker",)
AWAKE = ("R", "S")


def test_what_undoes_a_deed_is_the_same_for_all_that_it_undoes() -> None:
    """A journal of what is to undo would otherwise undo a thing twice, or keep what is undone."""
    assert Deed("crash", HOST).undoing() == Deed("terminate", HOST).undoing() == Deed("restart", HOST)
    slow, slower = (Deed("delay", ("a", "b"), seconds=seconds) for seconds in (0.1, 0.2))
    assert slow.undoing() == slower.undoing() == Deed("delay", ("a", "b"))
    assert Deed("reset", ("a", "b")).undoing() is None
    assert all(Deed(action, HOST).undoing() is not None for action in UNDONE_BY)


# Signals


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Signals]:
    """A process whose number is in a file, and a command that starts it."""
    pid_file = tmp_path / "worker.pid"
    script = f"sleep 60 >/dev/null 2>&1 & echo $! > {pid_file}"
    signals = Signals(BySignals("worker", pid_file, ("/bin/sh", "-c", script), within_s=5.0))
    run_command(("/bin/sh", "-c", script), within_s=5.0)
    yield signals
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def state_in(pid_file: Path) -> str:
    return state_of(int(pid_file.read_text()))


def test_a_process_is_stopped_continued_killed_and_started(worker: Signals, tmp_path: Path) -> None:
    """Each signal does what its fault says, and the command brings the process back as another one."""
    pid_file = tmp_path / "worker.pid"
    worker.do(Deed("freeze", HOST))
    assert state_in(pid_file) == "T"
    worker.do(Deed("thaw", HOST))
    assert state_in(pid_file) in AWAKE
    first = pid_file.read_text()
    worker.do(Deed("crash", HOST))
    assert state_in(pid_file) in ("", "Z")
    worker.do(Deed("restart", HOST))
    assert state_in(pid_file) in AWAKE
    assert pid_file.read_text() != first
    assert worker.probe() == f"worker runs as process {pid_file.read_text().strip()}"


def test_who_ignores_being_told_to_end_is_killed_when_it_is_started_again(tmp_path: Path) -> None:
    """Two of one worker at once would be another system."""
    pid_file = tmp_path / "worker.pid"
    script = f"(trap '' TERM; while :; do sleep 0.05; done) >/dev/null 2>&1 & echo $! > {pid_file}"
    stubborn = Signals(BySignals("worker", pid_file, ("/bin/sh", "-c", script), within_s=5.0))
    run_command(("/bin/sh", "-c", script), within_s=5.0)
    first = int(pid_file.read_text())
    time.sleep(0.1)  # until the trap is set
    stubborn.do(Deed("terminate", HOST))
    assert Path(f"/proc/{first}").exists()
    stubborn.do(Deed("restart", HOST))
    assert int(pid_file.read_text()) != first
    stubborn.do(Deed("crash", HOST))


def test_what_a_killed_replay_left_shows_in_the_process_itself(worker: Signals, tmp_path: Path) -> None:
    """No journal is needed to see that it is stopped, or gone."""
    pid_file = tmp_path / "worker.pid"
    os.kill(int(pid_file.read_text()), signal.SIGSTOP)
    worker.heal()
    assert state_in(pid_file) in AWAKE
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    worker._wait_ended()
    worker.heal()
    worker.revive(())
    assert state_in(pid_file) in AWAKE


def test_without_a_command_that_starts_it_a_process_is_not_ended(tmp_path: Path) -> None:
    """There would be no way back."""
    target = Target({}, (BySignals("worker", tmp_path / "pid"),))
    assert why_not(target, Deed("freeze", HOST)) is None
    assert why_not(target, Deed("crash", HOST)) == "no command starts worker again (start)"
    assert why_not(target, Deed("freeze", ("other",))) == "the target declares no means for host other"


def test_a_process_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """The file may be old, or name what never was."""
    gone = Signals(BySignals("worker", tmp_path / "none", ("true",)))
    with pytest.raises(EnvironmentFailedError, match=r"no process of worker runs: .*none names none. Start it first"):
        gone.do(Deed("freeze", HOST))
    gone.do(Deed("thaw", HOST))  # to undo what is not done does nothing


# Commands


def test_a_command_is_told_how_long_and_undone_by_another(tmp_path: Path) -> None:
    """`tc`, `iptables`, `kubectl`: what wavetank does not know, its users do."""
    said = tmp_path / "said"
    slow = OwnCommand(
        ByCommand(
            "delay",
            "a->b",
            ("/bin/sh", "-c", f'echo "$WAVETANK_SECONDS" >> {said}'),
            ("/bin/sh", "-c", f"echo undone >> {said}"),
        )
    )
    assert slow.why_not(Deed("delay", ("a", "b"), seconds=0.25)) is None
    assert slow.why_not(Deed("delay", ("b", "a"), seconds=0.25)) == ""
    slow.do(Deed("delay", ("a", "b"), seconds=0.25))
    slow.do(Deed("delay", ("a", "b")))
    assert said.read_text() == "0.25\nundone\n"


def test_a_trouble_is_begun_and_ended_by_commands(tmp_path: Path) -> None:
    """What is no action is a trouble that the system's own service declares."""
    said = tmp_path / "said"
    command = ByCommand("llm-slow", "llm", ("/bin/sh", "-c", f"echo on > {said}"), ("rm", str(said)))
    trouble = OwnCommand(command)
    begin = Deed("begin", ("llm",), name="llm-slow")
    end = begin.undoing()
    assert end is not None
    assert (trouble.why_not(begin), trouble.why_not(end)) == (None, None)
    assert trouble.why_not(Deed("begin", ("llm",), name="llm-cut")) == ""
    trouble.do(begin)
    assert said.exists()
    trouble.do(end)
    assert not said.exists()


def test_a_command_without_what_undoes_it_is_no_means() -> None:
    """Nothing is ever done that stays."""
    with pytest.raises(ValueError, match="the command that does 'crash' at 'a' has none that undoes it"):
        ByCommand("crash", "a", ("true",))
    ByCommand("reset", "a->b", ("true",))  # it is over at once


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/bin/sh", "-c", "echo no such pod; exit 3"), "'/bin/sh' ended with 3: no such pod"),
        (("sleep", "60"), "'sleep' did not end within 0.2 s"),
        (("no-such-program-at-all",), "'no-such-program-at-all' could not be run"),
    ],
)
def test_a_command_that_fails_says_why(command: tuple[str, ...], said: str) -> None:
    """It is the user's own, and they must find out what is wrong with it."""
    with pytest.raises(EnvironmentFailedError, match=said):
        run_command(command, within_s=0.2)


# Stores


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_connections_to_a_redis_are_killed_and_its_keys_deleted(redis_server: RedisServer) -> None:
    """Who listens to a channel is reset as well."""
    target = Target({"redis": HostTarget(f"127.0.0.1:{redis_server.port}")})
    means = Redis(ByRedis("redis", flush=True), target)
    assert means.probe().startswith("a Redis ")
    with socket.create_connection(("127.0.0.1", redis_server.port), timeout=5.0) as client:
        client.sendall(b"SUBSCRIBE news\r\n")
        assert client.recv(100)
        means.do(Deed("reset", ("agents", "redis")))
        assert client.recv(100) == b""
    client_of_it = redis.Redis(port=redis_server.port)
    client_of_it.set("key", "value")
    means.reset()
    assert client_of_it.dbsize() == 0
    assert means.why_not(Deed("reset", ("redis", "agents"))) == ""
    assert means.why_not(Deed("crash", ("redis",))) == ""


def test_a_redis_that_refuses_us_is_one_sentence(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what we said to it is not in the sentence."""
    monkeypatch.setenv("REDIS_PASSWORD", "canary-of-redis")
    target = Target({"redis": HostTarget(f"127.0.0.1:{redis_server.port}")})
    means = Redis(ByRedis("redis", user="nobody", password=Credential(env="REDIS_PASSWORD")), target)
    with pytest.raises(EnvironmentFailedError, match="redis at redis did not do INFO server") as raised:
        means.probe()
    assert "canary" not in str(raised.value)


def test_connections_of_a_role_of_postgresql_are_ended() -> None:
    """Of that role only: whoever else is connected to a staging goes on."""
    with PostgreSQLServer() as server:
        address = {"host": "127.0.0.1", "port": server.port, "dbname": "wavetank"}
        with psycopg.connect(**address, user="wavetank", autocommit=True) as admin:  # type: ignore[arg-type]
            admin.execute("CREATE ROLE platform LOGIN")
            means = PostgreSQL(
                ByPostgreSQL("postgres", "wavetank", "wavetank", kills="platform"),
                Target({"postgres": HostTarget(f"127.0.0.1:{server.port}")}),
            )
            assert means.probe().startswith("a PostgreSQL 15")
            with psycopg.connect(**address, user="platform") as theirs:  # type: ignore[arg-type]
                means.do(Deed("reset", ("agents", "postgres")))
                with pytest.raises(psycopg.OperationalError):
                    theirs.execute("SELECT 1")
            assert admin.execute("SELECT 1").fetchone() == (1,)


def test_a_store_that_is_gone_is_one_sentence() -> None:
    """Of either kind."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    target = Target({"store": HostTarget(address)})
    with pytest.raises(EnvironmentFailedError, match="redis at store did not do INFO server: "):
        Redis(ByRedis("store"), target).probe()
    with pytest.raises(EnvironmentFailedError, match="postgresql at store did not do 'SHOW server_version': "):
        PostgreSQL(ByPostgreSQL("store", "u", "d", kills="k"), target).probe()
