"""What SELECT and RETURNING give of a row: the expressions with their names."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TypeAlias

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.expression import Evaluate, Scope, analyse, named, settled
from simulator.services.postgresql.result import Field
from simulator.services.postgresql.types import NUMERIC, TEXT
from simulator.services.postgresql.versions import Values

__all__ = ["Projection"]

Project: TypeAlias = Callable[[Values, Values], Values]


@attrs.frozen
class Projection:
    """`project` takes a row and the parameters; `evaluates` are its parts, in the order of `fields`."""

    fields: Sequence[Field]
    evaluates: Sequence[Evaluate]
    project: Project

    @classmethod
    def of(cls, items: Sequence[sql.SelectItem], scope: Scope) -> "Projection":
        """Return the items with their types."""
        fields: list[Field] = []
        evaluates: list[Evaluate] = []
        places: list[int | None] = []
        for item in _expanded(items, scope):
            typed = settled(analyse(item.expression, scope), TEXT, scope)
            if typed.type is NUMERIC:
                refuse("a result of type numeric")
            fields.append(Field(item.alias or named(item.expression), typed.type))
            evaluates.append(typed.evaluate)
            places.append(typed.place)
        return cls(fields, evaluates, _project(evaluates, places))


@attrs.frozen
class _Item:
    expression: sql.Expression
    alias: str | None


def _expanded(items: Sequence[sql.SelectItem], scope: Scope) -> list[_Item]:
    found = []
    for item in items:
        if not isinstance(item.expression, sql.Star):
            found.append(_Item(item.expression, item.alias))
        elif scope.table is None:
            raise PostgreSQLError("42601", "SELECT * with no tables specified is not valid")
        else:
            found += [_Item(sql.Column(None, column.name), None) for column in scope.table.columns]
    return found


def _project(evaluates: Sequence[Evaluate], places: Sequence[int | None]) -> Project:
    columns = [place for place in places if place is not None]
    if len(columns) == len(places) > 1:
        take: Callable[[Values], Values] = itemgetter(*columns)
        return lambda row, parameters: take(row)
    return lambda row, parameters: tuple(evaluate(row, parameters) for evaluate in evaluates)
