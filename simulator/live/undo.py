"""The undo journal: what is to undo on a deployment, on disk before it is done."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import attrs
import msgspec

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.deed import Deed
from simulator.whole_file import cure

__all__ = ["JOURNALS", "Leftovers", "UndoJournal", "journals", "leftovers_of"]

JOURNALS = Path(".wavetank") / "undo"


class _Header(msgspec.Struct, frozen=True):
    """The target as its file would describe it, so that the file need not be there any more."""

    target: str


class _Entry(msgspec.Struct, frozen=True):
    """What one of the target's means, by its number, is to undo; or has."""

    means: int
    undo: Deed
    undone: bool = False


class UndoJournal:
    """What one replay has done. It is locked while the replay lives, and removed when nothing is left to undo."""

    def __init__(self, target: str) -> None:
        try:
            JOURNALS.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(prefix=f"{os.getpid()}-", suffix=".new", dir=JOURNALS)
            self._file = open(number, "wb")  # noqa: SIM115  # until `close`
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._write(_Header(target))
            # Only now has it a name that others look for: one that is not locked yet would be taken for a dead one's.
            self.path = Path(name).replace(JOURNALS / f"{Path(name).stem}.jsonl")
        except OSError as error:
            raise EnvironmentFailedError(
                f"nothing is done that could not be undone, and what is done cannot be noted: {error}. {cure(error)}."
            ) from error

    def note(self, means: int, undo: Deed, *, undone: bool = False) -> None:
        """Note what will be to undo, or was undone. Raises EnvironmentFailedError when that is not on disk."""
        try:
            self._write(_Entry(means, undo, undone))
        except OSError as error:
            raise EnvironmentFailedError(f"what is to undo could not be noted: {error}. {cure(error)}.") from error

    def close(self, *, is_clean: bool) -> None:
        """Let go of the file: remove it when all is undone."""
        if is_clean:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, line: msgspec.Struct) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@attrs.frozen
class Leftovers:
    """What a replay that is gone has not undone: by which means, and how, the last first."""

    path: Path
    target: str
    undo: tuple[tuple[int, Deed], ...]


def journals() -> list[Path]:
    """Return the journals that there are: of replays that go on, and of those that could not undo what they did."""
    return sorted(JOURNALS.glob("*.jsonl"))


@contextmanager
def leftovers_of(path: Path) -> Iterator[Leftovers]:
    """Provide what a journal has left to undo, under its lock.

    Raises InputError for one that cannot be read, and for one whose replay still goes on.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"the replay of {path} still goes on. Interrupt it; it undoes what it did.") from error
        yield _read(path, file)


def _read(path: Path, file: BinaryIO) -> Leftovers:
    header, *lines = file.read().split(b"\n")
    if not lines:  # it was killed before anything could be done
        return Leftovers(path, "", ())
    try:
        head = msgspec.json.decode(header, type=_Header)
        # What comes after the last line end was not written whole, and so not done.
        entries = [msgspec.json.decode(line, type=_Entry) for line in lines[:-1]]
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path} is damaged: {error}. Undo by hand what its readable lines say, then remove it."
        ) from error
    left: dict[tuple[int, Deed], None] = {}
    for entry in entries:
        left.pop((entry.means, entry.undo), None)
        if not entry.undone:
            left[entry.means, entry.undo] = None
    return Leftovers(path, head.target, tuple(reversed(left)))
