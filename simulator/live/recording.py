"""Recorded sessions: what was seen, an event a line, as it came; and how sessions and hosts' logs are read again."""

import contextlib
import heapq
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import attrs
import msgspec

from simulator.errors import EnvironmentFailedError, InputError
from simulator.history import Event, Kind
from simulator.live.logs import entry_of
from simulator.trace import event_record
from simulator.whole_file import cure

__all__ = ["SESSION", "Recorded", "Recording", "SessionWriter", "Source"]

SESSION = "wavetank-session"
VERSION = 1


class _Header(msgspec.Struct, frozen=True):
    """The first line of a session."""

    format: str
    version: int
    system: str = ""
    begun_at: str = ""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any other line: an event as `event_record` has it."""

    at_s: float
    kind: Kind
    host: str
    name: str
    operation: int | None = None
    data: dict[str, Any] = {}


class SessionWriter:
    """Writes a session. What was written is there to be read also if this process is killed.

    Raises InputError for a file that has something in it, and EnvironmentFailedError for what cannot be written.
    """

    def __init__(self, path: Path, system: str) -> None:
        if path.is_file() and path.stat().st_size:
            raise InputError(f"{path} is there already, and would be lost. Record to another file, or remove it.")
        self._path = path
        begun_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._write(msgspec.json.encode(_Header(SESSION, VERSION, system, begun_at)))
        except EnvironmentFailedError:
            self.close()
            raise

    def write(self, events: Sequence[Event]) -> None:
        """Write some events, to the last byte."""
        if events:
            self._write(b"\n".join(msgspec.json.encode(event_record(event)) for event in events))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what could not be written was told when it was tried
            self._file.close()

    def _write(self, lines: bytes) -> None:
        try:
            self._file.write(lines + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> EnvironmentFailedError:
        return EnvironmentFailedError(f"the session could not be recorded: {error}. path={self._path}. {cure(error)}.")


@attrs.frozen
class Source:
    """A file to be read; its host, if all of it is of one."""

    path: Path
    host: str = ""

    @classmethod
    def of(cls, text: str) -> Self:
        """Return what `[HOST=]FILE` names. A file whose own name has a = in it is that file."""
        host, equals, path = text.partition("=")
        return cls(Path(path), host) if equals and not Path(text).exists() else cls(Path(text))


@attrs.frozen
class Recorded:
    """An event that was read, and where: file and line."""

    event: Event
    where: str


class Recording:
    """The events of one session, or of the logs of hosts merged by their timestamps, whose first one is at 0 s.

    Iterate once; close, or use as a context manager. Raises InputError that names file and line for what is damaged.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._files: list[IO[bytes]] = []
        self.system = ""
        """The name of the system that a session is of, if it says so."""
        self._is_session = False
        try:
            for source in sources:
                self._open(source)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __iter__(self) -> Iterator[Recorded]:
        if self._is_session:
            yield from _session(self._sources[0].path, self._files[0])
            return
        logs = [_log(source, file) for source, file in zip(self._sources, self._files, strict=True)]
        begun_s = None
        for each in heapq.merge(*logs, key=lambda each: each.event.at_s):
            begun_s = each.event.at_s if begun_s is None else begun_s
            yield attrs.evolve(each, event=attrs.evolve(each.event, at_s=each.event.at_s - begun_s))

    def _open(self, source: Source) -> None:
        try:
            file = source.path.open("rb")
            self._files.append(file)
            first = file.readline()
        except OSError as error:
            raise InputError(f"the log cannot be read: {error}.") from error
        header = _header(source.path, first)
        if header is None:
            file.seek(0)
            return
        if len(self._sources) > 1:
            raise InputError(f"{source.path} is a recorded session, whose times are its own. Name it alone.")
        self.system, self._is_session = header.system, True


def _header(path: Path, line: bytes) -> _Header | None:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if header.format != SESSION:
        return None
    if header.version > VERSION:
        raise InputError(
            f"{path} has format version={header.version}, and this wavetank reads up to {VERSION}. Upgrade wavetank."
        )
    return header


def _session(path: Path, file: IO[bytes]) -> Iterator[Recorded]:
    decoder = msgspec.json.Decoder(_Record)
    for number, line in enumerate(file, 2):
        try:
            record = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not line.endswith(b"\n"):
                return  # whoever recorded it was killed half-way through this line
            raise InputError(
                f"{path}:{number} is no event of a recorded session: {error}. Remove the line, or record anew."
            ) from error
        event = Event(number, record.at_s, record.kind, record.host, record.name, record.data, record.operation)
        yield Recorded(event, f"{path}:{number}")
        if event.kind is Kind.MARK and event.name == "end":
            return  # of a run: what its end does to those who are still there is none of it


def _log(source: Source, file: IO[bytes]) -> Iterator[Recorded]:
    """Yield the entries of a log, in seconds since the epoch; what is no entry is passed over."""
    latest_s = -math.inf
    for number, line in enumerate(file, 1):
        entry = entry_of(line, unsaid_s=math.nan)
        if entry is None:
            continue
        where, fields = f"{source.path}:{number}", dict(entry.fields)
        if math.isnan(entry.logged_at_s):
            raise InputError(
                f'{where} does not say when. Every entry needs a "timestamp" such as 2026-01-31T12:00:00Z.'
            )
        host = source.host or fields.pop("host", None)
        if not host or not isinstance(host, str):
            raise InputError(f'{where} does not say of which host it is. Write HOST={source.path}, or log a "host".')
        latest_s = max(latest_s, entry.logged_at_s)  # a thread may log a moment late, and the merge wants order
        yield Recorded(Event(number, latest_s, Kind.OBSERVE, host, entry.name, fields), where)
