"""Traces: the file that keeps a failure, complete enough that anyone can run it again."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from simulator.errors import InputError
from simulator.history import Event, Value
from simulator.plan import Plan
from simulator.whole_file import write_whole

__all__ = ["FAILURES", "Trace", "find_trace", "load_trace", "save_trace", "write_trace"]

FAILURES = Path(".wavetank") / "failures"
FORMAT = "wavetank-trace"
VERSION = 1
BEGIN = f'{{"format":"{FORMAT}"'.encode()
SNIFFED_BYTES = 100
NO_TRACE = "is not a wavetank trace. Name a trace.json that wavetank check saved."
SAME_ID_MAX = 99
TRACE_FILE = "trace.json"


class Broken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which promise was broken, where, on what evidence."""

    property: str
    site: str
    evidence: str


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A saved failure. Replay needs `system` (importable), `defects`, `plan` and `broken`; the rest is for readers.

    `hash` is that of the history that the plan makes; `events` is that history.
    """

    format: str = FORMAT
    version: int = VERSION
    system: str
    defects: tuple[str, ...]
    seed: int
    plan: Plan
    broken: Broken
    hash: str
    simulated_s: float
    story: tuple[str, ...]
    events: tuple[dict[str, Value], ...]

    @property
    def id(self) -> str:
        """The name under which the trace is kept: the property, and the beginning of the hash."""
        return f"{self.broken.property}-{self.hash[:8]}"


def event_record(event: Event) -> dict[str, Value]:
    """Return an event as a trace keeps it."""
    record: dict[str, Value] = {
        "at_s": event.at_s,
        "kind": event.kind.value,
        "host": event.host,
        "name": event.name,
    }
    if event.operation is not None:
        record["operation"] = event.operation
    if event.data:
        record["data"] = dict(event.data)
    return record


def save_trace(trace: Trace, directory: Path | None = None) -> Path:
    """Write a trace under `.wavetank/failures/ID/`, whole or not at all. Raises EnvironmentFailedError.

    That of another system, or of other defects, with the same ID is not replaced: this one gets a number after it.
    """
    names = (trace.id, *(f"{trace.id}-{number}" for number in range(2, SAME_ID_MAX + 1)))
    paths = [(directory or FAILURES) / name / TRACE_FILE for name in names]
    return write_trace(trace, next((path for path in paths if _may_be_replaced(path, trace)), paths[-1]))


def _may_be_replaced(path: Path, trace: Trace) -> bool:
    try:
        saved = load_trace(path)
    except InputError:
        return True  # nothing is there, or nothing that could be read
    return (saved.system, saved.defects) == (trace.system, trace.defects)


def write_trace(trace: Trace, path: Path) -> Path:
    """Write a trace to a file, whole or not at all. Raises EnvironmentFailedError.

    A trace that is there already is replaced only by a complete new file.
    """
    body = msgspec.to_builtins(trace)
    body["checksum"] = _checksum(body)
    text = msgspec.json.format(msgspec.json.encode(body), indent=1)
    write_whole(path, text, "the trace")
    return path


def find_trace(name: str) -> Path:
    """Return the path of a trace by its file name, its ID, or the beginning of its ID. Raises InputError."""
    path = Path(name)
    if path.is_file():
        return path
    if (path / TRACE_FILE).is_file():
        return path / TRACE_FILE
    known = sorted(each.parent.name for each in FAILURES.glob(f"*/{TRACE_FILE}"))
    matching = [each for each in known if each.startswith(name)]
    if name in known:
        matching = [name]
    if not matching and path.is_dir():
        raise InputError(f"{name} is a directory without a {TRACE_FILE}. Name one that wavetank check saved, or an ID.")
    if len(matching) != 1:
        what = "no trace" if not matching else f"{len(matching)} traces"
        listed = (
            f"Saved here: {', '.join(known)}."
            if known
            else f"None is saved under {FAILURES}; run wavetank check first."
        )
        raise InputError(f"{what} named {name!r}. {listed}")
    return FAILURES / matching[0] / TRACE_FILE


def load_trace(path: Path, no_trace: str = NO_TRACE) -> Trace:
    """Read a trace. Raises InputError that says what is wrong with the file: not a trace, too new, damaged.

    `no_trace` is what is said of one that is not a trace, by those that take other files, too.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the trace cannot be read: {error}.") from error
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not _may_be_damaged(content):
            raise InputError(f"{path} {no_trace}") from error
        raise InputError(
            f"{path} is damaged or truncated: {error}. Copy it again from where it was saved, or find the failure anew."
        ) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise InputError(f"{path} {no_trace}")
    version = body.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"{path} has format version={version!r}, and this wavetank reads up to {VERSION}. Upgrade wavetank."
        )
    expected = body.pop("checksum", None)
    if expected != _checksum(body):
        raise InputError(f"{path} is damaged: its checksum does not match. Copy it again, or find the failure anew.")
    try:
        return msgspec.convert(body, Trace)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is damaged: {error}. Copy it again, or find the failure anew.") from error


def _may_be_damaged(content: bytes) -> bool:
    """Say whether this may be what is left of a trace: it names the format in the beginning, or ends before that."""
    begin = content[:SNIFFED_BYTES]
    return FORMAT.encode() in begin or BEGIN.startswith(b"".join(begin.split()))


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="deterministic"), digest_size=16).hexdigest()
