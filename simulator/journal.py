"""The journal of a campaign: what its batches came to, line by line as they come, so that it outlives its process."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import attrs
import msgspec

from simulator.batch import Searched
from simulator.divergence import Record
from simulator.errors import InputError
from simulator.plan import Plan
from simulator.whole_file import cure

__all__ = ["CAMPAIGNS", "Journal", "Kept", "Settings", "find_campaign", "is_running", "read_campaign", "saved"]

CAMPAIGNS = Path(".wavetank") / "campaigns"
FILE = "journal.jsonl"
LATEST = "latest"
KEPT = 10
"""So many campaigns are kept, the latest; those that are running beside them."""

BRIEF_S = 30.0
"""A search that took less is sooner made again than continued, and leaves no journal."""

BEGIN = b'{"checksum":"'
CHECKSUM_HEX = 16


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a campaign is of: the first line of its journal. The same settings make the same runs.

    `version` is wavetank's: another one may draw other runs from the same seed.
    """

    version: str
    system: str
    defects: tuple[str, ...]
    properties: tuple[str, ...]
    seed: int
    runs: int | None
    steps: int
    max_time_s: float | None
    until_flat: bool
    doublecheck: bool
    profile: str


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="batch"):
    """What a batch came to, after so many seconds of search in all. What it reached is compressed: many plans."""

    real_s: float
    searched: Searched
    reached: bytes

    @classmethod
    def of(cls, searched: Searched, real_s: float) -> Self:
        reached = zlib.compress(msgspec.json.encode(searched.reached))
        return cls(real_s, attrs.evolve(searched, reached={}), reached)

    def whole(self) -> Searched:
        reached = msgspec.json.decode(zlib.decompress(self.reached), type=dict[str, Plan])
        return attrs.evolve(self.searched, reached=reached)


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="end"):
    """How a campaign ended that was not killed, and what it told."""

    exit_code: int
    told: str


@attrs.frozen(kw_only=True)
class Kept:
    """What a journal says: the batches from the first on, and how it ended. `sound` is how many bytes of it hold.

    Without an ID, that of a campaign which has not begun.
    """

    id: str = ""
    settings: Settings
    searched: tuple[Searched, ...] = ()
    real_s: float = 0.0
    end: End | None = None
    sound: int = 0

    @property
    def runs(self) -> int:
        """How many runs it tells of."""
        return sum(each.statistics.runs for each in self.searched)


class Journal:
    """Writes what a campaign comes to, from when something was found or the search is no brief one any more.

    A context manager. A journal that cannot be written is told once, to `on_failure`, and hinders nothing else.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[str], None]) -> None:
        self.id = ""
        """Its name, once it is on disk."""
        self._on_failure = on_failure
        self._file: int | None = None
        self._is_given_up = False
        self._unwritten = [_line(settings)]
        self._shown: set[str] = set()
        self._real_s = 0.0

    @classmethod
    def reopen(cls, name: str, on_failure: Callable[[str], None]) -> tuple[Self, Kept]:
        """Return the journal of an earlier campaign, to go on with, and what it says. Half a last line is cut off.

        Raises InputError when there is none, it is damaged, or the campaign is still running.
        """
        kept = read_campaign(find_campaign(name))
        if is_running(kept.id):
            raise InputError(f"campaign {kept.id} is still running. Wait for it, or end it first.")
        journal = cls(kept.settings, on_failure)
        journal.id, journal._unwritten, journal._real_s = kept.id, [], kept.real_s
        journal._shown.update(each for searched in kept.searched for each in searched.statistics.first_run)
        with journal._excused():  # a disk that has become read-only does not hinder what is left to be searched
            journal._file = os.open(CAMPAIGNS / kept.id / FILE, os.O_WRONLY | os.O_APPEND)
            fcntl.lockf(journal._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(journal._file, kept.sound)
        return journal, kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def add(self, searched: Searched, real_s: float) -> None:
        """Note a finished batch, after so many seconds of search in all. Batches come in their order."""
        self._real_s = real_s
        if self._is_given_up:
            return
        # Of the behaviours only the new ones: the others are in the lines before, and are most of a line.
        new = {name: run for name, run in searched.statistics.first_run.items() if name not in self._shown}
        self._shown.update(new)
        statistics = attrs.evolve(searched.statistics, first_run=new)
        # Of a run that passed the hash is enough: it only shows whether the system is still the same.
        last = searched.last and attrs.evolve(searched.last, record=Record((), (), searched.last.record.hash))
        self._unwritten.append(_line(_Batch.of(attrs.evolve(searched, statistics=statistics, last=last), real_s)))
        if searched.found is not None or real_s >= BRIEF_S:
            self._write()

    def end(self, exit_code: int, told: str) -> None:
        """Note how the campaign ended, and what it told. A brief one is forgotten: it ended as it should."""
        if self._real_s >= BRIEF_S:
            self._unwritten.append(_line(End(exit_code, told)))
            self._write()
        elif self.id:
            shutil.rmtree(CAMPAIGNS / self.id, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are there, or it could not be removed
                CAMPAIGNS.rmdir()
            self.id = ""

    def _write(self) -> None:
        if self._is_given_up:
            return
        with self._excused():
            if self._file is None:
                self._begin()
            assert self._file is not None
            data = b"".join(self._unwritten)
            while data:
                data = data[os.write(self._file, data) :]
            self._unwritten.clear()

    def _begin(self) -> None:
        now = time.strftime("%Y%m%d-%H%M%S")
        names = (now, *(f"{now}-{number}" for number in range(2, 100)))  # several may begin within a second
        CAMPAIGNS.mkdir(parents=True, exist_ok=True)
        self.id = next(name for name in names if _made(CAMPAIGNS / name))
        self._file = os.open(CAMPAIGNS / self.id / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by workers, and gone with this process
        others = [each for each in saved() if each != self.id]  # to ask of our own would give its lock away
        for each in [each for each in others if not is_running(each)][KEPT - 1 :]:
            shutil.rmtree(CAMPAIGNS / each, ignore_errors=True)

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """Do what concerns the disk. When it refuses, that is told, and nothing is written any more."""
        try:
            yield
        except OSError as error:
            self._is_given_up = True
            self._on_failure(
                f"the journal cannot be written, so this campaign cannot be continued if it is killed: {error}. "
                f"path={CAMPAIGNS}. {cure(error)}."
            )


def _line(entry: Settings | _Batch | End) -> bytes:
    body = msgspec.json.encode(entry)
    return BEGIN + _checksum(body) + b'",' + body[1:] + b"\n"


def _entry(line: bytes, type_: Any) -> Any:
    """Return what a line says. Raises ValueError or msgspec.DecodeError."""
    start = len(BEGIN)
    checksum, body = line[start : start + CHECKSUM_HEX], b"{" + line[start + CHECKSUM_HEX + 2 : -1]
    if not line.endswith(b"\n") or checksum != _checksum(body):
        raise ValueError("its checksum does not match")
    return msgspec.json.decode(body, type=type_, dec_hook=lambda counter, counts: counter(counts))


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_HEX // 2).hexdigest().encode()


def _made(directory: Path) -> bool:
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
        return True
    return False


def saved() -> list[str]:
    """Return the IDs of all campaigns that have a journal, the latest first."""
    return sorted((path.parent.name for path in CAMPAIGNS.glob(f"*/{FILE}")), reverse=True)


def find_campaign(name: str) -> str:
    """Return the ID of a campaign by it, by its beginning, or by "latest". Raises InputError."""
    known = saved()
    matching = [name] if name in known else [each for each in known if each.startswith(name)]
    if name == LATEST:
        matching = known[:1]
    if len(matching) != 1:
        what = "no campaign" if not matching else f"{len(matching)} campaigns"
        listed = f"Known: {', '.join(known)}." if known else f"None is under {CAMPAIGNS}."
        raise InputError(f"{what} named {name!r}. {listed} One that took less than {BRIEF_S:g} s is not kept.")
    return matching[0]


def is_running(name: str) -> bool:
    """Say whether the process that writes this campaign's journal, another one than this, is there."""
    with (CAMPAIGNS / name / FILE).open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def read_campaign(name: str) -> Kept:
    """Read a journal. What was half written when the campaign was killed is left out. Raises InputError for damage."""
    path = CAMPAIGNS / name / FILE
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"the journal of campaign {name} cannot be read: {error}.") from error
    settings: Settings | None = None
    batches: list[_Batch] = []
    end, sound = None, 0
    for number, line in enumerate(lines, 1):
        try:
            entry = _entry(line, _Batch | End if settings else Settings)
            if isinstance(entry, _Batch) and entry.searched.number != len(batches):
                raise ValueError(f"batch {len(batches)} is missing")
        except (ValueError, msgspec.DecodeError) as error:
            if number == len(lines) and settings:
                break
            raise InputError(
                f"{path} is damaged in line {number}: {error}. The campaign cannot be read; start it anew."
            ) from error
        sound += len(line)
        end = entry if isinstance(entry, End) else None
        if isinstance(entry, _Batch):
            batches.append(entry)
        elif isinstance(entry, Settings):
            settings = entry
    if settings is None:
        raise InputError(f"{path} is empty. The campaign cannot be read; start it anew.")
    return Kept(
        id=name,
        settings=settings,
        searched=tuple(each.whole() for each in batches),
        real_s=batches[-1].real_s if batches else 0.0,
        end=end,
        sound=sound,
    )
