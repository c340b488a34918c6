"""The syntax of the modelled SQL: what the parser understood, before any table is looked at."""

import enum
from typing import TypeAlias

import attrs

from simulator.services.postgresql.types import ColumnType, Value

__all__ = [
    "Aggregate",
    "Arithmetic",
    "Assignment",
    "Begin",
    "Coalesce",
    "Column",
    "ColumnDefinition",
    "Commit",
    "Comparison",
    "Condition",
    "Conflict",
    "CreateTable",
    "Deallocate",
    "Default",
    "Delete",
    "DropTables",
    "Expression",
    "Insert",
    "IsNull",
    "Isolation",
    "Key",
    "Literal",
    "Locking",
    "Membership",
    "OrderKey",
    "Parameter",
    "Rollback",
    "Select",
    "SelectItem",
    "SetSetting",
    "ShowSetting",
    "Star",
    "Statement",
    "Truncate",
    "Update",
]


class Isolation(enum.Enum):
    """The level of a transaction, as SHOW names it."""

    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"


class Locking(enum.Enum):
    """What a SELECT does to the rows that it finds."""

    NONE = "none"
    WAIT = "FOR UPDATE"
    SKIP = "FOR UPDATE SKIP LOCKED"


@attrs.frozen
class Literal:
    """A constant. Quoted text and NULL are UNKNOWN until something says what they are."""

    value: Value
    type: ColumnType


@attrs.frozen
class Parameter:
    """`$number`, from 1."""

    number: int


@attrs.frozen
class Column:
    """A column, perhaps with the name of its table, or `excluded`, before it."""

    table: str | None
    name: str


@attrs.frozen
class Arithmetic:
    """The sum (`+`) or difference (`-`) of two expressions."""

    operator: str
    left: "Expression"
    right: "Expression"


@attrs.frozen
class Aggregate:
    """`count(*)`, or `max` or `min` of a column."""

    function: str
    column: Column | None


@attrs.frozen
class Coalesce:
    """The first of several expressions that is not NULL."""

    arguments: "tuple[Expression, ...]"


@attrs.frozen
class Default:
    """The word DEFAULT in the place of a value to insert."""


Expression: TypeAlias = Literal | Parameter | Column | Arithmetic | Aggregate | Coalesce


@attrs.frozen
class Comparison:
    """`operator` is one of = <> < <= > >=."""

    left: Expression
    operator: str
    right: Expression


@attrs.frozen
class IsNull:
    """IS NULL, or negated IS NOT NULL."""

    expression: Expression
    negated: bool


@attrs.frozen
class Membership:
    """IN a list."""

    expression: Expression
    members: tuple[Expression, ...]


Condition: TypeAlias = Comparison | IsNull | Membership


@attrs.frozen
class Star:
    """Every column, in the order of the table."""


@attrs.frozen
class SelectItem:
    """What is selected or returned, and what it is called if not by its own name."""

    expression: Expression | Star
    alias: str | None


@attrs.frozen
class OrderKey:
    """One key of ORDER BY: a column, or the name of a selected item."""

    name: str
    descending: bool


@attrs.frozen(kw_only=True)
class Select:
    """A query. `where` holds what must all be true, here and in the statements below."""

    items: tuple[SelectItem, ...]
    table: str | None
    where: tuple[Condition, ...]
    order_by: tuple[OrderKey, ...]
    limit: Expression | None
    locking: Locking


@attrs.frozen
class Assignment:
    """`column = expression` after SET."""

    column: str
    expression: Expression


@attrs.frozen
class Conflict:
    """ON CONFLICT. `columns` None means any unique key; `assignments` None means DO NOTHING."""

    columns: tuple[str, ...] | None
    assignments: tuple[Assignment, ...] | None


@attrs.frozen(kw_only=True)
class Insert:
    """`columns` None means those of the table, in order, as many as there are values."""

    table: str
    columns: tuple[str, ...] | None
    rows: tuple[tuple[Expression | Default, ...], ...]
    conflict: Conflict | None
    returning: tuple[SelectItem, ...]


@attrs.frozen(kw_only=True)
class Update:
    """Change rows."""

    table: str
    assignments: tuple[Assignment, ...]
    where: tuple[Condition, ...]
    returning: tuple[SelectItem, ...]


@attrs.frozen(kw_only=True)
class Delete:
    """Remove rows."""

    table: str
    where: tuple[Condition, ...]
    returning: tuple[SelectItem, ...]


@attrs.frozen
class ColumnDefinition:
    """A column of a new table. `identity` is GENERATED ALWAYS AS IDENTITY."""

    name: str
    type: ColumnType
    not_null: bool
    default: Literal | None
    identity: bool


@attrs.frozen
class Key:
    """A PRIMARY KEY or UNIQUE constraint."""

    columns: tuple[str, ...]
    is_primary: bool


@attrs.frozen
class CreateTable:
    """Constraints of columns are among `keys`, in the order of writing."""

    table: str
    if_not_exists: bool
    columns: tuple[ColumnDefinition, ...]
    keys: tuple[Key, ...]


@attrs.frozen
class DropTables:
    """Remove tables and their rows."""

    tables: tuple[str, ...]
    if_exists: bool


@attrs.frozen
class Truncate:
    """Remove the rows of tables."""

    tables: tuple[str, ...]


@attrs.frozen
class Begin:
    """Open a transaction block. `word` is the command tag: BEGIN or START TRANSACTION."""

    word: str
    isolation: Isolation | None


@attrs.frozen
class Commit:
    """Make what the block did durable."""


@attrs.frozen
class Rollback:
    """Undo what the block did."""


@attrs.frozen
class SetSetting:
    """`value` None means the default. `is_local` ends with the transaction."""

    name: str
    value: str | None
    is_local: bool


@attrs.frozen
class ShowSetting:
    """Answer the value of a setting."""

    name: str


@attrs.frozen
class Deallocate:
    """Forget a prepared statement; `name` None means all."""

    name: str | None


Statement: TypeAlias = (
    Select
    | Insert
    | Update
    | Delete
    | CreateTable
    | DropTables
    | Truncate
    | Begin
    | Commit
    | Rollback
    | SetSetting
    | ShowSetting
    | Deallocate
)
