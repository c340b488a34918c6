"""UPDATE and DELETE: rows found by the snapshot, then locked one after the other, then changed as they are by then."""

from collections.abc import Sequence

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import PostgreSQLError
from simulator.services.postgresql.expression import Evaluate, Parameters, Scope, analyse, assignable
from simulator.services.postgresql.process import Steps
from simulator.services.postgresql.projection import Projection
from simulator.services.postgresql.result import Field, Result
from simulator.services.postgresql.source import Source, locked
from simulator.services.postgresql.table import Table
from simulator.services.postgresql.versions import Transaction, Values
from simulator.services.postgresql.writing import delete_row, update_row

__all__ = ["Changes", "DeletePlan", "UpdatePlan", "returned"]


class Changes:
    """What SET makes of a row."""

    def __init__(self, assignments: Sequence[sql.Assignment], table: Table, scope: Scope) -> None:
        self._evaluates: dict[int, Evaluate] = {}
        # All are analysed before the first is converted, which is when parameters get their types.
        expressions = [analyse(assignment.expression, scope) for assignment in assignments]
        for assignment, typed in zip(assignments, expressions, strict=True):
            name = assignment.column
            place = table.places.get(name)
            if place is None:
                raise PostgreSQLError("42703", f'column "{name}" of relation "{table.name}" does not exist')
            column = table.columns[place]
            if place in self._evaluates:
                raise PostgreSQLError("42601", f'multiple assignments to same column "{name}"')
            self._evaluates[place] = assignable(typed, column, scope)
            if column.identity is not None:
                detail = f'Column "{name}" is an identity column defined as GENERATED ALWAYS.'
                raise PostgreSQLError("428C9", f'column "{name}" can only be updated to DEFAULT', detail=detail)

    def apply(self, values: Values, parameters: Values, *, excluded: Values = ()) -> Values:
        """Return the new values; `excluded` are those of a row that was to be inserted."""
        row = (*values, *excluded)
        changed = list(values)
        for place, evaluate in self._evaluates.items():
            changed[place] = evaluate(row, parameters)
        return tuple(changed)


def returned(items: Sequence[sql.SelectItem], table: Table, parameters: Parameters) -> Projection | None:
    """Return what RETURNING gives, if it is there."""
    return Projection.of(items, Scope(table, parameters, clause="RETURNING")) if items else None


class UpdatePlan:
    """An UPDATE whose names and types are known."""

    def __init__(self, statement: sql.Update, table: Table, parameters: Parameters) -> None:
        self.table = table
        # In this order parameters get their types, and mistakes are found.
        self._source = Source(table, statement.where, Scope(table, parameters, clause="WHERE"))
        self._returning = returned(statement.returning, table, parameters)
        self._changes = Changes(statement.assignments, table, Scope(table, parameters, clause="UPDATE"))
        self.fields: Sequence[Field] | None = None if self._returning is None else self._returning.fields

    def steps(self, transaction: Transaction, parameters: Values) -> Steps:
        """Change each row once its lock is held."""
        test = self._source.test(parameters)
        rows: list[Values] = []
        count = 0
        for version in self._source.find(transaction, parameters):
            latest = yield from locked(version, transaction, test, deletion="delete")
            if latest is None or latest.values is None:
                continue
            values = self._changes.apply(latest.values, parameters)
            yield from update_row(self.table, transaction, latest, values)
            count += 1
            if self._returning is not None:
                rows.append(self._returning.project(values, parameters))
        return Result(f"UPDATE {count}", None if self._returning is None else rows)


class DeletePlan:
    """A DELETE whose names and types are known."""

    def __init__(self, statement: sql.Delete, table: Table, parameters: Parameters) -> None:
        self.table = table
        self._source = Source(table, statement.where, Scope(table, parameters, clause="WHERE"))
        self._returning = returned(statement.returning, table, parameters)
        self.fields: Sequence[Field] | None = None if self._returning is None else self._returning.fields

    def steps(self, transaction: Transaction, parameters: Values) -> Steps:
        """Delete each row once its lock is held."""
        test = self._source.test(parameters)
        rows: list[Values] = []
        count = 0
        for version in self._source.find(transaction, parameters):
            latest = yield from locked(version, transaction, test, deletion="delete")
            if latest is None or latest.values is None:
                continue
            delete_row(self.table, transaction, latest)
            count += 1
            if self._returning is not None:
                rows.append(self._returning.project(latest.values, parameters))
        return Result(f"DELETE {count}", None if self._returning is None else rows)
