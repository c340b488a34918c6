"""The tables of the machine and what each statement does to them, synchronously and therefore atomically.

ReplacingMergeTree is modelled as a server whose background merges never come: without FINAL every row shows, with
FINAL the last inserted of each key. Not modelled: partitions, versions, TTL, mutations, quotas, and
databases other than `default`.
"""

from collections.abc import Mapping, Sequence

import attrs
import trio

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.gathering import Gathering, Insertion
from simulator.services.clickhouse.query import select
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.rows import FORMATS, read_json_rows
from simulator.services.clickhouse.settings import DEFAULTS, Settings
from simulator.services.clickhouse.table import Row, Table
from simulator.services.clickhouse.troubles import (
    SLOW_QUERY_S,
    VISIBILITY_DELAY_S,
    Switches,
    memory_limit_exceeded,
    too_many_parts,
)
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
    """A response body and its Content-Type, to be sent after `after_s` seconds, and after the flush of `awaits`."""

    body: str
    content_type: str
    after_s: float = 0.0
    awaits: Insertion | None = None


NOTHING = Result("", "text/plain; charset=UTF-8")


class Engine:
    """The data: what an acknowledged statement did stays."""

    def __init__(self, release: Release = Release.V18_16) -> None:
        self.release = release
        self.switches = Switches()
        self._tables: dict[str, Table] = {}

    def execute(
        self,
        statement: sql.Statement,
        text: str,
        *,
        read_only: bool,
        settings: Settings = DEFAULTS,
        gathering: Gathering | None = None,
    ) -> Result:
        """Execute a statement parsed from `text`. Raises ClickHouseError, having changed nothing.

        Asynchronous inserts are left to `gathering`.
        """
        if read_only and type(statement) in READ_ONLY:
            raise ClickHouseError(
                164,
                f"Cannot {READ_ONLY[type(statement)]} in readonly mode",
                current="default: Cannot execute query in readonly mode.",
            )
        match statement:
            case sql.Select():
                return self._select(statement)
            case sql.Insert():
                return self._execute_insert(self._insertion(statement, text, settings), settings, gathering)
            case sql.CreateTable():
                return self._create(statement)
            case sql.DropTable():
                if not (statement.if_exists and _name(statement.table) not in self._tables):
                    self._table(statement.table)
                    del self._tables[statement.table.name]
                return NOTHING
            case sql.TruncateTable():
                self._table(statement.table).truncate()
                return NOTHING
            case sql.ExistsTable():
                exists = statement.table.database in (None, DATABASE) and statement.table.name in self._tables
                return self._written(statement.format, ["result"], ["UInt8"], [(int(exists),)])
            case sql.ShowTables():
                names = [(name,) for name in sorted(self._tables)]
                return self._written(statement.format, ["name"], ["String"], names)

    def delay_visibility(self, on: bool) -> None:
        """Begin to hide what is inserted from now on for a while, or show everything."""
        self.switches.delay_visibility = on
        if not on:
            for table in self._tables.values():
                table.show_all()

    def insert_gathered(self, insertions: Sequence[Insertion]) -> None:
        """Insert, as one block, what can be read of asynchronous inserts into one table."""
        readable = [insertion for insertion in insertions if insertion.error is None]
        if readable:
            block = attrs.evolve(readable[0], rows=[row for insertion in readable for row in insertion.rows])
            try:
                if self._tables.get(block.table.name) is not block.table:
                    raise _no_such_table(block.table.name)
                self._insert(block, "")
            except ClickHouseError as error:
                for insertion in readable:
                    insertion.error = error

    def _table(self, table: sql.TableName) -> Table:
        name = _name(table)
        if name not in self._tables:
            raise _no_such_table(name)
        return self._tables[name]

    def _create(self, statement: sql.CreateTable) -> Result:
        name = _name(statement.table)
        if name in self._tables:
            if statement.if_not_exists:
                return NOTHING
            raise ClickHouseError(57, f"Table {DATABASE}.{name} already exists.")
        self._tables[name] = Table.of(statement, self.release)
        return NOTHING

    def _select(self, statement: sql.Select) -> Result:
        table = None
        if statement.table is not None:
            name = _name(statement.table)
            if name not in self._tables:
                raise _no_such_table(name, current=f"Unknown table expression identifier '{name}'.")
            table = self._tables[name]
            if table.hides:
                table.show_until(trio.current_time())
        result = self._written(statement.format, *select(statement, table))
        if self.switches.memory_limit:
            raise memory_limit_exceeded()
        return attrs.evolve(result, after_s=SLOW_QUERY_S) if self.switches.slow_queries else result

    def _insertion(self, statement: sql.Insert, text: str, settings: Settings) -> Insertion:
        table = self._table(statement.table)
        places = table.places if statement.columns is None else table.places_of(statement.columns)
        insertion = Insertion(table, tuple(places), ())
        if self.release is Release.CURRENT and self.switches.too_many_parts and not settings.async_insert:
            return insertion  # today's server looks at the parts before it reads a row
        try:
            insertion.rows = _rows(statement, text, table, places)
        except ClickHouseError as error:
            if not settings.async_insert:
                raise
            insertion.error = error
        return insertion

    def _execute_insert(self, insertion: Insertion, settings: Settings, gathering: Gathering | None) -> Result:
        if not settings.async_insert:
            self._insert(insertion, settings.insert_deduplication_token)
            return NOTHING
        if insertion.table.window:
            refuse("async_insert=1 into a table with non_replicated_deduplication_window")
        assert gathering is not None, "asynchronous inserts need a server"
        gathering.add(insertion, settings)
        return attrs.evolve(NOTHING, awaits=insertion) if settings.wait_for_async_insert else NOTHING

    def _insert(self, insertion: Insertion, token: str) -> None:
        table = insertion.table
        if self.switches.too_many_parts and (insertion.rows or self.release is Release.CURRENT):
            raise too_many_parts(f"{DATABASE}.{table.name}")
        shown_at_s = trio.current_time() + VISIBILITY_DELAY_S if self.switches.delay_visibility else None
        table.insert(insertion.columns, insertion.rows, token=token, shown_at_s=shown_at_s)

    def _written(self, format_name: str, names: Sequence[str], types: Sequence[str], rows: Sequence[Row]) -> Result:
        output = FORMATS[self.release][format_name]
        return Result(output.write(names, [TYPES[self.release][name] for name in types], rows), output.content_type)


def check_database(name: str) -> None:
    """Raise the server's error for a database that does not exist."""
    if name == "system":
        refuse("the database system")
    if name != DATABASE:
        raise ClickHouseError(81, f"Database {name} doesn't exist", current=f"Database {name} does not exist.")


def _name(table: sql.TableName) -> str:
    check_database(table.database or DATABASE)
    return table.name


def _no_such_table(name: str, current: str = "") -> ClickHouseError:
    today = current or f"Table {DATABASE}.{name} does not exist."
    return ClickHouseError(60, f"Table {DATABASE}.{name} doesn't exist.", current=today)


def _rows(statement: sql.Insert, text: str, table: Table, places: Mapping[str, int]) -> Sequence[Row]:
    if statement.data_at is None:
        return [_row_of_literals(table, tuple(places.values()), literals) for literals in statement.rows]
    return read_json_rows(text, statement.data_at, names=places, table=table)


def _row_of_literals(table: Table, places: Sequence[int], literals: Sequence[Value]) -> Row:
    if len(literals) != len(places):
        refuse(f"VALUES with {len(literals)} literals for {len(places)} columns")
    values = list(table.defaults)
    for place, literal in zip(places, literals, strict=True):
        values[place] = table.types[place].of_literal(literal)
        if not table.types[place].holds(values[place]):
            refuse(f"the literal {literal!r} as a {table.types[place].name}")
    return tuple(values)
