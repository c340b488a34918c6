"""A table: its columns, its rows in the order in which their versions were written, and its unique keys."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
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


class Lookup:
    """The rows by what is in some of their columns.

    A row is found under the key of every version that somebody may still see.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.key: Callable[[Values], Key] = itemgetter(*places)
        self._rows: dict[Key, Bucket] = {}

    def add(self, row: Row, values: Values) -> None:
        """Let the row be found by the key of these values."""
        self._rows.setdefault(self.key(values), {})[row] = None

    def drop(self, row: Row, values: Values) -> None:
        """Forget a version that was of these values, unless another version of the row needs the entry."""
        key = self.key(values)
        bucket = self._rows.get(key)
        if bucket is None or any(each.values is not None and self.key(each.values) == key for each in row.versions):
            return
        bucket.pop(row, None)
        if not bucket:
            del self._rows[key]

    def find(self, key: Key) -> Iterable[Row]:
        """Return the rows that have, or had, this key."""
        return self._rows.get(key, ())


class Index(Lookup):
    """The rows by a unique key."""

    def __init__(self, unique: Unique) -> None:
        super().__init__(unique.places)
        self.unique = unique

    def has_null(self, key: Key) -> bool:
        """Say whether a key conflicts with none, because part of it is NULL."""
        return None in key if isinstance(key, tuple) else key is None

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


class Heap:
    """The rows of a table between two TRUNCATEs."""

    def __init__(self, uniques: Sequence[Unique]) -> None:
        self.indexes = [Index(unique) for unique in uniques]
        self.rows: Bucket = {}
        self._lookups: dict[int, Lookup] = {}  # by the place of the column, once somebody looked
        self._places = 0

    def append(self, row: Row, transaction: Transaction, values: Values | None) -> Version:
        """Add a version at the end; the caller sees to the unique indexes."""
        self._places += 1
        version = Version(row, transaction, values, self._places)
        row.versions.append(version)
        self.rows[row] = None
        if values is not None:
            for lookup in self._lookups.values():
                lookup.add(row, values)
        transaction.written.append((self, row))
        return version

    def rows_with(self, place: int, values: Iterable[Value]) -> Iterable[Row]:
        """Return the rows that have, or had, one of some values in a column."""
        lookup = self._lookups.get(place)
        if lookup is None:
            lookup = self._lookups[place] = Lookup((place,))
            for row in self.rows:
                for version in row.versions:
                    if version.values is not None:
                        lookup.add(row, version.values)
        return dict.fromkeys(chain.from_iterable(map(lookup.find, values)))

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
            for lookup in (*self.indexes, *self._lookups.values()):
                lookup.drop(row, version.values)


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
