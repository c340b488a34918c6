"""A real server as a child process: started on a free loopback port, crashed, restarted, and always ended."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from simulator.errors import EnvironmentFailedError

__all__ = ["ServerProcess", "free_port"]

READY_WITHIN_S = 30.0
LOG_TAIL_LINES = 12


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """One real server in a directory of its own. Subclasses say how it is called and when it is ready.

    Calls block; inside Trio run them in a thread. The directory survives `kill` and `start` (a crash and a
    restart) and goes with `close`.
    """

    name = "server"

    def __init__(self, port: int | None = None) -> None:
        self.port = port if port is not None else free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"wavetank-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return the command line that runs the server in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Say whether the server answers a first request now. May raise OSError for "not yet"."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """Where standard output and error of every incarnation go."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises EnvironmentFailedError when it is not installed, ends at once, or does not answer in time.
        """
        command = list(self.command())
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise EnvironmentFailedError(
                    f"{self.name} could not be started: {error}. command={command[0]!r}. "
                    "Install it with scripts/services, then try again."
                ) from error
        self._wait_ready()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash does, and reap it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

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
