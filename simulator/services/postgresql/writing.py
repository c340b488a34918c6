"""Writing rows: what must not be NULL, and unique keys, which wait for other transactions that may hold them."""

from collections.abc import Generator, Sequence
from typing import TypeAlias

from simulator.services.postgresql.errors import PostgreSQLError, Where, refuse
from simulator.services.postgresql.table import Index, Key, Table
from simulator.services.postgresql.types import shown
from simulator.services.postgresql.versions import Row, Transaction, Values, Version

__all__ = ["Waits", "check_not_null", "delete_row", "insert_row", "update_row"]

Waits: TypeAlias = Generator[Transaction, None, Version | None]

SHOWN_BYTES = 64
KEY_BYTES_MAX = 2600  # of text in a key; a third of a page is 2704 bytes


def check_not_null(table: Table, values: Values) -> None:
    """Raise 23502 for the first column that is NULL and must not be."""
    if None not in values:
        return
    for column, value in zip(table.columns, values, strict=True):
        if value is None and column.not_null:
            raise PostgreSQLError(
                "23502",
                f'null value in column "{column.name}" of relation "{table.name}" violates not-null constraint',
                detail=f"Failing row contains ({', '.join(_clipped(shown(each)) for each in values)}).",
                where=Where(table=table.name, column=column.name),
            )


def _clipped(text: str) -> str:
    data = text.encode()
    return text if len(data) <= SHOWN_BYTES else data[:SHOWN_BYTES].decode(errors="ignore") + "..."


def insert_row(table: Table, transaction: Transaction, values: Values, arbiters: Sequence[int] = ()) -> Waits:
    """Add a row and return its version.

    Raises 23505 for a key that another row has; but for the keys numbered in `arbiters` removes the row again and
    returns None, without waiting.
    """
    check_not_null(table, values)
    heap = table.heap
    row = Row()
    row.lock(transaction)
    version = heap.append(row, transaction, values)
    for number, index in enumerate(heap.indexes):
        is_free = yield from _enter(table, index, version, transaction, may_wait=number not in arbiters)
        if not is_free:
            heap.undo(row, transaction)
            return None
    return version


def update_row(table: Table, transaction: Transaction, old: Version, values: Values) -> Waits:
    """Give a row, whose lock the transaction holds, a new version, and return that. Raises 23505."""
    check_not_null(table, values)
    heap = table.heap
    version = heap.append(old.row, transaction, values)
    assert old.values is not None, "a deleted row is never updated"
    for index in heap.indexes:
        if index.key(old.values) != index.key(values):
            yield from _enter(table, index, version, transaction, may_wait=True)
    return version


def delete_row(table: Table, transaction: Transaction, old: Version) -> None:
    """Delete a row whose lock the transaction holds."""
    table.heap.append(old.row, transaction, None)


def _enter(
    table: Table, index: Index, version: Version, transaction: Transaction, *, may_wait: bool
) -> Generator[Transaction, None, bool]:
    """Enter a version into an index once its key is free; say whether it is."""
    values = version.values
    assert values is not None, "a deletion has no key"
    key = index.key(values)
    if not index.has_null(key):
        while (holder := index.holder(key, version.row, transaction)) is not None:
            if not may_wait:
                return False
            if isinstance(holder, Row):
                raise _duplicate(table, index, values)
            yield holder
    if _is_long(key):
        refuse("a key that may not fit into a page of its index")
    index.add(version.row, values)
    return True


def _is_long(key: Key) -> bool:
    """Say whether the server may find a key too long: what it compresses well may be longer."""
    parts = key if isinstance(key, tuple) else (key,)
    text = "".join(each for each in parts if isinstance(each, str))
    return len(text) > KEY_BYTES_MAX // 4 and len(text.encode()) > KEY_BYTES_MAX


def _duplicate(table: Table, index: Index, values: Values) -> PostgreSQLError:
    unique = index.unique
    names = ", ".join(table.columns[place].name for place in unique.places)
    key = ", ".join(shown(values[place]) for place in unique.places)
    return PostgreSQLError(
        "23505",
        f'duplicate key value violates unique constraint "{unique.name}"',
        detail=f"Key ({names})=({key}) already exists.",
        where=Where(table=table.name, constraint=unique.name),
    )
