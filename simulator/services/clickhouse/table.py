"""A table: its columns, its sorting key, its rows in the order of insertion."""

from collections.abc import Mapping, Sequence
from typing import Self

import attrs

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.rows import Row
from simulator.services.clickhouse.types import TYPES, ColumnType, Value

__all__ = ["Table"]


@attrs.define(eq=False)
class Table:
    """`places` maps each column to its place in a row; `key` holds places."""

    name: str
    places: Mapping[str, int]
    types: Sequence[ColumnType]
    defaults: Sequence[Value]
    key: Sequence[int]
    replacing: bool
    rows: list[Row] = attrs.field(factory=list)

    @classmethod
    def of(cls, statement: sql.CreateTable) -> Self:
        """Return the empty table. Raises ClickHouseError for a wrong definition."""
        places: dict[str, int] = {}
        for name, type_name in statement.columns:
            if name in places:
                raise ClickHouseError(15, f"Column {name} already exists")
            if type_name not in TYPES:
                refuse(f"the type {type_name} (only {', '.join(TYPES)})")
            places[name] = len(places)
        types = [TYPES[type_name] for _, type_name in statement.columns]
        for name in statement.key:
            if name not in places:
                raise ClickHouseError(47, f"Unknown identifier: {name}")
            if types[places[name]].kind == "Float":
                refuse(f"ORDER BY the Float64 column {name}")
        if statement.replacing and not statement.key:
            refuse("ReplacingMergeTree with an empty ORDER BY")
        key = [places[name] for name in statement.key]
        defaults = [column.default for column in types]
        return cls(statement.table.name, places, types, defaults, key, statement.replacing)

    def place(self, column: str) -> int:
        """Return the place of a column. Raises the server's error 47."""
        if column not in self.places:
            raise ClickHouseError(47, f"Unknown identifier: {column}")
        return self.places[column]

    def places_of(self, columns: Sequence[str]) -> Mapping[str, int]:
        """Return the places of the columns of an INSERT, in its order. Raises the server's error 16."""
        places: dict[str, int] = {}
        for column in columns:
            if column not in self.places:
                raise ClickHouseError(16, f"No such column {column} in table {self.name}")
            if column in places:
                refuse(f"the column {column} twice in an INSERT")
            places[column] = self.places[column]
        return places

    def final_rows(self) -> Sequence[Row]:
        """Return the last inserted row of each key. Raises the server's error 181 for a plain MergeTree."""
        if not self.replacing:
            raise ClickHouseError(181, "Storage MergeTree doesn't support FINAL")
        return list({tuple(row[place] for place in self.key): row for row in self.rows}.values())
