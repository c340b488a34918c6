"""Processes that are split off from one that has loaded the code."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.stage import wait_until
from wavetank.preloaded import Forked, Preloaded

# It says where the process is, and goes on when it is killed itself.
OWNER = """
import sys, time
from pathlib import Path
from wavetank.preloaded import Preloaded
directory = Path(sys.argv[1])
words = ["serve-llm", "--port", "0"]
print(Preloaded().run(words, directory=directory, log=directory / "server.log", environment={}).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def preloaded() -> Iterator[Preloaded]:
    with Preloaded() as one:
        yield one


def serving(preloaded: Preloaded, directory: Path, **environment: str) -> Forked:
    directory.mkdir(exist_ok=True)
    words = ["serve-llm", "--port", "0", "--api-key-env", "THE_KEY"]
    return preloaded.run(words, directory=directory, log=directory / "server.log", environment=environment)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_command_runs_in_its_own_directory_environment_and_log(preloaded: Preloaded, tmp_path: Path) -> None:
    one = serving(preloaded, tmp_path / "one", THE_KEY="k")
    other = serving(preloaded, tmp_path / "other")
    log = tmp_path / "one" / "server.log"
    wait_until(lambda: log.exists() and "listening" in log.read_text())
    assert Path(f"/proc/{one.pid}/cwd").readlink() == tmp_path / "one"
    assert os.getsid(one.pid) == one.pid
    wait_until(lambda: not other.is_running())
    assert "THE_KEY, which is not set" in (tmp_path / "other" / "server.log").read_text()
    assert one.is_running()
    one.kill()
    other.kill()
    assert not one.is_running()
    assert is_gone(one.pid)


def test_what_was_split_off_ends_with_its_origin(preloaded: Preloaded, tmp_path: Path) -> None:
    child = serving(preloaded, tmp_path / "one", THE_KEY="k")
    os.kill(child.pid, signal.SIGSTOP)
    preloaded.close()
    assert not child.is_running()
    assert not (tmp_path / "one").exists()


def test_what_was_split_off_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "one"
    directory.mkdir()
    with subprocess.Popen([sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        wait_until((directory / "server.log").exists)
        owner.kill()
    wait_until(lambda: is_gone(pid) and not directory.exists())


def test_another_takes_over_when_the_origin_has_ended(preloaded: Preloaded, tmp_path: Path) -> None:
    first = serving(preloaded, tmp_path / "one", THE_KEY="k")
    origin = int(Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(origin, signal.SIGKILL)
    wait_until(lambda: is_gone(origin))
    second = serving(preloaded, tmp_path / "two", THE_KEY="k")
    assert second.is_running()
    first.kill()
    second.kill()
