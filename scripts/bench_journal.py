"""Journals of benchmarks that take hours: what was measured is not measured again when the same command goes on."""

from pathlib import Path
from typing import TypeVar

import msgspec

from simulator.errors import InputError

__all__ = ["append", "read"]

T = TypeVar("T")


def read(journal: Path | None, kind: type[T]) -> list[T]:
    """Return the entries of earlier times. Raises InputError for another file."""
    if journal is None or not journal.exists():
        return []
    try:
        return [msgspec.json.decode(line, type=kind) for line in journal.read_bytes().splitlines()]
    except (msgspec.MsgspecError, OSError) as error:
        raise InputError(f"{journal} is no journal of this benchmark: {error}. Name another file.") from error


def append(journal: Path | None, entry: object) -> None:
    """Append an entry, if there is a journal."""
    if journal is not None:
        with journal.open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
