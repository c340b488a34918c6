"""A table: its columns, its sorting key, its rows in the order of insertion; blocks inserted twice, rows not shown yet.

A block is repeated if one of the last `window` blocks had its token, or, without one, its columns and rows in the
same order (MergeTreeDeduplicationLog: a block that is found does not move to the end).
"""

from collections.abc import Mapping, Sequence
from typing import Self

import attrs

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.types import TYPES, ColumnType, Value

__all__ = ["Row", "Table"]

Row = tuple[Value, ...]
BlockId = str | tuple[tuple[str, ...], tuple[Row, ...]]


@attrs.define(eq=False)
class Table:
    """`places` maps each column to its place in a row; `key` holds places. `rows` are those that are shown."""

    release: Release
    name: str
    places: Mapping[str, int]
    types: Sequence[ColumnType]
    defaults: Sequence[Value]
    key: Sequence[int]
    replacing: bool
    window: int = 0
    rows: list[Row] = attrs.field(factory=list)
    _hidden: list[tuple[float, Sequence[Row]]] = attrs.field(factory=list)
    _blocks: dict[BlockId, None] = attrs.field(factory=dict)

    @classmethod
    def of(cls, statement: sql.CreateTable, release: Release) -> Self:
        """Return the empty table. Raises ClickHouseError for a wrong definition."""
        if statement.window is not None and release is Release.V18_16:
            engine = f"{'Replacing' * statement.replacing}MergeTree"
            raise ClickHouseError(36, f"Unknown setting non_replicated_deduplication_window for storage {engine}")
        places: dict[str, int] = {}
        known = TYPES[release]
        for name, type_name in statement.columns:
            if name in places:
                raise ClickHouseError(_code(15, 44, release), f"Column {name} already exists")
            if type_name not in known:
                refuse(f"the type {type_name} (only {', '.join(known)})")
            places[name] = len(places)
        types = [known[type_name] for _, type_name in statement.columns]
        if release is Release.CURRENT and len(set(statement.key)) < len(statement.key):
            raise ClickHouseError(36, "Primary key or secondary index contains a duplicate expression.")
        for name in statement.key:
            if name not in places:
                raise ClickHouseError(47, f"Unknown identifier: {name}")
            if types[places[name]].kind == "Float":
                refuse(f"ORDER BY the Float64 column {name}")
        if statement.replacing and not statement.key:
            refuse("ReplacingMergeTree with an empty ORDER BY")
        key = [places[name] for name in statement.key]
        defaults = [column.default for column in types]
        return cls(
            release, statement.table.name, places, types, defaults, key, statement.replacing, statement.window or 0
        )

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

    def insert(
        self, columns: Sequence[str], rows: Sequence[Row], *, token: str = "", shown_at_s: float | None = None
    ) -> None:
        """Append a block with values for `columns`, unless it is repeated; it is shown now, or from `shown_at_s` on."""
        if not rows or (self.window and self._is_repeated(columns, rows, token)):
            return
        if self.replacing and self.release is Release.CURRENT:
            rows = self._last_of_each_key(rows)
        if shown_at_s is None:
            self.rows.extend(rows)
        else:
            self._hidden.append((shown_at_s, rows))

    def truncate(self) -> None:
        """Remove the rows, and the memory of their blocks."""
        self.rows.clear()
        self._hidden.clear()
        self._blocks.clear()

    @property
    def hides(self) -> bool:
        """Whether there are rows that are not shown yet."""
        return bool(self._hidden)

    def show_until(self, now_s: float) -> None:
        """Show the rows whose time has come. All are hidden equally long, so they come in the order of insertion."""
        while self._hidden and self._hidden[0][0] <= now_s:
            self.rows.extend(self._hidden.pop(0)[1])

    def show_all(self) -> None:
        """Show every row."""
        self.show_until(float("inf"))

    def final_rows(self) -> Sequence[Row]:
        """Return the last inserted row of each key. Raises the server's error 181 for a plain MergeTree."""
        if not self.replacing:
            raise ClickHouseError(181, "Storage MergeTree doesn't support FINAL")
        return self._last_of_each_key(self.rows)

    def _last_of_each_key(self, rows: Sequence[Row]) -> Sequence[Row]:
        return list({tuple(row[place] for place in self.key): row for row in rows}.values())

    def _is_repeated(self, columns: Sequence[str], rows: Sequence[Row], token: str) -> bool:
        places = [self.places[column] for column in columns]
        block = token or (tuple(columns), tuple(tuple(row[place] for place in places) for row in rows))
        if block in self._blocks:
            return True
        self._blocks[block] = None
        if len(self._blocks) > self.window:
            del self._blocks[next(iter(self._blocks))]
        return False


def _code(code: int, current: int, release: Release) -> int:
    return current if release is Release.CURRENT else code
