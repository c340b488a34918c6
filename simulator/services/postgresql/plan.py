"""A statement with its names and types settled, ready to run with parameters."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.condition import NO_ROW
from simulator.services.postgresql.database import Database
from simulator.services.postgresql.errors import PostgreSQLError
from simulator.services.postgresql.expression import Evaluate, Parameters
from simulator.services.postgresql.insert import InsertPlan
from simulator.services.postgresql.modify import DeletePlan, UpdatePlan
from simulator.services.postgresql.process import Steps
from simulator.services.postgresql.result import Field, Result
from simulator.services.postgresql.schema import create_table, drop_tables, no_relation, opened, truncate
from simulator.services.postgresql.select import SelectPlan
from simulator.services.postgresql.settings import canonical
from simulator.services.postgresql.types import TEXT, ColumnType
from simulator.services.postgresql.versions import Transaction, Values

__all__ = ["Prepared", "Query", "hold", "is_held", "plan", "run"]

Query: TypeAlias = sql.Select | sql.Insert | sql.Update | sql.Delete
Plan: TypeAlias = SelectPlan | InsertPlan | UpdatePlan | DeletePlan
HELD = Result("")


@attrs.frozen
class Prepared:
    """A statement as analysed once. `plan` is None for what is no query. `fields` None means that it has no rows."""

    statement: sql.Statement | None
    oids: tuple[int, ...] = ()
    plan: Plan | None = None
    types: Sequence[ColumnType] = ()
    fields: Sequence[Field] | None = None
    folds: Sequence[Evaluate] = ()

    def fold(self, parameters: Values) -> None:
        """Evaluate what does not depend on rows, as the server does when it plans, and fail as it does there.

        Not modelled: that the server may plan a prepared statement without its parameters from the sixth time on.
        """
        for evaluate in self.folds:
            evaluate(NO_ROW, parameters)


def plan(
    statement: sql.Statement | None, oids: tuple[int, ...], database: Database, transaction: Transaction | None
) -> Prepared:
    """Analyse a statement, or none. Raises PostgreSQLError for names and types that are wrong."""
    if not isinstance(statement, Query):
        fields = [Field(canonical(statement.name), TEXT)] if isinstance(statement, sql.ShowSetting) else None
        return Prepared(statement, oids, types=Parameters(oids).types(), fields=fields)
    table = None
    if statement.table is not None:
        table = database.find(statement.table, transaction)
        if table is None:
            raise no_relation(statement.table, database, transaction)
    parameters = Parameters(oids)
    made: Plan
    match statement:
        case sql.Select():
            made = SelectPlan(statement, table, parameters)
        case sql.Insert():
            assert table is not None
            made = InsertPlan(statement, table, parameters)
        case sql.Update():
            assert table is not None
            made = UpdatePlan(statement, table, parameters)
        case sql.Delete():
            assert table is not None
            made = DeletePlan(statement, table, parameters)
    return Prepared(statement, oids, made, parameters.types(), made.fields, parameters.folds)


def is_held(made: Plan, transaction: Transaction) -> bool:
    """Say whether `hold` would change nothing."""
    return transaction.command > 0 and (made.table is None or made.table in transaction.tables)


def hold(made: Plan, database: Database, transaction: Transaction) -> Steps:
    """Take the snapshot, which the transaction may keep, and the lock of the table."""
    database.begin_statement(transaction)
    database.end_statement(transaction)
    if made.table is not None:
        yield from opened(database, made.table.name, transaction)
    return HELD


def run(prepared: Prepared, database: Database, transaction: Transaction, parameters: Values) -> Steps:
    """Run what reads or changes tables."""
    database.begin_statement(transaction)
    made = prepared.plan
    if made is None:
        result = yield from _define(prepared.statement, database, transaction)
        database.end_statement(transaction)
        return result
    table = made.table
    if table is not None and (table not in transaction.tables or transaction.created):
        current = yield from opened(database, table.name, transaction)
        database.begin_statement(transaction)  # it may have waited
        if current is not table:
            made = _planned_anew(prepared, database, transaction)
    result = yield from made.steps(transaction, parameters)
    database.end_statement(transaction)
    return result


def _define(statement: sql.Statement | None, database: Database, transaction: Transaction) -> Steps:
    match statement:
        case sql.CreateTable():
            return (yield from create_table(statement, database, transaction))
        case sql.DropTables():
            return (yield from drop_tables(statement, database, transaction))
    assert isinstance(statement, sql.Truncate), "everything else is a query, or the session's own affair"
    return (yield from truncate(statement, database, transaction))


def _planned_anew(prepared: Prepared, database: Database, transaction: Transaction) -> Plan:
    """Analyse again for the table that has the name now. Raises 0A000 when its rows would look different."""
    again = plan(prepared.statement, prepared.oids, database, transaction)
    if again.fields != prepared.fields or again.types != prepared.types:
        raise PostgreSQLError("0A000", "cached plan must not change result type")
    assert again.plan is not None
    return again.plan
