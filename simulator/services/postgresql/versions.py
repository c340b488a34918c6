"""Rows as chains of versions, and the transactions that write them: who sees what.

A snapshot is a number of commits: it sees the versions of the transactions that committed up to it. (The real one
lists the transactions in progress, which comes to the same when commits happen one at a time.)
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from simulator.services.postgresql.statement import Isolation
from simulator.services.postgresql.types import Value

if TYPE_CHECKING:
    from simulator.services.postgresql.process import Running
    from simulator.services.postgresql.table import Heap, Table

__all__ = ["Row", "Transaction", "Values", "Version"]

Values: TypeAlias = Sequence[Value]
NEVER = sys.maxsize


class Transaction:
    """One transaction. `committed_at` is its number among the commits, or larger than any while there is none."""

    __slots__ = (
        "command",
        "committed_at",
        "created",
        "is_over",
        "isolation",
        "locked",
        "process_id",
        "snapshot",
        "tables",
        "truncated",
        "waiters",
        "waiting_for",
        "written",
    )

    def __init__(self, process_id: int, isolation: Isolation) -> None:
        self.process_id = process_id
        self.isolation = isolation
        self.committed_at = NEVER
        self.is_over = False
        self.snapshot: int | None = None
        self.command = 0  # number of the statement
        self.written: list[tuple[Heap, Row]] = []
        self.locked: list[Row] = []
        self.tables: dict[Table, None] = {}
        self.created: dict[str, Table | None] = {}  # None for a table that it dropped
        self.truncated: list[tuple[Table, Heap]] = []  # and the rows before
        self.waiters: list[Running] = []  # in the order of arrival
        self.waiting_for: Transaction | None = None

    @property
    def repeats(self) -> bool:
        """Whether every statement sees the same snapshot."""
        return self.isolation is Isolation.REPEATABLE_READ

    @property
    def has_changes(self) -> bool:
        """Whether a commit would change anything."""
        return bool(self.written or self.created or self.truncated)


class Version:
    """What one transaction made of a row. `values` None means that it deleted it; `place` orders a table's versions."""

    __slots__ = ("command", "place", "row", "values", "writer")

    def __init__(self, row: "Row", writer: Transaction, values: Values | None, place: int) -> None:
        self.row = row
        self.writer = writer
        self.command = writer.command
        self.values = values
        self.place = place


class Row:
    """A row through its life. `versions` are oldest first; only the transaction that holds the lock adds one."""

    __slots__ = ("locker", "versions")

    def __init__(self) -> None:
        self.locker: Transaction | None = None
        self.versions: list[Version] = []

    def visible(self, transaction: Transaction, snapshot: int) -> Version | None:
        """Return the version that a transaction sees, if any that is no deletion."""
        for version in reversed(self.versions):
            if version.writer.committed_at <= snapshot or version.writer is transaction:
                return version if version.values is not None else None
        return None

    def latest(self, transaction: Transaction) -> Version:
        """Return the newest version that is committed, or the transaction's own."""
        for version in reversed(self.versions):
            if version.writer is transaction or version.writer.committed_at != NEVER:
                return version
        raise AssertionError("a row that another transaction inserts is found by nobody else")

    def is_deleted_after(self, version: Version) -> bool:
        """Say whether what came next was a deletion."""
        return self.versions[self.versions.index(version) + 1].values is None

    def lock(self, transaction: Transaction) -> None:
        """Take the lock, which is free or the transaction's own."""
        assert self.locker in (None, transaction), "a lock that another transaction holds was not waited for"
        if self.locker is None:
            self.locker = transaction
            transaction.locked.append(self)
