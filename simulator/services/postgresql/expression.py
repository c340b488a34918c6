"""Expressions with their types: syntax is turned into functions of a row and the parameters, once per statement.

Types come together as in the server's parse_coerce.c, for the modelled types: a quoted literal, NULL or a parameter
without a type takes the type of what it meets; numbers meet in the wider type; anything else is an error.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.table import Column, Table
from simulator.services.postgresql.types import (
    BIGINT,
    BOOLEAN,
    BY_OID,
    DOUBLE,
    NUMERIC,
    TEXT,
    UNKNOWN,
    ColumnType,
    Value,
    assigned,
    common_number,
    in_range,
)
from simulator.services.postgresql.versions import Values

__all__ = [
    "Evaluate",
    "Parameters",
    "Scope",
    "Typed",
    "analyse",
    "assignable",
    "matched",
    "named",
    "operation_cost",
    "settled",
]

Evaluate: TypeAlias = Callable[[Values, Values], Value]
SYSTEM_COLUMNS = ("cmax", "cmin", "ctid", "tableoid", "xmax", "xmin")


@attrs.frozen
class Typed:
    """An expression with its type. `source` is kept while the type is UNKNOWN. A constant reads no row.

    `cost` is how many operators and casts are done per row (cost_qual_eval of costsize.c; constants are folded).
    """

    type: ColumnType
    evaluate: Evaluate
    is_constant: bool = True
    source: sql.Literal | sql.Parameter | None = None
    place: int | None = None  # of a plain column
    cost: int = 0

    def cost_as(self, kind: ColumnType) -> int:
        """Return the cost as another type of number."""
        return self.cost + (self.type is not kind and not self.is_constant)


class Parameters:
    """The types of `$1`, `$2`, ...: as the client gave them, or else found out from the first use.

    `folds` are the constant expressions of the statement that may fail: the server evaluates them as it plans.
    """

    def __init__(self, oids: Sequence[int]) -> None:
        self.folds: list[Evaluate] = []
        self._types: list[ColumnType | None] = [self._known(oid) for oid in oids]

    def _known(self, oid: int) -> ColumnType | None:
        if oid in (0, UNKNOWN.oid):
            return None
        if oid not in BY_OID:
            refuse(f"a parameter of the type with oid {oid}")
        return BY_OID[oid]

    def type_of(self, number: int) -> ColumnType:
        """Return a parameter's type, UNKNOWN if it has none yet."""
        self._types += [None] * (number - len(self._types))
        return self._types[number - 1] or UNKNOWN

    def settle(self, number: int, kind: ColumnType) -> None:
        """Give a parameter its type."""
        known = self._types[number - 1]
        if known is not None and known is not kind:
            message = f"inconsistent types deduced for parameter ${number}"
            raise PostgreSQLError("42P08", message, detail=f"{known.name} versus {kind.name}")
        self._types[number - 1] = kind

    def types(self) -> tuple[ColumnType, ...]:
        """Return all types. Raises 42P18 if one was never used."""
        found = []
        for number, kind in enumerate(self._types, 1):
            if kind is None:
                raise PostgreSQLError("42P18", f"could not determine data type of parameter ${number}")
            found.append(kind)
        return tuple(found)


class Scope:
    """What names mean. With `excluded` a row is the table's columns followed by those of the proposed row.

    `clause` names a place where aggregates are not allowed. Elsewhere they gather in `aggregates`, and once there
    is one the row of the other expressions is the row of their results.
    """

    def __init__(
        self, table: Table | None, parameters: Parameters, *, clause: str | None = None, excluded: bool = False
    ) -> None:
        self.table = table
        self.parameters = parameters
        self.clause = clause
        self.excluded = excluded
        self.aggregates: list[tuple[str, int | None]] = []
        self.plain: list[sql.Column] = []  # columns outside of aggregates

    def column(self, column: sql.Column) -> tuple[int, Column]:
        """Return the place and the definition of a column."""
        table = self.table
        if table is None and (self.clause == "LIMIT" or (self.clause == "VALUES" and column.table is not None)):
            refuse(f"the column {column.name} in {self.clause}")
        is_excluded = self.excluded and column.table == "excluded"
        if column.table == "excluded" and self.clause == "RETURNING":
            refuse("excluded in RETURNING")
        if column.table is not None and not is_excluded and (table is None or column.table != table.name):
            raise PostgreSQLError("42P01", f'missing FROM-clause entry for table "{column.table}"')
        place = None if table is None else table.places.get(column.name)
        if table is None or place is None:
            self._no_such(column)
        if self.excluded and column.table is None:
            raise PostgreSQLError("42702", f'column reference "{column.name}" is ambiguous')
        return place + len(table.columns) * is_excluded, table.columns[place]

    def _no_such(self, column: sql.Column) -> NoReturn:
        if column.name in SYSTEM_COLUMNS:
            refuse(f"the system column {column.name}")
        is_row = self.table is not None and column.name == self.table.name
        if column.table is None and (is_row or (self.excluded and column.name == "excluded")):
            refuse("a whole row as a value")
        if column.table is None:
            raise PostgreSQLError("42703", f'column "{column.name}" does not exist')
        raise PostgreSQLError("42703", f"column {column.table}.{column.name} does not exist")


def analyse(expression: sql.Expression, scope: Scope) -> Typed:
    """Return the expression with its type, perhaps still UNKNOWN."""
    match expression:
        case sql.Column():
            scope.plain.append(expression)
            place, column = scope.column(expression)
            return Typed(column.type, lambda row, parameters: row[place], is_constant=False, place=place)
        case sql.Literal(value=value, type=kind):
            return Typed(kind, lambda row, parameters: value, source=expression if kind is UNKNOWN else None)
        case sql.Parameter(number=number):
            kind = scope.parameters.type_of(number)
            at = number - 1
            return Typed(kind, lambda row, parameters: parameters[at], source=expression if kind is UNKNOWN else None)
        case sql.Arithmetic():
            return _arithmetic(expression, scope)
        case sql.Coalesce():
            return _coalesce(expression, scope)
        case sql.Aggregate():
            return _aggregate(expression, scope)


def named(expression: sql.Expression) -> str:
    """Return what a result column of this expression is called."""
    match expression:
        case sql.Column(name=name):
            return name
        case sql.Aggregate(function=function):
            return function
        case sql.Coalesce():
            return "coalesce"
    return "?column?"


def settled(typed: Typed, kind: ColumnType, scope: Scope) -> Typed:
    """Return the expression with this type if its own is UNKNOWN. Raises 22P02 for a literal that is no such value."""
    match typed.source:
        case None:
            return typed
        case sql.Parameter(number=number):
            if kind is NUMERIC:
                refuse("a parameter of type numeric")
            scope.parameters.settle(number, kind)
            return Typed(kind, typed.evaluate)
        case sql.Literal(value=text):
            value = kind.read(text) if isinstance(text, str) else None
            return Typed(kind, lambda row, parameters: value)


def assignable(typed: Typed, column: Column, scope: Scope) -> Evaluate:
    """Return the value of an expression as the column stores it. Raises 42804."""
    typed = settled(typed, column.type, scope)
    if typed.type is NUMERIC and column.type is not DOUBLE:
        refuse("a literal with a decimal point as anything but double precision")
    cast = assigned(typed.type, column.type)
    if cast is None:
        raise PostgreSQLError(
            "42804",
            f'column "{column.name}" is of type {column.type.name} but expression is of type {typed.type.name}',
        )
    if typed.type is column.type:
        return typed.evaluate
    evaluate = typed.evaluate

    def converted(row: Values, parameters: Values) -> Value:
        value = evaluate(row, parameters)
        return None if value is None else cast(value)

    if typed.is_constant:
        scope.parameters.folds.append(converted)
    return converted


def matched(left: Typed, operator: str, right: Typed, scope: Scope) -> tuple[Typed, Typed]:
    """Return both sides of a comparison in types that can be compared. Raises 42883."""
    if left.type is UNKNOWN and right.type is UNKNOWN:
        return settled(left, TEXT, scope), settled(right, TEXT, scope)
    left, right = settled(left, right.type, scope), settled(right, left.type, scope)
    if left.type is right.type and left.type is not NUMERIC:
        return left, right
    if not (left.type.rank and right.type.rank):
        raise _no_operator(left, operator, right)
    if DOUBLE not in (left.type, right.type) and NUMERIC in (left.type, right.type):
        refuse("the comparison with a literal with a decimal point of anything but double precision")
    return _exact(left, right), _exact(right, left)


def _exact(typed: Typed, other: Typed) -> Typed:
    """Convert a bigint that meets a double precision: the server compares what is left of it."""
    if typed.type is not BIGINT or other.type is not DOUBLE:
        return typed
    evaluate = typed.evaluate

    def converted(row: Values, parameters: Values) -> Value:
        value = evaluate(row, parameters)
        return None if value is None else float(value)

    return Typed(DOUBLE, converted, typed.is_constant, cost=typed.cost_as(DOUBLE))


def _no_operator(left: Typed, operator: str, right: Typed) -> PostgreSQLError:
    return PostgreSQLError("42883", f"operator does not exist: {left.type.name} {operator} {right.type.name}")


def _arithmetic(expression: sql.Arithmetic, scope: Scope) -> Typed:
    operator = expression.operator
    left, right = analyse(expression.left, scope), analyse(expression.right, scope)
    if left.type is UNKNOWN and right.type is UNKNOWN:
        raise PostgreSQLError("42725", f"operator is not unique: unknown {operator} unknown")
    if any(not each.type.rank and each.type is not UNKNOWN for each in (left, right)):
        raise _no_operator(left, operator, right)
    left, right = settled(left, right.type, scope), settled(right, left.type, scope)
    kind = common_number(left.type, right.type)
    if kind is NUMERIC:
        refuse("arithmetic with type numeric")
    sign = 1 if operator == "+" else -1
    evaluate_left, evaluate_right = left.evaluate, right.evaluate

    def evaluate(row: Values, parameters: Values) -> Value:
        a, b = evaluate_left(row, parameters), evaluate_right(row, parameters)
        if a is None or b is None:
            return None
        assert not isinstance(a, str)
        assert not isinstance(b, str)
        return _float_sum(float(a), sign * float(b)) if kind is DOUBLE else in_range(int(a + sign * b), kind)

    is_constant = left.is_constant and right.is_constant
    if is_constant:
        scope.parameters.folds.append(evaluate)
    return Typed(kind, evaluate, is_constant, cost=0 if is_constant else operation_cost(left, right))


def operation_cost(left: Typed, right: Typed) -> int:
    """Return what an operator costs per row; between two types of integers none is cast."""
    if DOUBLE in (left.type, right.type):
        return left.cost_as(DOUBLE) + right.cost_as(DOUBLE) + 1
    return left.cost + right.cost + 1


def _float_sum(a: float, b: float) -> float:
    total = a + b
    if total != total:
        refuse("the double precision NaN")
    if abs(total) == float("inf") and float("inf") not in (abs(a), abs(b)):
        raise PostgreSQLError("22003", "value out of range: overflow")
    return total


def _coalesce(expression: sql.Coalesce, scope: Scope) -> Typed:
    folds = scope.parameters.folds
    arguments: list[Typed] = []
    own_folds: list[list[Evaluate]] = []
    for argument in expression.arguments:
        known = len(folds)
        arguments.append(analyse(argument, scope))
        own_folds.append(folds[known:])
        del folds[known:]
    kind = UNKNOWN
    for each in arguments:
        if kind is UNKNOWN or (each.type.rank and kind.rank):
            kind = each.type if kind is UNKNOWN else common_number(kind, each.type)
        elif each.type not in (kind, UNKNOWN):
            raise PostgreSQLError("42804", f"COALESCE types {kind.name} and {each.type.name} cannot be matched")
    kind = TEXT if kind is UNKNOWN else kind
    if kind is NUMERIC:
        refuse("COALESCE of type numeric")
    arguments = [settled(each, kind, scope) for each in arguments]
    evaluates = [each.evaluate for each in arguments]
    if any(own_folds):
        folds.append(_coalesce_fold(arguments, own_folds))

    def evaluate(row: Values, parameters: Values) -> Value:
        for each in evaluates:
            value = each(row, parameters)
            if value is not None:
                return float(value) if kind is DOUBLE else value
        return None

    is_constant = all(each.is_constant for each in arguments)
    cost = 0 if is_constant else sum(each.cost_as(kind) for each in arguments)
    return Typed(kind, evaluate, is_constant, cost=cost)


def _coalesce_fold(arguments: Sequence[Typed], folds: Sequence[Sequence[Evaluate]]) -> Evaluate:
    """Return what fails as the arguments do up to the first constant that is not NULL; the rest is left out."""

    def fold(row: Values, parameters: Values) -> Value:
        for typed, own in zip(arguments, folds, strict=True):
            for each in own:
                each(row, parameters)
            if typed.is_constant and typed.evaluate(row, parameters) is not None:
                break
        return None

    return fold


def _aggregate(expression: sql.Aggregate, scope: Scope) -> Typed:
    if scope.clause is not None:
        raise PostgreSQLError("42803", f"aggregate functions are not allowed in {scope.clause}")
    at = len(scope.aggregates)
    place, kind = None, BIGINT
    if expression.column is not None:
        place, column = scope.column(expression.column)
        kind = column.type
        if kind is BOOLEAN:
            raise PostgreSQLError("42883", f"function {expression.function}(boolean) does not exist")
    elif scope.table is None:
        refuse("count(*) without FROM")
    scope.aggregates.append((expression.function, place))
    return Typed(kind, lambda row, parameters: row[at], is_constant=False)
