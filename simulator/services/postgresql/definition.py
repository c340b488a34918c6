"""CREATE TABLE: columns with their types, defaults and identity, and keys, inline or as constraints of the table."""

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import refuse
from simulator.services.postgresql.reader import Reader
from simulator.services.postgresql.types import COLUMN_TYPES, ColumnType

__all__ = ["read_create_table"]


def read_create_table(reader: Reader) -> sql.CreateTable:
    """Read what follows CREATE TABLE."""
    if_not_exists = reader.accept("if", "not", "exists")
    table = reader.table()
    columns: list[sql.ColumnDefinition] = []
    keys: list[sql.Key] = []

    def element() -> None:
        if reader.is_next("primary", "unique"):
            keys.append(_table_key(reader))
        else:
            columns.append(_column(reader, keys))

    reader.in_parentheses(element)
    return sql.CreateTable(table, if_not_exists, tuple(columns), tuple(keys))


def _table_key(reader: Reader) -> sql.Key:
    is_primary = reader.accept("primary", "key")
    if not is_primary:
        reader.expect("unique")
    return sql.Key(reader.in_parentheses(reader.name), is_primary)


def _column(reader: Reader, keys: list[sql.Key]) -> sql.ColumnDefinition:
    """Read a column; its keys are added to `keys`."""
    name = reader.name()
    kind = _type(reader)
    not_null, identity = False, False
    default: sql.Literal | None = None
    while not reader.is_next(",", ")"):
        if reader.accept("not", "null"):
            not_null = True
        elif reader.accept("default"):
            if default is not None:
                refuse("a column with two defaults")
            default = reader.literal()
        elif reader.accept("primary", "key"):
            keys.append(sql.Key((name,), is_primary=True))
        elif reader.accept("unique"):
            keys.append(sql.Key((name,), is_primary=False))
        else:
            reader.expect("generated", "always", "as", "identity")
            if identity:
                refuse("a column with two identities")
            identity = True
    if identity and (kind.name != "bigint" or default is not None):
        refuse("an identity column that is not bigint, or has a default")
    return sql.ColumnDefinition(name, kind, not_null or identity, default, identity)


def _type(reader: Reader) -> ColumnType:
    if reader.accept("double", "precision"):
        return COLUMN_TYPES["double precision"]
    name = reader.take("word")
    if name not in COLUMN_TYPES:
        refuse(f"the type {name} (only {', '.join(COLUMN_TYPES)})")
    return COLUMN_TYPES[name]
