"""Processes of our own that start at once: split off from one that has loaded the code for all of them.

`python -m wavetank.preloaded` is that one. It reads orders as lines of JSON and answers each with the number of the
process that carries it out. When its standard input ends, it ends those, and removes their directories.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import NoReturn, Self

import msgspec

from simulator.errors import EnvironmentFailedError
from simulator.live.process import end_processes, wait_ended

__all__ = ["Forked", "Preloaded"]

LOADED = ("wavetank.sub_commands", "wavetank.serve", "wavetank.serve_llm", "models.psycopg_database")


class Order(msgspec.Struct, frozen=True):
    """Become this command of wavetank's, in that directory and environment, and write to that log."""

    words: tuple[str, ...]
    directory: str
    log: str
    environment: dict[str, str]


class Preloaded:
    """The process that has loaded the code. It is started with the first of those that it becomes."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def run(self, words: Sequence[str], *, directory: Path, log: Path, environment: Mapping[str, str]) -> "Forked":
        """Run a command of wavetank's in a process of its own. Raises EnvironmentFailedError when that cannot be."""
        order = Order(tuple(words), str(directory), str(log), dict(environment))
        with self._lock:  # servers are started in threads
            answer = self._ask(msgspec.json.encode(order) + b"\n")
        if not answer:
            raise EnvironmentFailedError(f"no process could be split off for {words[0]}: the one to do it has ended.")
        return Forked(int(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and what it has become. Safe to call twice."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _ask(self, order: bytes) -> bytes:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        process = self._process
        if process is None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "wavetank.preloaded"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(order)
            process.stdin.flush()
        except BrokenPipeError:
            return b""
        return process.stdout.readline()


class Forked:
    """A process that was split off. It is not our child, so it is watched by a handle that no other can take over."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._handle = -1

    def is_running(self) -> bool:
        """Say whether it has not ended."""
        return self._handle >= 0 and not wait_ended(self._handle, 0.0)

    def kill(self) -> None:
        """End it, and return when it has."""
        if self._handle >= 0:
            if self.is_running():
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                wait_ended(self._handle)
            os.close(self._handle)
            self._handle = -1


def main() -> None:
    """Load the code, and carry out orders until there are no more."""
    for module in LOADED:
        try:
            import_module(module)
        except ImportError:  # whoever needs it says so
            continue
    gc.freeze()  # so that what is loaded stays shared
    running: dict[int, None] = {}
    directories: dict[str, None] = {}
    for line in sys.stdin.buffer:
        for pid in list(running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del running[pid]
        order = msgspec.json.decode(line, type=Order)
        directories[order.directory] = None
        if not (pid := os.fork()):
            _become(order)
        running[pid] = None
        print(pid, flush=True)
    end_processes([*running])
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _become(order: Order) -> NoReturn:
    """Be the command, as if it had been called in a shell."""
    code: object = 1
    try:
        os.setsid()
        os.chdir(order.directory)
        null, log = os.open(os.devnull, os.O_RDONLY), os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for number, opened in enumerate((null, log, log)):
            os.dup2(opened, number)
        os.environ.clear()
        os.environ.update(order.environment)
        sys.argv[:] = ["wavetank", *order.words]
        from wavetank.command import main as command

        command()
    except SystemExit as end:
        code = end.code
    except BaseException:  # for the log: a process that ends in this way has nobody above it to tell
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
