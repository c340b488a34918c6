"""Results for machines: the options that name their files, and how these are written."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from simulator.errors import EnvironmentFailedError, InputError
from simulator.whole_file import write_whole

__all__ = ["FILE", "as_json", "check_writable", "result_options", "write_results"]

F = TypeVar("F", bound=Callable[..., Any])
OWN = ".wavetank"
"""The directory for what is ours in a project: it need not be there."""
FILE = click.Path(path_type=Path, dir_okay=False)


def result_options(function: F) -> F:
    """Add `--json FILE` and `--junit FILE`."""
    function = click.option("--junit", "junit_file", type=FILE, help="Write it as JUnit XML.")(function)
    return click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")(function)


def check_writable(json_file: Path | None, junit_file: Path | None = None) -> None:
    """Find out before the work, not after it, that its result could not be written. Raises InputError and others."""
    if json_file is not None and json_file == junit_file:
        raise InputError(f"--json and --junit name the same file {json_file}, and one would replace the other.")
    for file in (json_file, junit_file):
        if file is None or (file.exists() and not file.is_file()):  # a device or a pipe is written to where it is
            continue
        directory = file.resolve().parent
        if OWN in directory.parts:
            with suppress(OSError):  # what is in its way is told below
                directory.mkdir(parents=True, exist_ok=True)
        if not directory.is_dir():
            raise EnvironmentFailedError(f"{file} cannot be written: there is no directory {directory}. Make it first.")
        if not os.access(directory, os.W_OK):
            raise EnvironmentFailedError(
                f"{file} cannot be written: the directory {directory} is read-only. Name another one."
            )


def as_json(body: object) -> bytes:
    """Return a result as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def write_results(json_file: Path | None, json: bytes, junit_file: Path | None = None, junit: str = "") -> bool:
    """Write both, and say whether they are there: one that cannot be written must not hide what it says."""
    return all([_write(json_file, json), _write(junit_file, junit.encode())])


def _write(file: Path | None, data: bytes) -> bool:
    try:
        if file is not None:
            write_whole(file, data, "the result")
    except EnvironmentFailedError as error:
        click.echo(f"wavetank: {error}", err=True)
        return False
    return True
