"""A real server as a child process: started on a free loopback port, crashed, restarted, and always ended."""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from simulator.errors import EnvironmentFailedError

__all__ = ["Child", "ServerProcess", "end_processes", "free_port", "wait_ended"]

READY_WITHIN_S = 30.0
PORTS = range(10_000, 32_768)
PORTS_TRIED = 100
LOG_TAIL_LINES = 12

# The server replaces this shell. Beside it, in its process group, a second shell waits until nobody holds the other end
# of its standard input any more: the server is then ended with all that it has forked, and its directory removed,
# however we came to our end. It is not the server's child, so that a server's children are all its own.
WATCHED = """
exec 3<&0 </dev/null
sweep=$1
shift
( { read -r _ <&3
    kill -STOP $$
    kill -KILL $(cat /proc/$$/task/$$/children) $$
    eval "$sweep"
    rm -rf -- "$0"
    kill -KILL 0
  } & )
exec "$@" 3<&-
"""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody had a moment ago.

    It is none of those that systems give to whoever connects somewhere: one of these could be taken before its server
    starts, or while that is down.
    """
    for port in random.SystemRandom().sample(PORTS, PORTS_TRIED):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EnvironmentFailedError(f"no port of 127.0.0.1 is free, of {PORTS_TRIED} that were tried below {PORTS.stop}.")


class ServerProcess:
    """One real server in a directory of its own. Subclasses say how it is called and when it is ready.

    Calls block; inside Trio run them in a thread. The directory survives `kill` and `start` (a crash and a
    restart) and goes with `close`. When the process that started the server ends, however it does, both go too.

    What the server has forked is ended, stopped and continued with it. Not seen: children of those children.
    """

    name = "server"
    sweep = ""
    """Shell words that remove what a killed server leaves outside its directory, which is `$0`."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port if port is not None else free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"wavetank-{self.name}-"))
        self._child: Child | None = None

    def command(self) -> Sequence[str]:
        """Return the command line that runs the server in the foreground."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables of the server: our own."""
        return os.environ

    def is_ready(self) -> bool:
        """Say whether the server answers a first request now. May raise OSError for "not yet"."""
        raise NotImplementedError

    def launch(self) -> "Child":
        """Run the server in the foreground of a process of its own, and return that at once.

        Raises EnvironmentFailedError when it is not installed.
        """
        command = list(self.command())
        if shutil.which(command[0]) is None:
            raise EnvironmentFailedError(
                f"{self.name} could not be started: {command[0]} is not installed. "
                "Install it with scripts/services, then try again."
            )
        return _Watched(self.directory, self.log, self.sweep, command, self.environment())

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._child.pid if self._child is not None and self._child.is_running() else None

    @property
    def log(self) -> Path:
        """Where standard output and error of every incarnation go."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises EnvironmentFailedError when it is not installed, ends at once, or does not answer in time.
        """
        self.kill()  # what an incarnation that ended by itself left behind
        self._child = self.launch()
        self._wait_ready()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash does, and return when nothing of it runs any more."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def freeze(self) -> None:
        """Stop the server where it is. What watches over it goes on."""
        pid = self.pid
        if pid is not None:
            _stopped(pid)

    def thaw(self) -> None:
        """Let a stopped server go on."""
        pid = self.pid
        if pid is not None:
            for each in (*_children(pid), pid):
                _signal(each, signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its directory. Safe to call twice."""
        self.kill()
        if self.sweep:  # it finds nothing after a server that ended in order, or a second time
            subprocess.run(["/bin/sh", "-c", self.sweep, str(self.directory)], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.pid is None:
                break
            with contextlib.suppress(OSError):
                if self.is_ready():
                    return
            time.sleep(0.02)
        ended = self.pid is None
        self.kill()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        what = "ended at once" if ended else f"did not answer within {READY_WITHIN_S:.0f} s"
        raise EnvironmentFailedError(f"{self.name} {what} on port={self.port}. Its last words:\n{tail}")


class Child(Protocol):
    """The process of a server: one incarnation of it."""

    pid: int

    def is_running(self) -> bool:
        """Say whether it has not ended."""

    def kill(self) -> None:
        """End it and all that it has forked, and return when nothing of it runs any more."""


class _Watched:
    """A child of ours that ends when we do. What it writes goes to a log."""

    def __init__(
        self, directory: Path, log: Path, sweep: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WATCHED, str(directory), sweep, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        children = _stopped(self.pid) if self.is_running() else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        end_processes(children)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _stopped(server: int) -> list[int]:
    """Stop a server and return its children, stopped too. It is stopped first, so that it forks no more of them."""
    _signal(server, signal.SIGSTOP)
    with contextlib.suppress(ChildProcessError):  # it has ended, and is reaped; or it is not our child
        os.waitid(os.P_PID, server, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    stopped: list[int] = []
    # The kernel may leave out some of the list when one that it has just told of ends, hence again.
    while new := [child for child in _children(server) if child not in stopped]:
        for child in new:
            _signal(child, signal.SIGSTOP)
        stopped += new
    return stopped


def _children(pid: int) -> list[int]:
    """Return what a process has forked, as Linux tells it."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def wait_ended(handle: int, within_s: float | None = None) -> bool:
    """Wait until the process of a handle has ended, at most so long; say whether it has."""
    poll = select.poll()  # unlike select.select, it takes handles of any number
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(None if within_s is None else 1000 * within_s))


def end_processes(pids: Sequence[int]) -> None:
    """Kill processes that are not ours to reap, and return when they have let go of everything."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                _signal(pid, signal.SIGKILL)
                wait_ended(handle)
            finally:
                os.close(handle)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
