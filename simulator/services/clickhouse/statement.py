"""The statements that are modelled, as values. What is not here is refused by the parser."""

import attrs

from simulator.services.clickhouse.types import Value

__all__ = [
    "Aggregate",
    "Column",
    "Comparison",
    "Condition",
    "CreateTable",
    "DropTable",
    "ExistsTable",
    "Expression",
    "Insert",
    "Logical",
    "Membership",
    "Not",
    "Number",
    "OrderKey",
    "Select",
    "SelectItem",
    "ShowTables",
    "Star",
    "Statement",
    "TableName",
    "TruncateTable",
]


@attrs.frozen
class TableName:
    """A table, in the database named or else in that of the request."""

    database: str | None
    name: str


@attrs.frozen
class Star:
    """Every column, in the order of the table."""


@attrs.frozen
class Number:
    """A small unsigned integer, the only literal that can be selected."""

    value: int


@attrs.frozen
class Column:
    """A column, or in ORDER BY an alias."""

    name: str


@attrs.frozen
class Aggregate:
    """`function` in lower case, `spelled` as written, which names the result. Only count has no column."""

    function: str
    spelled: str
    column: str | None

    @property
    def name(self) -> str:
        """The name of the result column."""
        return f"{self.spelled}({self.column or ''})"


Expression = Star | Number | Column | Aggregate


@attrs.frozen
class SelectItem:
    """What is selected, and what it is called if not by its own name."""

    expression: Expression
    alias: str | None


@attrs.frozen
class OrderKey:
    """One key of ORDER BY."""

    expression: Column | Aggregate
    descending: bool


@attrs.frozen
class Comparison:
    """A column against a literal; `operator` is one of = != < <= > >=."""

    column: str
    operator: str
    literal: Value


@attrs.frozen
class Membership:
    """A column IN, or NOT IN, literals."""

    column: str
    literals: tuple[Value, ...]
    negated: bool


@attrs.frozen
class Not:
    """The opposite of a condition."""

    condition: "Condition"


@attrs.frozen
class Logical:
    """All (`AND`) or any (`OR`) of two or more conditions."""

    operator: str
    conditions: "tuple[Condition, ...]"


Condition = Comparison | Membership | Not | Logical


@attrs.frozen
class Select:
    """A query. Without a table it selects numbers."""

    items: tuple[SelectItem, ...]
    table: TableName | None
    final: bool
    where: Condition | None
    group_by: tuple[str, ...]
    order_by: tuple[OrderKey, ...]
    limit: int | None
    format: str


@attrs.frozen
class CreateTable:
    """`columns` are names and types in order; `replacing` tells ReplacingMergeTree from MergeTree.

    `window` is the setting non_replicated_deduplication_window, if it is given.
    """

    table: TableName
    if_not_exists: bool
    columns: tuple[tuple[str, str], ...]
    replacing: bool
    key: tuple[str, ...]
    window: int | None


@attrs.frozen
class DropTable:
    """Remove a table and its rows."""

    table: TableName
    if_exists: bool


@attrs.frozen
class TruncateTable:
    """Remove the rows of a table."""

    table: TableName


@attrs.frozen
class ExistsTable:
    """Answer 1 or 0."""

    table: TableName
    format: str


@attrs.frozen
class ShowTables:
    """List the tables of the request's database."""

    format: str


@attrs.frozen
class Insert:
    """Append rows: given as JSON from `data_at` in the request's text, or else as `rows` of literals.

    `columns` None means all of the table.
    """

    table: TableName
    columns: tuple[str, ...] | None
    data_at: int | None
    rows: tuple[tuple[Value, ...], ...]


Statement = CreateTable | DropTable | TruncateTable | ExistsTable | ShowTables | Insert | Select
