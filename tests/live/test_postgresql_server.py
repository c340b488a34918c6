"""The real PostgreSQL as a child process: it is many processes, and all of them are struck and ended together."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from simulator.errors import EnvironmentFailedError
from simulator.live import postgresql
from simulator.live.postgresql import PostgreSQLServer

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 20.0
# Says where it is, perhaps frozen, and waits to be killed.
STARTER = """
import sys
from simulator.live.postgresql import PostgreSQLServer
server = PostgreSQLServer()
server.start()
print(server.directory, server.pid, flush=True)
if sys.argv[1] == "frozen":
    server.freeze()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer() as server:
        yield server


def connected(server: PostgreSQLServer) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user=server.user, dbname=server.database, autocommit=True
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def processes_in(directory: Path | str) -> dict[int, str]:
    """The state of each process that works in a server's data: zombies have no place any more."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == f"{directory}/data":
                found[int(process.name)] = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return found


def segments() -> str:
    return subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout


def segment_of(directory: Path | str) -> str:
    return Path(directory, "data", "postmaster.pid").read_text().splitlines()[6].split()[1]


def test_its_settings_are_its_own(server: PostgreSQLServer) -> None:
    """What a machine or a user has configured must not decide how text is sorted, or what time it is."""
    with connected(server) as session:
        shown = [
            session.execute(f"SHOW {name}").fetchone()
            for name in ("server_encoding", "lc_collate", "timezone", "unix_socket_directories", "synchronous_commit")
        ]
        assert shown == [("UTF8",), ("C",), ("UTC",), ("",), ("on",)]
        assert session.execute("SELECT current_user, current_database()").fetchone() == ("wavetank", "wavetank")


def test_a_crash_takes_every_process_at_once_and_no_commit(server: PostgreSQLServer) -> None:
    """A session that outlived its server could commit after the crash, and would keep the next one from starting."""
    for number in range(3):
        with closing(connected(server)) as session, closing(connected(server)) as open_session:
            session.execute("CREATE TABLE IF NOT EXISTS notes (id int)")
            open_session.execute("BEGIN")
            open_session.execute("INSERT INTO notes VALUES (99)")
            session.execute("INSERT INTO notes VALUES (%s)", (number,))
            assert len(processes_in(server.directory)) >= 3
            server.kill()
            assert processes_in(server.directory) == {}
        server.start()
        with connected(server) as session:
            assert session.execute("SELECT id FROM notes ORDER BY id").fetchall() == [(n,) for n in range(number + 1)]


def test_frozen_it_stops_with_all_its_sessions(server: PostgreSQLServer) -> None:
    """A session that went on would answer for a server that is meant to be silent."""
    with connected(server) as session:
        server.freeze()
        wait_until(lambda: set(processes_in(server.directory).values()) == {"T"})
        server.thaw()
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_server_can_be_killed_and_started(server: PostgreSQLServer) -> None:
    """Faults come in any order."""
    with closing(connected(server)):
        server.freeze()
        server.kill()
    assert processes_in(server.directory) == {}
    server.start()
    with connected(server) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_closed_it_leaves_nothing() -> None:
    """Segments of shared memory are few on a machine, and outlive the processes that made them."""
    with PostgreSQLServer() as server:
        segment = segment_of(server.directory)
        assert f" {segment} " in segments()
    assert f" {segment} " not in segments()
    assert not server.directory.exists()


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_when_its_starter_is_killed_nothing_is_left(state: str) -> None:
    """A test run that is killed must not leave servers behind, not even stopped ones."""
    command = [sys.executable, "-c", STARTER, state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as starter:
        assert starter.stdout is not None
        directory, pid = starter.stdout.readline().split()
        assert starter.stdout.readline() == "ready\n"
        segment = segment_of(directory)
        assert int(pid) in processes_in(directory)
        starter.kill()
    wait_until(lambda: not Path(directory).exists())
    wait_until(lambda: not processes_in(directory))
    assert f" {segment} " not in segments()


def test_not_installed_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cure is one command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "DEBIAN", tmp_path)
    server = PostgreSQLServer()
    try:
        with pytest.raises(EnvironmentFailedError, match=r"postgresql could not be started: initdb .*scripts/services"):
            server.start()
    finally:
        server.close()
