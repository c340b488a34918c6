"""SELECT over one table: filter, group, sort, limit.

Every row or group becomes a Group, a list of rows of which a column takes the first and an aggregate takes all;
so a plain query and a grouped one are evaluated alike. Where the statement gives no order, rows come in that of
insertion; the real server promises none there.
"""

import operator
from collections.abc import Callable, Sequence

import attrs

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.table import Row, Table
from simulator.services.clickhouse.types import ColumnType, Value

__all__ = ["select"]

Group = Sequence[Row]
OPERATORS: dict[str, Callable[[Value, Value], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@attrs.frozen
class Output:
    """One column of a result: its name, the name of its type, how it is taken from a group."""

    name: str
    type_name: str
    value: Callable[[Group], Value]


def select(statement: sql.Select, table: Table | None) -> tuple[list[str], list[str], list[Row]]:
    """Return the names, the types' names and the rows of the result."""
    if table is not None:
        _check_names(statement, table)
    outputs = _numbers(statement) if table is None else _outputs(statement, table)
    names = [output.name for output in outputs]
    if len(set(names)) != len(names):
        refuse(f"a result with one name for two columns ({', '.join(names)})")
    groups: Sequence[Group] = [[()]] if table is None else _groups(statement, table, outputs)
    rows = [tuple(output.value(group) for output in outputs) for group in groups]
    return names, [output.type_name for output in outputs], rows


def _numbers(statement: sql.Select) -> list[Output]:
    outputs = []
    for item in statement.items:
        if not isinstance(item.expression, sql.Number):
            refuse("SELECT without FROM of anything but numbers")
        value = item.expression.value
        type_name = next(name for name in ("UInt8", "UInt16", "UInt32") if value < 1 << int(name[4:]))
        outputs.append(Output(item.alias or str(value), type_name, _constant(value)))
    return outputs


def _constant(value: Value) -> Callable[[Group], Value]:
    return lambda group: value


def _outputs(statement: sql.Select, table: Table) -> list[Output]:
    grouped = _is_grouped(statement)
    outputs = []
    for item in statement.items:
        if isinstance(item.expression, sql.Star):
            outputs += [_output(sql.Column(name), statement, table, grouped) for name in table.places]
        elif isinstance(item.expression, sql.Number):
            refuse("a number selected from a table")
        else:
            output = _output(item.expression, statement, table, grouped)
            _check_alias(item.alias, output, table)
            outputs.append(attrs.evolve(output, name=item.alias or output.name))
    return outputs


def _check_names(statement: sql.Select, table: Table) -> None:
    """Refuse an alias in place of a column, except in ORDER BY, and raise the server's error for an unknown name."""
    aliases = [item.alias for item in statement.items]
    names = [_column_of(item.expression) for item in statement.items] + [*statement.group_by]
    names += _columns_of(statement.where)
    for key in statement.order_by:
        if not (isinstance(key.expression, sql.Column) and key.expression.name in aliases):
            names.append(_column_of(key.expression))
    for name in names:
        if name is not None and name not in table.places:
            if name in aliases:
                refuse(f"the alias {name} anywhere but in ORDER BY")
            table.place(name)


def _column_of(expression: sql.Expression) -> str | None:
    match expression:
        case sql.Column():
            return expression.name
        case sql.Aggregate():
            return expression.column
        case _:
            return None


def _columns_of(condition: sql.Condition | None) -> list[str | None]:
    match condition:
        case None:
            return []
        case sql.Comparison() | sql.Membership():
            return [condition.column]
        case sql.Not():
            return _columns_of(condition.condition)
        case sql.Logical():
            return [name for part in condition.conditions for name in _columns_of(part)]


def _check_alias(alias: str | None, output: Output, table: Table) -> None:
    # The real server lets such an alias stand for the column everywhere, WHERE included.
    if alias is not None and alias in table.places and alias != output.name:
        refuse(f"the alias {alias}, which is also a column")


def _is_grouped(statement: sql.Select) -> bool:
    expressions = [item.expression for item in statement.items] + [key.expression for key in statement.order_by]
    return bool(statement.group_by) or any(isinstance(e, sql.Aggregate) for e in expressions)


def _output(expression: sql.Column | sql.Aggregate, statement: sql.Select, table: Table, grouped: bool) -> Output:
    if isinstance(expression, sql.Aggregate):
        return _aggregate(expression, table)
    place = table.place(expression.name)
    if grouped and expression.name not in statement.group_by:
        raise ClickHouseError(215, f"Column {expression.name} is not under aggregate function and not in GROUP BY.")
    return Output(expression.name, table.types[place].name, lambda group: group[0][place])


def _aggregate(aggregate: sql.Aggregate, table: Table) -> Output:
    if aggregate.column is None:
        return Output(aggregate.name, "UInt64", len)
    place = table.place(aggregate.column)
    column = table.types[place]
    if aggregate.function == "sum":
        return _sum(aggregate, column, place)
    if aggregate.function == "uniqexact":
        if column.kind == "Float":
            refuse("uniqExact of a Float64 column")
        return Output(aggregate.name, "UInt64", lambda group: len({row[place] for row in group}))
    extreme = min if aggregate.function == "min" else max
    return Output(
        aggregate.name, column.name, lambda group: extreme((row[place] for row in group), default=column.default)
    )


def _sum(aggregate: sql.Aggregate, column: ColumnType, place: int) -> Output:
    if column.kind == "Float":
        refuse("sum of a Float64 column, which depends on the order of addition")
    if column.kind != "Integer":
        raise ClickHouseError(43, f"Illegal type {column.name} of argument for aggregate function sum")
    signed = column.name.startswith("Int")
    low = -(1 << 63) if signed else 0
    type_name = "Int64" if signed else "UInt64"
    return Output(
        aggregate.name, type_name, lambda group: (sum(int(row[place]) for row in group) - low) % (1 << 64) + low
    )


def _groups(statement: sql.Select, table: Table, outputs: Sequence[Output]) -> Sequence[Group]:
    sort_keys = [(_sort_key(key, statement, table, outputs), key.descending) for key in statement.order_by]
    key = [_group_place(name, table) for name in statement.group_by]
    rows = table.final_rows() if statement.final else table.rows
    if statement.where is not None:
        holds = _condition(statement.where, table)
        rows = [row for row in rows if holds(row)]
    groups: list[Group]
    if key:
        by_key: dict[Row, list[Row]] = {}
        for row in rows:
            by_key.setdefault(tuple(row[place] for place in key), []).append(row)
        groups = list(by_key.values())
    else:
        groups = [rows] if _is_grouped(statement) else [[row] for row in rows]
    for value, descending in reversed(sort_keys):
        groups.sort(key=value, reverse=descending)
    return groups[: statement.limit]


def _group_place(name: str, table: Table) -> int:
    place = table.place(name)
    if table.types[place].kind == "Float":
        refuse(f"GROUP BY the Float64 column {name}")
    return place


def _sort_key(
    key: sql.OrderKey, statement: sql.Select, table: Table, outputs: Sequence[Output]
) -> Callable[[Group], Value]:
    if isinstance(key.expression, sql.Column):
        for output in outputs:
            if output.name == key.expression.name:
                return output.value
    return _output(key.expression, statement, table, _is_grouped(statement)).value


def _condition(condition: sql.Condition, table: Table) -> Callable[[Row], bool]:
    match condition:
        case sql.Comparison():
            return _comparison(condition, table)
        case sql.Membership():
            return _membership(condition, table)
        case sql.Not():
            opposite = _condition(condition.condition, table)
            return lambda row: not opposite(row)
        case sql.Logical():
            parts = [_condition(part, table) for part in condition.conditions]
            decide = all if condition.operator == "AND" else any
            return lambda row: decide(part(row) for part in parts)


def _comparison(comparison: sql.Comparison, table: Table) -> Callable[[Row], bool]:
    place = table.place(comparison.column)
    column = table.types[place]
    if (column.kind == "String") != isinstance(comparison.literal, str) and column.kind in ("String", "Integer"):
        if table.release is Release.CURRENT:
            refuse(f"a comparison of the {column.name} {comparison.column} with {comparison.literal!r}")
        names = {"=": "equals", "!=": "notEquals", "<": "less", "<=": "lessOrEquals", ">": "greater"}
        raise ClickHouseError(
            43,
            f"Illegal types of arguments ({column.name}, {_literal_type(comparison.literal)}) "
            f"of function {names.get(comparison.operator, 'greaterOrEquals')}",
        )
    literal = column.of_literal(comparison.literal)
    compare = OPERATORS[comparison.operator]
    return lambda row: compare(row[place], literal)


def _literal_type(literal: Value) -> str:
    """Return the smallest type that holds a literal, which is the one the server gives it."""
    if not isinstance(literal, int):
        return "String" if isinstance(literal, str) else "Float64"
    bits = (8, 16, 32, 64)
    if literal < 0:
        return next(f"Int{width}" for width in bits if literal >= -(1 << (width - 1)))
    return next(f"UInt{width}" for width in bits if literal < 1 << width)


def _membership(membership: sql.Membership, table: Table) -> Callable[[Row], bool]:
    place = table.place(membership.column)
    column = table.types[place]
    for literal in membership.literals:
        if (column.kind == "String") != isinstance(literal, str) and column.kind in ("String", "Integer"):
            if table.release is Release.CURRENT:
                refuse(f"the {column.name} {membership.column} IN a list with {literal!r}")
            got = "String" if isinstance(literal, str) else "Float64" if isinstance(literal, float) else "Int64"
            got = "UInt64" if isinstance(literal, int) and literal >= 0 else got
            raise ClickHouseError(53, f"Type mismatch in IN or VALUES section. Expected: {column.name}. Got: {got}")
    members = {column.of_literal(literal) for literal in membership.literals}
    return lambda row: (row[place] in members) is not membership.negated
