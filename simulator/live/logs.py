"""What a real host says of itself: a file of JSON lines, whose entries are observations."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec

from simulator.errors import EnvironmentFailedError

__all__ = ["HostLog", "LogEntry"]

_NOISE = ("timestamp", "level", "logger")


@attrs.frozen
class LogEntry:
    """One line: its `event`, its other fields, and when it was logged, in seconds since the epoch."""

    name: str
    fields: Mapping[str, Any]
    logged_at_s: float


class HostLog:
    """The log of one host, from its present end on. Lines that are not JSON objects with an `event` are passed over."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise EnvironmentFailedError(
                f"the target's log cannot be read: {error}. See [logs] in its file."
            ) from error
        self._file.seek(0, 2)
        self._rest = b""

    def read(self) -> list[LogEntry]:
        """Return each entry that was written since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        entries = []
        for line in lines:
            try:
                fields = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue  # a traceback, or another program's words
            name = fields.pop("event", None)
            if isinstance(name, str):
                kept = {key: value for key, value in fields.items() if key not in _NOISE}
                entries.append(LogEntry(name, kept, _logged_at_s(fields.get("timestamp"))))
        return entries

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _logged_at_s(timestamp: object) -> float:
    """Return an ISO 8601 time as seconds since the epoch; the present for an entry that does not say."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return time.time()
