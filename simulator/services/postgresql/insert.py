"""INSERT, with ON CONFLICT: new rows, or what becomes of them when a key is taken."""

from collections.abc import Generator, Sequence

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.condition import NO_ROW
from simulator.services.postgresql.errors import PostgreSQLError
from simulator.services.postgresql.expression import Evaluate, Parameters, Scope, Typed, analyse, assignable
from simulator.services.postgresql.modify import Changes, returned
from simulator.services.postgresql.process import Steps
from simulator.services.postgresql.result import Field, Result
from simulator.services.postgresql.source import concurrent
from simulator.services.postgresql.table import Column, Table
from simulator.services.postgresql.types import Value
from simulator.services.postgresql.versions import Row, Transaction, Values, Version
from simulator.services.postgresql.writing import Waits, check_not_null, insert_row, update_row

__all__ = ["InsertPlan"]


class InsertPlan:
    """An INSERT whose names and types are known."""

    def __init__(self, statement: sql.Insert, table: Table, parameters: Parameters) -> None:
        self.table = table
        self._rows = _rows(statement, table, Scope(None, parameters, clause="VALUES"))
        self._arbiters: Sequence[int] = ()
        self._changes: Changes | None = None
        if statement.conflict is not None:
            self._arbiters = _arbiters(statement.conflict, table)
            if statement.conflict.assignments is not None:
                scope = Scope(table, parameters, clause="UPDATE", excluded=True)
                self._changes = Changes(statement.conflict.assignments, table, scope)
        self._returning = returned(statement.returning, table, parameters)
        self.fields: Sequence[Field] | None = None if self._returning is None else self._returning.fields

    def steps(self, transaction: Transaction, parameters: Values) -> Steps:
        """Insert row after row; a key that another transaction may hold is waited for."""
        rows: list[Values] = []
        count = 0
        for evaluates in self._rows:
            values = tuple(
                _default(column) if evaluate is None else evaluate(NO_ROW, parameters)
                for column, evaluate in zip(self.table.columns, evaluates, strict=True)
            )
            if self._arbiters:
                version = yield from self._insert_or_else(transaction, values, parameters)
            else:
                version = yield from insert_row(self.table, transaction, values)
            if version is None or version.values is None:
                continue
            count += 1
            if self._returning is not None:
                rows.append(self._returning.project(version.values, parameters))
        return Result(f"INSERT 0 {count}", None if self._returning is None else rows)

    def _insert_or_else(self, transaction: Transaction, values: Values, parameters: Values) -> Waits:
        """Insert, or do what ON CONFLICT says. None when that is nothing."""
        check_not_null(self.table, values)
        while True:
            row = yield from self._conflicting(transaction, values)
            if row is None:
                version = yield from insert_row(self.table, transaction, values, self._arbiters)
                if version is not None:
                    return version
            elif self._changes is None:
                _check_visible(row, transaction)
                return None
            else:
                version = yield from self._update_instead(row, transaction, values, parameters)
                if version is not None:
                    return version

    def _conflicting(self, transaction: Transaction, values: Values) -> Generator[Transaction, None, Row | None]:
        """Return a row that has one of the keys, having waited until that can be told."""
        for number in self._arbiters:
            index = self.table.heap.indexes[number]
            key = index.key(values)
            if index.has_null(key):
                continue
            while (holder := index.holder(key, None, transaction)) is not None:
                if isinstance(holder, Row):
                    return holder
                yield holder
        return None

    def _update_instead(self, row: Row, transaction: Transaction, proposed: Values, parameters: Values) -> Waits:
        """Update the row that was in the way; None when it is to be looked for again."""
        assert self._changes is not None
        latest = row.latest(transaction)
        if latest.writer is transaction and latest.command == transaction.command:
            raise PostgreSQLError("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")
        if row.locker not in (None, transaction):
            assert row.locker is not None
            yield row.locker
            if transaction.repeats and row.latest(transaction) is not latest:
                raise concurrent("delete" if row.is_deleted_after(latest) else "update")
            return None
        _check_visible(row, transaction)
        row.lock(transaction)
        assert latest.values is not None, "a deleted row is in nobody's way"
        values = self._changes.apply(latest.values, parameters, excluded=proposed)
        version: Version | None = yield from update_row(self.table, transaction, latest, values)
        return version


def _check_visible(row: Row, transaction: Transaction) -> None:
    """Raise 40001 at REPEATABLE READ if the row that is in the way is one that the snapshot does not see."""
    assert transaction.snapshot is not None
    if transaction.repeats and row.visible(transaction, transaction.snapshot) is not row.latest(transaction):
        raise concurrent("update")


def _rows(statement: sql.Insert, table: Table, scope: Scope) -> list[list[Evaluate | None]]:
    """Return for each row and column what gives its value, None for the default."""
    places = _target_places(statement, table)
    if len({len(row) for row in statement.rows}) > 1:
        raise PostgreSQLError("42601", "VALUES lists must all be the same length")
    width = len(statement.rows[0])
    if width > len(places):
        raise PostgreSQLError("42601", "INSERT has more expressions than target columns")
    if width < len(places) and statement.columns is not None:
        raise PostgreSQLError("42601", "INSERT has more target columns than expressions")
    found = []
    for expressions in statement.rows:
        row: list[Evaluate | None] = [None] * len(table.columns)
        # All are analysed before the first is converted, which is when parameters get their types.
        values = [None if isinstance(each, sql.Default) else analyse(each, scope) for each in expressions]
        for place, typed in zip(places, values, strict=False):
            row[place] = None if typed is None else _value(typed, table.columns[place], scope)
        found.append(row)
    return found


def _target_places(statement: sql.Insert, table: Table) -> list[int]:
    if statement.columns is None:
        return list(range(len(table.columns)))
    places: list[int] = []
    for name in statement.columns:
        if name not in table.places:
            raise PostgreSQLError("42703", f'column "{name}" of relation "{table.name}" does not exist')
        if table.places[name] in places:
            raise PostgreSQLError("42701", f'column "{name}" specified more than once')
        places.append(table.places[name])
    return places


def _value(typed: Typed, column: Column, scope: Scope) -> Evaluate:
    evaluate = assignable(typed, column, scope)
    if column.identity is not None:
        raise PostgreSQLError(
            "428C9",
            f'cannot insert a non-DEFAULT value into column "{column.name}"',
            detail=f'Column "{column.name}" is an identity column defined as GENERATED ALWAYS.',
        )
    return evaluate


def _default(column: Column) -> Value:
    return column.default if column.identity is None else column.identity.take()


def _arbiters(conflict: sql.Conflict, table: Table) -> Sequence[int]:
    """Return the numbers of the keys whose conflicts are answered. Raises 42P10 if there is none such."""
    if conflict.columns is None:
        return range(len(table.uniques))
    for name in conflict.columns:
        if name not in table.places:
            raise PostgreSQLError("42703", f'column "{name}" does not exist')
    wanted = {table.places[name] for name in conflict.columns}
    found = [number for number, unique in enumerate(table.uniques) if set(unique.places) == wanted]
    if not found:
        what = "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        raise PostgreSQLError("42P10", what)
    return found
