"""Kept plans: each reaches a goal that a search may not, and is tried again every time."""

from pathlib import Path

import msgspec

from simulator.errors import InputError
from simulator.goals import Goal
from simulator.plan import Plan
from simulator.whole_file import write_whole

__all__ = ["KeptPlan", "keep", "kept_in"]


class KeptPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan, the system it is for, and the goal that it reaches."""

    system: str
    kind: str
    name: str
    plan: Plan

    @property
    def goal(self) -> Goal:
        """What it is kept for."""
        return Goal(self.kind, self.name)


def keep(directory: Path, kept: KeptPlan) -> Path:
    """Write a plan into a directory, and return its file. Raises EnvironmentFailedError."""
    words = "".join(letter if letter.isalnum() else "-" for letter in str(kept.goal))
    file = directory / f"{'-'.join(filter(None, words.split('-')))}.json"
    write_whole(file, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n", "the plan")
    return file


def kept_in(directory: Path) -> dict[Path, KeptPlan]:
    """Return the plans that a directory holds, by their files. Raises InputError."""
    found = {}
    for file in sorted(directory.glob("*.json")):
        try:
            found[file] = msgspec.json.decode(file.read_bytes(), type=KeptPlan)
        except (OSError, msgspec.MsgspecError) as error:
            raise InputError(f"{file} is no kept plan: {error}. Remove it, or generate it anew.") from error
    return found
