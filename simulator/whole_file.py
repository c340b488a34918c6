"""Files that are written whole or not at all: what was there before is replaced only by a complete new one."""

import contextlib
import errno
import os
from pathlib import Path

from simulator.errors import EnvironmentFailedError

__all__ = ["cure", "write_whole"]

CURES = {
    errno.ENOSPC: "Make room, or run elsewhere",
    errno.EROFS: "Run in a directory that can be written",
    errno.EACCES: "Run in a directory that can be written",
    errno.ENOTDIR: "Move the file out of the way of the directory",
    errno.EEXIST: "Move the file out of the way of the directory",
}


def write_whole(path: Path, data: bytes, what: str) -> None:
    """Write a file, and the directories above it. Raises EnvironmentFailedError, which says what could not be saved.

    A link stays, and what it leads to is replaced. What is no regular file that has a name (a device, a pipe,
    `/dev/stdout` where that is one of them or was deleted) is written to.
    """
    meant = path.resolve()
    part = meant.with_name(meant.name + ".part")
    try:
        meant.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not meant.is_file():
            path.write_bytes(data)
        else:
            part.write_bytes(data)
            os.replace(part, meant)
    except OSError as error:
        with contextlib.suppress(OSError):  # the place may be such that not even this can be tried
            part.unlink()
        raise EnvironmentFailedError(f"{what} could not be saved: {error}. path={path}. {cure(error)}.") from error


def cure(error: OSError) -> str:
    """Return what can be done about a place that cannot be written to."""
    return CURES.get(error.errno or 0, "Run elsewhere")
