"""Secrets of a target are in nothing that wavetank writes or says: canaries, wherever a system can let them out."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.plan import Do, Plan, Setting, Step
from simulator.trace import Broken, Trace, write_trace
from tests.command.stage import edited, environment

CANARY = "canary-7d1f0c52"
SYSTEM = "tests.live.leaky:system"


@contextlib.contextmanager
def echoing(log: Path) -> Iterator[int]:
    """Run a server that says what it is told, and logs it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, log.open("a") as file:
                    said = connection.recv(1000)
                    file.write(json.dumps({"event": "logged", "said": said.decode()}) + "\n")
                    file.flush()
                    connection.sendall(said)

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()


def plan(*operations: str) -> Plan:
    return Plan(Setting(), tuple(Step(Do(each, 0), 0.2) for each in operations))


def ran(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wavetank", *arguments],
        cwd=directory,
        env=environment(PASSWORD=CANARY),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def assert_kept_secret(directory: Path, said: "subprocess.CompletedProcess[str]", log: Path) -> None:
    assert CANARY not in said.stdout + said.stderr
    for path in directory.rglob("*"):
        if path.is_file() and path != log:  # the log is the server's own
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("operations", "promise", "shown"),
    [
        (("log_in",), "secretive", "it was said: "),
        (("fail",), "uncaught", "rejected: <secret>"),
        (("log_in", "fail"), "secretive", "hello <secret>"),
    ],
)
def test_what_a_system_says_of_a_secret_is_told_without_it(
    tmp_path: Path, operations: tuple[str, ...], promise: str, shown: str
) -> None:
    """Frames, results, errors, stores and logs: all that is judged is judged without the secret."""
    log = tmp_path / "server.log"
    log.touch()
    with echoing(log) as port:
        (tmp_path / "target.toml").write_text(
            f'[hosts.server]\naddress = "127.0.0.1:{port}"\nlog = "server.log"\n'
            '[credentials]\npassword = { env = "PASSWORD" }\n'
        )
        trace = Trace(
            system=SYSTEM,
            defects=(),
            seed=0,
            plan=plan(*operations),
            broken=Broken(property=promise, site="", evidence=""),
            hash="0" * 32,
            simulated_s=1.0,
            story=(),
            events=(),
        )
        write_trace(trace, tmp_path / "trace.json")
        said = ran(tmp_path, "replay", "trace.json", "--target", "target.toml", "-n", "1")
        assert said.returncode == 1, said.stderr
        assert shown in said.stdout
        assert_kept_secret(tmp_path, said, log)
        doctored = ran(tmp_path, "target", "doctor", "--system", SYSTEM, "--json", "doctor.json")
        assert "15 characters" in doctored.stdout
        assert_kept_secret(tmp_path, doctored, log)


def test_what_fails_with_a_secret_in_its_words_is_told_without_it(tmp_path: Path) -> None:
    """A command that reports what it was called with, an address that is one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / "target.toml").write_text(
            f'[hosts.server]\naddress = "127.0.0.1:{listener.getsockname()[1]}"\n'
            '[credentials]\npassword = { env = "PASSWORD" }\n'
            '[[means]]\nby = "command"\naction = "crash"\nat = "server"\n'
            'do = ["/bin/sh", "-c", "echo cannot log in with $PASSWORD; exit 1"]\nundo = ["true"]\n'
        )
        body = {"kind": "crash", "at": ["server"], "for_s": 0.1}
        steps = [{"action": {"action": "strike", "fault": body}}]
        trace = Trace(
            system=SYSTEM,
            defects=(),
            seed=0,
            plan=plan(),
            broken=Broken(property="uncaught", site="", evidence=""),
            hash="0" * 32,
            simulated_s=1.0,
            story=(),
            events=(),
        )
        path = write_trace(trace, tmp_path / "trace.json")
        edited(path, {"plan": {"setting": {}, "steps": steps}})
        said = ran(tmp_path, "replay", "trace.json", "--target", "target.toml", "-n", "1")
        assert said.returncode == 2
        assert "ended with 1: cannot log in with <secret>" in said.stderr
        assert_kept_secret(tmp_path, said, tmp_path / "none")
