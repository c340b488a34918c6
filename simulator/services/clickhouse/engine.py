"""The tables of the machine and what each statement does to them, synchronously and therefore atomically.

ReplacingMergeTree is modelled as a server whose background merges never come: without FINAL every row shows, with
FINAL the last inserted of each key. Not modelled: partitions, versions, TTL, mutations, quotas, and
databases other than `default`.
"""

from collections.abc import Sequence

import attrs

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.query import select
from simulator.services.clickhouse.rows import FORMATS, Row, read_json_rows
from simulator.services.clickhouse.table import Table
from simulator.services.clickhouse.types import TYPES, Value

__all__ = ["Engine", "Result", "check_database"]

DATABASE = "default"
READ_ONLY = {
    sql.Insert: "insert into table",
    sql.CreateTable: "create table",
    sql.DropTable: "drop table",
    sql.TruncateTable: "drop table",
}


@attrs.frozen
class Result:
    """A response body and its Content-Type."""

    body: str
    content_type: str


NOTHING = Result("", "text/plain; charset=UTF-8")


class Engine:
    """The data: what an acknowledged statement did stays."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def execute(self, statement: sql.Statement, text: str, *, read_only: bool) -> Result:
        """Execute a statement parsed from `text`. Raises ClickHouseError, having changed nothing."""
        if read_only and type(statement) in READ_ONLY:
            raise ClickHouseError(164, f"Cannot {READ_ONLY[type(statement)]} in readonly mode")
        match statement:
            case sql.Select():
                table = None if statement.table is None else self._table(statement.table)
                return _written(statement.format, *select(statement, table))
            case sql.Insert():
                return self._insert(statement, text)
            case sql.CreateTable():
                return self._create(statement)
            case sql.DropTable():
                if not (statement.if_exists and _name(statement.table) not in self._tables):
                    self._table(statement.table)
                    del self._tables[statement.table.name]
                return NOTHING
            case sql.TruncateTable():
                self._table(statement.table).rows.clear()
                return NOTHING
            case sql.ExistsTable():
                exists = statement.table.database in (None, DATABASE) and statement.table.name in self._tables
                return _written(statement.format, ["result"], ["UInt8"], [(int(exists),)])
            case sql.ShowTables():
                return _written(statement.format, ["name"], ["String"], [(name,) for name in sorted(self._tables)])

    def _table(self, table: sql.TableName) -> Table:
        name = _name(table)
        if name not in self._tables:
            raise ClickHouseError(60, f"Table {DATABASE}.{name} doesn't exist.")
        return self._tables[name]

    def _create(self, statement: sql.CreateTable) -> Result:
        name = _name(statement.table)
        if name in self._tables:
            if statement.if_not_exists:
                return NOTHING
            raise ClickHouseError(57, f"Table {DATABASE}.{name} already exists.")
        self._tables[name] = Table.of(statement)
        return NOTHING

    def _insert(self, statement: sql.Insert, text: str) -> Result:
        table = self._table(statement.table)
        names = table.places if statement.columns is None else table.places_of(statement.columns)
        if statement.data_at is None:
            rows = [_row_of_literals(table, tuple(names.values()), literals) for literals in statement.rows]
        else:
            rows = read_json_rows(text, statement.data_at, names=names, types=table.types, defaults=table.defaults)
        table.rows.extend(rows)
        return NOTHING


def check_database(name: str) -> None:
    """Raise the server's error for a database that does not exist."""
    if name == "system":
        refuse("the database system")
    if name != DATABASE:
        raise ClickHouseError(81, f"Database {name} doesn't exist")


def _name(table: sql.TableName) -> str:
    check_database(table.database or DATABASE)
    return table.name


def _row_of_literals(table: Table, places: Sequence[int], literals: Sequence[Value]) -> Row:
    if len(literals) != len(places):
        refuse(f"VALUES with {len(literals)} literals for {len(places)} columns")
    values = list(table.defaults)
    for place, literal in zip(places, literals, strict=True):
        values[place] = table.types[place].of_literal(literal)
        if not table.types[place].holds(values[place]):
            refuse(f"the literal {literal!r} as a {table.types[place].name}")
    return tuple(values)


def _written(format_name: str, names: Sequence[str], types: Sequence[str], rows: Sequence[Row]) -> Result:
    output = FORMATS[format_name]
    return Result(output.write(names, [TYPES[name] for name in types], rows), output.content_type)
