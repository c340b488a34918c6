"""The data of the machine, and the beginning and the end of transactions, each end at one instant."""

from collections import deque

from simulator.services.postgresql.process import Running
from simulator.services.postgresql.statement import Isolation
from simulator.services.postgresql.table import Heap, Table
from simulator.services.postgresql.versions import Row, Transaction

__all__ = ["Database"]


class Database:
    """Tables, and the transactions at work on them. `woken` are the statements whose wait has ended, in order."""

    def __init__(self) -> None:
        self.woken: deque[Running] = deque()
        self._tables: dict[str, Table] = {}
        self._creators: dict[str, Transaction] = {}
        self.active: dict[Transaction, None] = {}
        self._commits = 0
        self._garbage: list[tuple[Heap, Row]] = []

    def begin(self, process_id: int, isolation: Isolation) -> Transaction:
        """Begin a transaction; `process_id` tells which session's."""
        transaction = Transaction(process_id, isolation)
        self.active[transaction] = None
        return transaction

    def begin_statement(self, transaction: Transaction) -> None:
        """Take the snapshot that the next statement sees."""
        transaction.command += 1
        if transaction.snapshot is None or not transaction.repeats:
            transaction.snapshot = self._commits

    def end_statement(self, transaction: Transaction) -> None:
        """Give up the snapshot, unless the transaction keeps it."""
        if not transaction.repeats:
            transaction.snapshot = None

    def commit(self, transaction: Transaction) -> None:
        """Make everything it did visible and durable."""
        if transaction.written:
            self._commits += 1
            transaction.committed_at = self._commits
            self._garbage += transaction.written
        for name, table in transaction.created.items():
            if table is None:
                self._tables.pop(name, None)
            else:
                self._tables[name] = table
        self._end(transaction)

    def abort(self, transaction: Transaction) -> None:
        """Undo everything it did."""
        for heap, row in transaction.written:
            heap.undo(row, transaction)
        for table, heap in reversed(transaction.truncated):
            table.heap = heap
        self._end(transaction)

    def crash(self) -> None:
        """Lose what is not committed, at once, and all that waited for it."""
        for transaction in list(self.active):
            self.abort(transaction)
        self.woken.clear()
        for table in self._tables.values():
            table.crash()

    def find(self, name: str, transaction: Transaction | None) -> Table | None:
        """Return the table of that name, as the transaction sees it, or else as one that began now would."""
        if transaction is not None and name in transaction.created:
            return transaction.created[name]
        return self._tables.get(name)

    def tables(self, transaction: Transaction | None) -> list[Table]:
        """Return the tables that the transaction sees."""
        created = {} if transaction is None else transaction.created
        return [table for table in {**self._tables, **created}.values() if table is not None]

    def creator(self, name: str, transaction: Transaction) -> Transaction | None:
        """Return the other transaction that is creating a table of that name."""
        creator = self._creators.get(name)
        return None if creator is transaction else creator

    def create(self, table: Table, transaction: Transaction) -> None:
        """Add a table."""
        transaction.created[table.name] = table
        self._creators[table.name] = transaction

    def _end(self, transaction: Transaction) -> None:
        for row in transaction.locked:
            if row.locker is transaction:
                row.locker = None
        for table in transaction.tables:
            table.users.pop(transaction, None)
            if table.owner is transaction:
                table.owner = None
        for name in transaction.created:
            if self._creators.get(name) is transaction:
                del self._creators[name]
        transaction.is_over = True
        transaction.waiting_for = None
        del self.active[transaction]
        self.woken.extend(transaction.waiters)
        # What it held would otherwise live as long as the last version it wrote.
        for each in (transaction.written, transaction.locked, transaction.waiters, transaction.truncated):
            each.clear()
        transaction.tables.clear()
        transaction.created.clear()
        if self._garbage and all(each.snapshot is None for each in self.active):
            self._prune()

    def _prune(self) -> None:
        garbage, self._garbage = self._garbage, []
        for heap, row in garbage:
            heap.prune(row)
