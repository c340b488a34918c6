"""SELECT: rows as of the snapshot, in order, up to a limit, and perhaps locked."""

from collections.abc import Sequence
from itertools import islice

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.condition import NO_ROW
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.expression import Evaluate, Parameters, Scope, analyse, assignable
from simulator.services.postgresql.process import Steps
from simulator.services.postgresql.projection import Projection
from simulator.services.postgresql.result import Field, Result
from simulator.services.postgresql.source import Source, locked
from simulator.services.postgresql.table import Column, Table
from simulator.services.postgresql.types import BIGINT, BOOLEAN, Value
from simulator.services.postgresql.versions import Transaction, Values, Version

__all__ = ["SelectPlan"]

LIMIT = Column("limit", BIGINT, not_null=False, default=None, identity=None)


class SelectPlan:
    """A query whose names and types are known."""

    def __init__(self, statement: sql.Select, table: Table | None, parameters: Parameters) -> None:
        self.table = table
        self._locking = statement.locking
        scope = Scope(table, parameters)
        self._projection = Projection.of(statement.items, scope)
        self.fields: Sequence[Field] | None = self._projection.fields
        self._aggregates = scope.aggregates
        self._check_aggregates(statement, scope)
        if table is None and (statement.where or statement.order_by or statement.locking is not sql.Locking.NONE):
            refuse("WHERE, ORDER BY or FOR UPDATE without FROM")
        self._source = None
        if table is not None:
            self._source = Source(table, statement.where, Scope(table, parameters, clause="WHERE"))
        self._order = [(self._order_key(key, parameters), key.descending) for key in statement.order_by]
        self._limit: Evaluate | None = None
        if statement.limit is not None:
            limits = Scope(None, parameters, clause="LIMIT")
            limit = analyse(statement.limit, limits)
            if limit.type is BOOLEAN:
                raise PostgreSQLError("42804", "argument of LIMIT must be type bigint, not type boolean")
            self._limit = assignable(limit, LIMIT, limits)

    def _check_aggregates(self, statement: sql.Select, scope: Scope) -> None:
        if not scope.aggregates:
            return
        if scope.plain:
            name = f"{statement.table}.{scope.plain[0].name}"
            what = "must appear in the GROUP BY clause or be used in an aggregate function"
            raise PostgreSQLError("42803", f'column "{name}" {what}')
        if statement.locking is not sql.Locking.NONE:
            raise PostgreSQLError("0A000", "FOR UPDATE is not allowed with aggregate functions")
        if statement.order_by:
            refuse("ORDER BY with an aggregate")

    def _order_key(self, key: sql.OrderKey, parameters: Parameters) -> Evaluate:
        outputs = [
            evaluate
            for field, evaluate in zip(self._projection.fields, self._projection.evaluates, strict=True)
            if field.name == key.name
        ]
        if len(outputs) > 1:
            refuse(f"ORDER BY {key.name}, which is selected twice")
        return outputs[0] if outputs else analyse(sql.Column(None, key.name), Scope(self.table, parameters)).evaluate

    def steps(self, transaction: Transaction, parameters: Values) -> Steps:
        """Find the rows, and wait for their locks if they are to be locked."""
        limit = self._limit_of(parameters)
        project = self._projection.project
        if self._source is None:
            return _selected([project(NO_ROW, parameters)][:limit])
        versions = self._source.find(transaction, parameters)
        if self._aggregates:
            return _selected([project(self._aggregated(versions), parameters)][:limit])
        for evaluate, descending in reversed(self._order):
            _sort(versions, evaluate, descending, parameters)
        if self._locking is sql.Locking.NONE:
            return _selected([project(_values(version), parameters) for version in islice(versions, limit)])
        rows: list[Values] = []
        test = self._source.test(parameters)
        for version in versions:
            if len(rows) == limit:
                break
            latest = yield from locked(version, transaction, test, skips=self._locking is sql.Locking.SKIP)
            if latest is not None:
                rows.append(project(_values(latest), parameters))
        return _selected(rows)

    def _limit_of(self, parameters: Values) -> int | None:
        limit = None if self._limit is None else self._limit(NO_ROW, parameters)
        if limit is None:
            return None
        assert isinstance(limit, int)
        if limit < 0:
            raise PostgreSQLError("2201W", "LIMIT must not be negative")
        return limit

    def _aggregated(self, versions: Sequence[Version]) -> Values:
        found: list[Value] = []
        for function, place in self._aggregates:
            if place is None:
                found.append(len(versions))
                continue
            values = [value for version in versions if (value := _values(version)[place]) is not None]
            choose = max if function == "max" else min
            found.append(choose(values, default=None))
        return found


def _selected(rows: Sequence[Values]) -> Result:
    return Result(f"SELECT {len(rows)}", rows)


def _values(version: Version) -> Values:
    assert version.values is not None, "a deleted row is never found"
    return version.values


def _sort(versions: list[Version], evaluate: Evaluate, descending: bool, parameters: Values) -> None:
    """Sort stably by one key, NULL last, or first when descending."""

    def key(version: Version) -> tuple[bool, Value]:
        value = evaluate(_values(version), parameters)
        return value is None, 0 if value is None else value

    # `reverse` keeps equal ones in their order.
    versions.sort(key=key, reverse=descending)
