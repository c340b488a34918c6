"""A real server as a child process: started on a free loopback port, crashed, restarted, and always ended."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from simulator.errors import EnvironmentFailedError

__all__ = ["ServerProcess", "free_port"]

READY_WITHIN_S = 30.0
LOG_TAIL_LINES = 12

# The server replaces this shell. Beside it, in its process group, a second shell waits until nobody holds the other end
# of its standard input any more: the server is then ended, and its directory removed, however we came to our end.
WATCHED = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL $$; rm -rf -- "$0"; kill -KILL 0; } &
exec "$@" 3<&-
"""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """One real server in a directory of its own. Subclasses say how it is called and when it is ready.

    Calls block; inside Trio run them in a thread. The directory survives `kill` and `start` (a crash and a
    restart) and goes with `close`. When the process that started the server ends, however it does, both go too.
    """

    name = "server"

    def __init__(self, port: int | None = None) -> None:
        self.port = port if port is not None else free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"wavetank-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return the command line that runs the server in the foreground."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables of the server: our own."""
        return os.environ

    def is_ready(self) -> bool:
        """Say whether the server answers a first request now. May raise OSError for "not yet"."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def log(self) -> Path:
        """Where standard output and error of every incarnation go."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises EnvironmentFailedError when it is not installed, ends at once, or does not answer in time.
        """
        self.kill()  # what an incarnation that ended by itself left behind
        command = list(self.command())
        if shutil.which(command[0]) is None:
            raise EnvironmentFailedError(
                f"{self.name} could not be started: {command[0]} is not installed. "
                "Install it with scripts/services, then try again."
            )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WATCHED, str(self.directory), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.environment(),
                start_new_session=True,
            )
        self._wait_ready()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash does, and reap it."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def freeze(self) -> None:
        """Stop the server where it is. What watches over it goes on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a stopped server go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its directory. Safe to call twice."""
        self.kill()
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

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

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
