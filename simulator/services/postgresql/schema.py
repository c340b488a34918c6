"""CREATE TABLE, DROP TABLE and TRUNCATE, all of them transactional, and the lock that each statement takes of a table.

The lock has two modes: that of a statement on rows, held by many transactions, and that of DROP and TRUNCATE, held
alone. Both last until the transaction ends. A statement that waits to be alone holds up those that come after it. Not
modelled: that the server lets one of these pass when it finds a deadlock otherwise.
"""

from collections.abc import Generator, Sequence

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.database import Database
from simulator.services.postgresql.errors import Notice, PostgreSQLError, Where, refuse
from simulator.services.postgresql.process import Steps
from simulator.services.postgresql.result import Result
from simulator.services.postgresql.scanner import NAME_BYTES_MAX
from simulator.services.postgresql.table import Column, Heap, Numbering, Table, Unique
from simulator.services.postgresql.types import DOUBLE, NUMERIC, UNKNOWN, Value, assigned
from simulator.services.postgresql.versions import Transaction

__all__ = ["create_table", "drop_tables", "no_relation", "opened", "truncate"]


def no_relation(name: str, database: Database, transaction: Transaction | None) -> PostgreSQLError:
    """Return the error of a table that is not there. Raises 0A000 if an index or a sequence has the name."""
    _check_no_table_owns(name, database, transaction)
    return PostgreSQLError("42P01", f'relation "{name}" does not exist')


def opened(
    database: Database, name: str, transaction: Transaction, *, alone: bool = False
) -> Generator[Transaction, None, Table]:
    """Wait for the lock of a table and return it. Raises 42P01 if there is none, or none any more."""
    while True:
        table = database.find(name, transaction)
        if table is None:
            raise no_relation(name, database, transaction)
        blocker = _blocker(table, transaction, alone)
        if blocker is None:
            table.users[transaction] = None
            transaction.tables[table] = None
            if alone:
                table.owner = transaction
                table.queue.pop(transaction, None)
            return table
        if alone:
            _queue(table, transaction)
        yield blocker


def _queue(table: Table, transaction: Transaction) -> None:
    """Wait to be alone. Of two that use the table already, the second sees at once that it would be a deadlock."""
    others = (each for each in table.queue if each is not transaction and not each.is_over)
    if transaction in table.users and any(each in table.users for each in others):
        raise PostgreSQLError("40P01", "deadlock detected")
    table.queue[transaction] = None


def _blocker(table: Table, transaction: Transaction, alone: bool) -> Transaction | None:
    if table.owner not in (None, transaction):
        return table.owner
    if alone:
        return next((each for each in table.users if each is not transaction), None)
    if not table.queue or transaction in table.users:
        return None
    return next((each for each in table.queue if not each.is_over and each is not transaction), None)


def create_table(statement: sql.CreateTable, database: Database, transaction: Transaction) -> Steps:
    """Create a table. Of two transactions that create the same one, the second waits, and fails if the first commits.

    That is so with IF NOT EXISTS too, which looks only for tables that were committed before.
    """
    name = statement.table
    exists = database.find(name, transaction) is not None
    if exists and statement.if_not_exists:
        notice = Notice("NOTICE", "42P07", f'relation "{name}" already exists, skipping')
        return Result("CREATE TABLE", notices=[notice])
    table = _table(statement)
    for each in (name, *table.owned):
        _check_no_table_owns(each, database, transaction)
    if any(database.find(each, transaction) is not None for each in table.owned):
        refuse("a table whose indexes would have the name of another table")
    if exists:
        raise PostgreSQLError("42P07", f'relation "{name}" already exists')
    while (creator := database.creator(name, transaction)) is not None:
        yield creator
        if database.find(name, transaction) is not None:
            # The type of the table's rows is what the server enters first.
            index = "pg_type_typname_nsp_index"
            raise PostgreSQLError(
                "23505",
                f'duplicate key value violates unique constraint "{index}"',
                detail=f"Key (typname, typnamespace)=({name}, 2200) already exists.",
                where=Where(schema="pg_catalog", table="pg_type", constraint=index),
            )
    database.create(table, transaction)
    return Result("CREATE TABLE")


def drop_tables(statement: sql.DropTables, database: Database, transaction: Transaction) -> Steps:
    """Drop tables once nobody else uses them."""
    notices = []
    tables: list[Table] = []
    for name in statement.tables:
        if database.find(name, transaction) is None:
            _check_no_table_owns(name, database, transaction)
            if not statement.if_exists:
                raise PostgreSQLError("42P01", f'table "{name}" does not exist')
            notices.append(Notice("NOTICE", "00000", f'table "{name}" does not exist, skipping'))
            continue
        tables.append((yield from opened(database, name, transaction, alone=True)))
    for table in tables:
        transaction.created[table.name] = None
    return Result("DROP TABLE", notices=notices)


def truncate(statement: sql.Truncate, database: Database, transaction: Transaction) -> Steps:
    """Empty tables once nobody else uses them. Older snapshots, too, see them empty then. Identities go on."""
    tables: list[Table] = []
    for name in statement.tables:
        tables.append((yield from opened(database, name, transaction, alone=True)))  # noqa: PERF401 - it yields
    for table in tables:
        transaction.truncated.append((table, table.heap))
        table.heap = Heap(table.uniques)
    return Result("TRUNCATE TABLE")


def _check_no_table_owns(name: str, database: Database, transaction: Transaction | None) -> None:
    for table in database.tables(transaction):
        if name in table.owned:
            refuse(f"{name}, which is an index or a sequence of the table {table.name}, as a table or another's index")


def _table(statement: sql.CreateTable) -> Table:
    primary = [key for key in statement.keys if key.is_primary]
    if len(primary) > 1:
        what = f'multiple primary keys for table "{statement.table}" are not allowed'
        raise PostgreSQLError("42P16", what)
    names = [column.name for column in statement.columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise PostgreSQLError("42701", f'column "{name}" specified more than once')
    columns = [_column(each, primary) for each in statement.columns]
    others = [key for key in statement.keys if not key.is_primary]
    uniques: dict[tuple[int, ...], Unique] = {}
    for key in (*primary, *others):
        places = _places(key, names)
        uniques.setdefault(places, Unique(_constraint_name(statement.table, key), places))
    return Table(statement.table, columns, list(uniques.values()))


def _column(definition: sql.ColumnDefinition, primary: Sequence[sql.Key]) -> Column:
    not_null = definition.not_null or any(definition.name in key.columns for key in primary)
    identity = Numbering() if definition.identity else None
    return Column(definition.name, definition.type, not_null, _default(definition), identity)


def _default(definition: sql.ColumnDefinition) -> Value:
    default, kind = definition.default, definition.type
    if default is None or default.value is None:
        return None
    if default.type is UNKNOWN:
        return kind.read(str(default.value))
    if default.type is NUMERIC and kind is not DOUBLE:
        refuse("a default with a decimal point for anything but double precision")
    cast = assigned(default.type, kind)
    if cast is None:
        raise PostgreSQLError(
            "42804",
            f'column "{definition.name}" is of type {kind.name} but default expression is of type {default.type.name}',
        )
    return cast(default.value)


def _places(key: sql.Key, names: Sequence[str]) -> tuple[int, ...]:
    for number, name in enumerate(key.columns):
        if name not in names:
            raise PostgreSQLError("42703", f'column "{name}" named in key does not exist')
        if name in key.columns[:number]:
            refuse(f"a key that names the column {name} twice")
    return tuple(names.index(name) for name in key.columns)


def _constraint_name(table: str, key: sql.Key) -> str:
    name = f"{table}_pkey" if key.is_primary else f"{table}_{'_'.join(key.columns)}_key"
    if len(name.encode()) > NAME_BYTES_MAX:
        refuse(f"the constraint name {name}, which would be shortened")
    return name
