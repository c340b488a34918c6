"""What a real host says of itself: a file of JSON lines, whose entries are observations."""

from pathlib import Path
from typing import Any

import msgspec

from simulator.errors import EnvironmentFailedError

__all__ = ["HostLog"]

_NOISE = ("timestamp", "level", "logger")


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

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the name and the fields of each entry that was written since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        entries = []
        for line in lines:
            try:
                fields = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue  # a traceback, or another program's words
            name = fields.pop("event", None)
            if isinstance(name, str):
                entries.append((name, {key: value for key, value in fields.items() if key not in _NOISE}))
        return entries

    def close(self) -> None:
        """Close the file."""
        self._file.close()
