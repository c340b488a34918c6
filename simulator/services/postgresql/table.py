"""A table: its columns, its rows in the order in which their versions were written, and its unique keys."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import TypeAlias

import attrs

from simulator.services.postgresql.types import ColumnType, Value
from simulator.services.postgresql.versions import NEVER, Row, Transaction, Values, Version

__all__ = ["Column", "Heap", "Index", "Key", "Numbering", "Table", "Unique"]

Key: TypeAlias = Value | tuple[Value, ...]
Bucket: TypeAlias = dict[Row, None]  # an ordered set

LOGGED_AHEAD = 32  # SEQ_LOG_VALS of sequence.c


class Numbering:
    """The numbers of an identity column. They are outside of transactions: what was taken is not given back."""

    def __init__(self) -> None:
        self._last = 0
        self._logged = 0

    def take(self) -> int:
        """Return the next number."""
        self._last += 1
        if self._last > self._logged:
            self._logged = self._last + LOGGED_AHEAD
        return self._last

    def crash(self) -> None:
        """Go on behind the numbers that were logged ahead."""
        self._last = self._logged


@attrs.frozen(eq=False)
class Column:
    """A column. `default` is the value for a row that gives none; `identity` numbers the rows instead."""

    name: str
    type: ColumnType
    not_null: bool
    default: Value
    identity: Numbering | None


@attrs.frozen(eq=False)
class Unique:
    """A PRIMARY KEY or UNIQUE constraint, by the places of its columns."""

    name: str
    places: tuple[int, ...]


class Index:
    """The rows by a unique key, and, if it has several columns, by the first of them.

    A row is found under the key of every version that somebody may still see.
    """

    def __init__(self, unique: Unique) -> None:
        self.unique = unique
        self.key: Callable[[Values], Key] = itemgetter(*unique.places)
        self._is_compound = len(unique.places) > 1
        self._leading = unique.places[0]
        self._rows: dict[Key, Bucket] = {}
        self._rows_by_leading: dict[Key, Bucket] = {}

    def has_null(self, key: Key) -> bool:
        """Say whether a key conflicts with none, because part of it is NULL."""
        return None in key if isinstance(key, tuple) else key is None

    def add(self, row: Row, values: Values) -> None:
        """Let the row be found by the key of these values."""
        self._rows.setdefault(self.key(values), {})[row] = None
        if self._is_compound:
            self._rows_by_leading.setdefault(values[self._leading], {})[row] = None

    def drop(self, row: Row, values: Values) -> None:
        """Forget a version that was of these values, unless another version of the row needs the entry."""
        kept = [version.values for version in row.versions if version.values is not None]
        _drop(self._rows, self.key, row, values, kept)
        if self._is_compound:
            _drop(self._rows_by_leading, itemgetter(self._leading), row, values, kept)

    def find(self, key: Key) -> Iterable[Row]:
        """Return the rows that have, or had, this key."""
        return self._rows.get(key, ())

    def find_leading(self, value: Value) -> Iterable[Row]:
        """Return the rows that have, or had, a key with this first part."""
        return (self._rows_by_leading if self._is_compound else self._rows).get(value, ())

    def holder(self, key: Key, row: Row | None, transaction: Transaction) -> Row | Transaction | None:
        """Return another row that has this key, or the transaction that must end before that can be told."""
        for each in self._rows.get(key, ()):
            if each is row:
                continue
            last = each.versions[-1]
            if last.writer is transaction or last.writer.committed_at != NEVER:
                if last.values is not None and self.key(last.values) == key:
                    return each
            elif self._may_hold(each, key):
                return last.writer
        return None

    def _may_hold(self, row: Row, key: Key) -> bool:
        """Say whether the last committed version, or one in progress since, has the key."""
        for version in reversed(row.versions):
            if version.values is not None and self.key(version.values) == key:
                return True
            if version.writer.committed_at != NEVER:
                break
        return False


def _drop(
    rows: dict[Key, Bucket], key_of: Callable[[Values], Key], row: Row, values: Values, kept: Sequence[Values]
) -> None:
    key = key_of(values)
    bucket = rows.get(key)
    if bucket is None or any(key_of(each) == key for each in kept):
        return
    bucket.pop(row, None)
    if not bucket:
        del rows[key]


class Heap:
    """The rows of a table between two TRUNCATEs."""

    def __init__(self, uniques: Sequence[Unique]) -> None:
        self.indexes = [Index(unique) for unique in uniques]
        self.rows: Bucket = {}
        self._places = 0

    def append(self, row: Row, transaction: Transaction, values: Values | None) -> Version:
        """Add a version at the end; the caller sees to the indexes."""
        self._places += 1
        version = Version(row, transaction, values, self._places)
        row.versions.append(version)
        self.rows[row] = None
        transaction.written.append((self, row))
        return version

    def visible(self, rows: Iterable[Row], transaction: Transaction) -> list[Version]:
        """Return the versions of these rows that the transaction's snapshot sees, in the order of the heap."""
        snapshot = transaction.snapshot
        assert snapshot is not None
        found = [version for row in rows if (version := row.visible(transaction, snapshot)) is not None]
        found.sort(key=attrgetter("place"))
        return found

    def undo(self, row: Row, transaction: Transaction) -> None:
        """Remove what a transaction made of a row."""
        while row.versions and row.versions[-1].writer is transaction:
            self._forget(row, row.versions.pop())
        if not row.versions:
            self.rows.pop(row, None)

    def prune(self, row: Row) -> None:
        """Remove the versions that no snapshot to come can see."""
        while len(row.versions) > 1 and row.versions[1].writer.committed_at != NEVER:
            self._forget(row, row.versions.pop(0))
        if len(row.versions) == 1 and row.versions[0].values is None and row.versions[0].writer.committed_at != NEVER:
            row.versions.clear()
            self.rows.pop(row, None)

    def _forget(self, row: Row, version: Version) -> None:
        if version.values is not None:
            for index in self.indexes:
                index.drop(row, version.values)


class Table:
    """A table by one definition. `users` are the transactions that read or write it; `owner` alone may drop it."""

    def __init__(self, name: str, columns: Sequence[Column], uniques: Sequence[Unique]) -> None:
        self.name = name
        self.columns = tuple(columns)
        self.places = {column.name: place for place, column in enumerate(columns)}
        self.uniques = tuple(uniques)
        self.heap = Heap(self.uniques)
        self.users: dict[Transaction, None] = {}
        self.owner: Transaction | None = None
        self.queue: dict[Transaction, None] = {}  # those who wait to be alone, and some who gave up
        sequences = [f"{name}_{column.name}_seq" for column in columns if column.identity is not None]
        self.owned = (*(unique.name for unique in uniques), *sequences)  # relations that the table brings with it

    def crash(self) -> None:
        """Do what a crash does to what is not in rows."""
        self.queue.clear()
        for column in self.columns:
            if column.identity is not None:
                column.identity.crash()
