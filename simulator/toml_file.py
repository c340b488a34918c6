"""TOML files that people write: read, and refused in one sentence that says which command shows such a file."""

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from simulator.errors import InputError

__all__ = ["read_toml"]

T = TypeVar("T")


def read_toml(path: Path, kind: type[T], what: str, shown_by: str) -> T:
    """Read a file as a struct; `what` it is in words, and `shown_by` which command's help. Raises InputError."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise InputError(f"the {what} cannot be read: {error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}. {shown_by} --help shows such a file.") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no {what}: {error}. {shown_by} --help shows one.") from error
