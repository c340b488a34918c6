"""Which rows of a table a statement is about, and how it comes to hold the lock of one."""

from collections.abc import Generator, Iterable, Sequence

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.condition import NO_ROW, Filter, Test
from simulator.services.postgresql.errors import PostgreSQLError
from simulator.services.postgresql.expression import Scope
from simulator.services.postgresql.table import Heap, Table
from simulator.services.postgresql.versions import Row, Transaction, Values, Version

__all__ = ["Source", "concurrent", "locked"]


class Source:
    """A table with the conditions of WHERE. Rows come in the order of the heap, even when found by a key."""

    def __init__(self, table: Table, where: Sequence[sql.Condition], scope: Scope) -> None:
        self._table = table
        self._filter = Filter.of(where, scope)
        # The whole of a key is best, then its first part, then any column if that is what is tested first.
        self._among = among = self._filter.among
        fixed = {place for place, values in among.items() if len(values) == 1}
        keys = [number for number, each in enumerate(table.uniques) if fixed.issuperset(each.places)]
        leading = [each.places[0] for each in table.uniques if each.places[0] in fixed]
        self._key = keys[0] if keys else None
        self._place = leading[0] if leading else self._filter.first

    def test(self, parameters: Values) -> Test:
        """Return the test that WHERE is of a row."""
        return self._filter.test(parameters)

    def find(self, transaction: Transaction, parameters: Values) -> list[Version]:
        """Return the versions that the transaction's snapshot sees and WHERE holds of."""
        heap = self._table.heap
        versions = heap.visible(self._rows(heap, parameters), transaction)
        if not self._filter.conditions:
            return versions
        test = self._filter.test(parameters)
        return [version for version in versions if version.values is not None and test(version.values)]

    def _rows(self, heap: Heap, parameters: Values) -> Iterable[Row]:
        among = self._among
        if self._key is not None:
            index = heap.indexes[self._key]
            parts = tuple(among[place][0](NO_ROW, parameters) for place in index.unique.places)
            return index.find(parts if len(parts) > 1 else parts[0])
        if self._place is not None:
            return heap.rows_with(self._place, [each(NO_ROW, parameters) for each in among[self._place]])
        return heap.rows


def locked(
    version: Version, transaction: Transaction, test: Test | None, *, skips: bool = False, deletion: str = "update"
) -> Generator[Transaction, None, Version | None]:
    """Wait for the lock of a row and return its latest version; None if there is none that passes the test.

    At REPEATABLE READ, raises 40001 if that is not the version given; `deletion` is what it calls one. A row whose
    latest version failed the test stays locked, as in the real server, but one that is deleted does not.
    """
    row = version.row
    while True:
        latest = row.latest(transaction)
        if transaction.repeats and latest is not version:
            raise concurrent(deletion if row.is_deleted_after(version) else "update")
        holder = row.locker
        if holder is None or holder is transaction:
            break
        if skips:
            return None
        yield holder
    if latest.values is None:
        return None
    row.lock(transaction)
    if latest is not version and test is not None and not test(latest.values):
        return None
    return latest


def concurrent(what: str) -> PostgreSQLError:
    """Return the error of a transaction at REPEATABLE READ that came too late."""
    return PostgreSQLError("40001", f"could not serialize access due to concurrent {what}")
