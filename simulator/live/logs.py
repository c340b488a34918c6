"""What a real host says of itself: a file of JSON lines, whose entries are observations."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec

from simulator.errors import EnvironmentFailedError
from simulator.live.target import HostTarget
from simulator.redaction import redacted

__all__ = ["HostLog", "LogEntry", "LogStream", "entry_of", "is_error", "opened_log"]

_NOISE = ("timestamp", "level", "logger")
_GRAVE = ("error", "critical", "fatal", "panic", "alert", "emergency")
_GRAVE_TEXT = re.compile(
    rb"^\s*(\+ Exception Group )?Traceback \(most recent call last\)|\b(ERROR|CRITICAL|FATAL|PANIC)\b"
)
SHOWN_CHARACTERS = 200


@attrs.frozen
class LogEntry:
    """One line: its `event`, its other fields, and when it was logged, in seconds since the epoch."""

    name: str
    fields: Mapping[str, Any]
    logged_at_s: float


class HostLog:
    """The log of one host, from its present end on. Lines that are not JSON objects with an `event` are passed over.

    Secrets that are known are removed from each line before anything else is done with it.
    """

    errors: list[str]
    """The lines so far that tell of an error: of that level or a worse one, and where a traceback begins."""

    def __init__(self, path: Path) -> None:
        self.errors = []
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise EnvironmentFailedError(
                f"the target's log cannot be read: {error}. See log under [hosts] in its file."
            ) from error
        self._file.seek(0, 2)
        self._rest = b""

    def read(self) -> list[LogEntry]:
        """Return each entry that was written since the last call."""
        *lines, self._rest = (self._rest + self._chunk()).split(b"\n")
        now_s = time.time()
        self.errors += [redacted(line.decode(errors="replace"))[:SHOWN_CHARACTERS] for line in lines if is_error(line)]
        return [each for each in (entry_of(line, unsaid_s=now_s) for line in lines) if each is not None]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can come."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _chunk(self) -> bytes:
        return self._file.read()


class LogStream(HostLog):
    """The log that a command writes to its standard output from now on. It is killed at the end."""

    def __init__(self, command: Sequence[str]) -> None:
        self.errors = []
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise EnvironmentFailedError(f"the target's log_command {command[0]!r} cannot be run: {error}.") from error
        assert self._process.stdout is not None
        self._file: Any = self._process.stdout
        os.set_blocking(self._file.fileno(), False)
        self._rest = b""

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the command, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        super().close()

    def _chunk(self) -> bytes:
        chunk: bytes | None = self._file.read()
        return chunk or b""


def opened_log(host: HostTarget) -> HostLog:
    """Return the log that a target declares for a host. Raises EnvironmentFailedError when it cannot be read."""
    if host.log_command is not None:
        return LogStream(host.log_command)
    assert host.log is not None
    return HostLog(host.log)


def is_error(line: bytes) -> bool:
    """Say whether a line tells of an error: by its level, or in words where it is no JSON object."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return _GRAVE_TEXT.search(line) is not None
    return str(fields.get("level")).lower() in _GRAVE or "exception" in fields


def entry_of(line: bytes, *, unsaid_s: float) -> LogEntry | None:
    """Return what a line says, without the secrets that are known; None for what is no JSON object with an `event`.

    `unsaid_s` stands for the time of an entry that has no `timestamp` in the format of ISO 8601.
    """
    try:
        fields = msgspec.json.decode(redacted(line.decode(errors="replace")), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None  # a traceback, or another program's words
    name = fields.pop("event", None)
    if not isinstance(name, str):
        return None
    kept = {key: value for key, value in fields.items() if key not in _NOISE}
    try:
        logged_at_s = datetime.fromisoformat(str(fields.get("timestamp"))).timestamp()
    except ValueError:
        logged_at_s = unsaid_s
    return LogEntry(name, kept, logged_at_s)
