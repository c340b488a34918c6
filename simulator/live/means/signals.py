"""A process of this machine that is struck by signals, and started again by a command."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from simulator.errors import EnvironmentFailedError
from simulator.live.deed import Deed, Means
from simulator.live.means.command import run_command
from simulator.live.target import BySignals

__all__ = ["Signals", "state_of"]

POLL_S = 0.02
ENDS = ("crash", "terminate")


class Signals(Means):
    """The process whose number is in a file. It is ours to strike only while that file says so."""

    def __init__(self, described: BySignals) -> None:
        self._described = described

    def why_not(self, deed: Deed) -> str | None:
        """Signals stop and continue a process; to end it there must be a way back."""
        if deed.at != (self._described.host,):
            return ""
        if deed.action in (*ENDS, "restart") and self._described.start is None:
            return f"no command starts {self._described.host} again (start)"
        return None if deed.action in (*ENDS, "restart", "freeze", "thaw") else ""

    def do(self, deed: Deed) -> None:
        """Send the signal, or start the process again."""
        match deed.action:
            case "crash":
                self._signal(signal.SIGKILL)
                self._wait_ended()
            case "terminate":
                self._signal(signal.SIGTERM)
            case "freeze":
                self._signal(signal.SIGSTOP)
                self._wait(lambda: self._state() in ("T", ""), "did not stop")
            case "thaw":
                self._signal(signal.SIGCONT, needed=False)
            case "restart":
                self._restart()

    def probe(self) -> str:
        """See whether the process runs and is ours to strike."""
        self._signal(0)
        return f"{self._described.host} runs as process {self._pid()}"

    def processes(self) -> dict[str, int]:
        """Return it while it runs."""
        pid = self._pid()
        return {} if pid is None else {self._described.host: pid}

    def revive(self, broken: Sequence[str]) -> None:
        """Wait until the process is there."""
        if self._described.host not in broken:
            self._wait(lambda: self._pid() is not None, "did not come up")

    def heal(self) -> None:
        """Let it go on; start it if it is gone."""
        self._signal(signal.SIGCONT, needed=False)
        if self._described.start is not None and self._pid() is None:
            self._restart()

    def _restart(self) -> None:
        if self._described.start is None:
            return
        if self._pid() is not None:  # told to end, and has not yet
            self._signal(signal.SIGKILL, needed=False)
            self._wait_ended()
        run_command(self._described.start, within_s=self._described.within_s)

    def _pid(self) -> int | None:
        """Return the process's number while it runs."""
        try:
            pid = int(self._described.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if pid > 1 and state_of(pid) not in ("", "Z") else None

    def _state(self) -> str:
        pid = self._pid()
        return "" if pid is None else state_of(pid)

    def _signal(self, number: int, *, needed: bool = True) -> None:
        pid = self._pid()
        if pid is None and needed:
            raise EnvironmentFailedError(
                f"no process of {self._described.host} runs: {self._described.pid_file} names none. Start it first."
            )
        if pid is not None:
            try:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            except PermissionError as error:
                raise EnvironmentFailedError(
                    f"a signal to {self._described.host} (pid {pid}) is not permitted. Run as its user."
                ) from error

    def _wait_ended(self) -> None:
        self._wait(lambda: self._pid() is None, "did not end")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + self._described.within_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise EnvironmentFailedError(
                    f"{self._described.host} {what} within {self._described.within_s:g} s. See its own log."
                )
            time.sleep(POLL_S)


def state_of(pid: int) -> str:
    """Return the state of a process as the kernel has it: T stopped, Z ended but not reaped; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
