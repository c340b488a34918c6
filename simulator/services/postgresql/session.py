"""One client's transaction: statements executed in it, waits, and how it ends. The messages are those of `dialogue`."""

import trio

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import Notice, PostgreSQLError
from simulator.services.postgresql.plan import Prepared, hold, is_held, run
from simulator.services.postgresql.process import Process, Running, Steps
from simulator.services.postgresql.result import Result
from simulator.services.postgresql.settings import ISOLATION, Settings
from simulator.services.postgresql.statement import Isolation
from simulator.services.postgresql.troubles import Troubles
from simulator.services.postgresql.versions import Transaction, Values

__all__ = ["ConnectionCutError", "Session"]

SLOW_COMMIT_S = 1.0


class ConnectionCutError(Exception):
    """The connection ends here without another word: by a trouble, or because the process crashed."""


class Session:
    """The state of a session. Outside of a block, a transaction is implicit and ends with the request."""

    def __init__(self, process: Process, troubles: Troubles, process_id: int) -> None:
        self.settings = Settings()
        self.transaction: Transaction | None = None
        self.in_block = False
        self.has_failed = False  # and the block is not yet ended
        self._process = process
        self._troubles = troubles
        self._process_id = process_id
        self._running: Running | None = None

    @property
    def status(self) -> bytes:
        """What ReadyForQuery tells."""
        if not self.in_block:
            return b"I"
        return b"E" if self.has_failed else b"T"

    @property
    def blocker(self) -> int | None:
        """The session whose transaction a statement waits for."""
        blocker = None if self._running is None else self._running.transaction.waiting_for
        return None if blocker is None else blocker.process_id

    def check_not_failed(self, statement: sql.Statement | None, *, is_empty_allowed: bool = True) -> None:
        """Raise 25P02 in a failed block for everything but its end, and perhaps nothing."""
        if not self.has_failed or isinstance(statement, sql.Commit | sql.Rollback):
            return
        if statement is not None or not is_empty_allowed:
            what = "current transaction is aborted, commands ignored until end of transaction block"
            raise PostgreSQLError("25P02", what)

    async def execute(self, prepared: Prepared, parameters: Values, *, is_alone: bool = True) -> Result:
        """Execute a statement. Raises PostgreSQLError, upon which the caller must call `fail`.

        One that is not alone in its query is in a block of a kind, of which `in_block` does not tell.
        """
        statement = prepared.statement
        self.check_not_failed(statement)
        match statement:
            case sql.Begin():
                return self._begin(statement)
            case sql.Commit():
                return await self._end_block(commits=True)
            case sql.Rollback():
                return await self._end_block(commits=False)
            case sql.SetSetting():
                return self._set(statement, has_block=self.in_block or not is_alone)
            case sql.ShowSetting():
                return Result("SHOW", [(self._show(statement.name),)])
        transaction = self._transaction_now()
        return await self._run(run(prepared, self._process.database, transaction, parameters), transaction)

    async def hold(self, prepared: Prepared) -> bool:
        """Take the snapshot and lock the table, as the server does as soon as it reads a query.

        Says whether there was anything to do: if so, the table may be another by now.
        """
        if prepared.plan is None:
            return False
        transaction = self._transaction_now()
        if is_held(prepared.plan, transaction):
            return False
        await self._run(hold(prepared.plan, self._process.database, transaction), transaction)
        return True

    def fail(self) -> None:
        """Abort the transaction after an error. A block then waits for its end."""
        self._abort()
        self.has_failed = self.in_block

    async def end_implicit(self) -> None:
        """Commit what a request did outside of a block."""
        if not self.in_block and self.transaction is not None:
            await self._commit(self.transaction, is_asked_for=False)

    def close(self) -> None:
        """Roll back, as when the connection has ended."""
        if self._process.is_alive:
            self._abort()

    def cancel(self) -> None:
        """End the wait of the statement that waits; others take no time."""
        if self._running is not None and not self._running.event.is_set():
            error = PostgreSQLError("57014", "canceling statement due to user request")
            self._process.interrupt(self._running, error)

    # Waiting

    async def _run(self, steps: Steps, transaction: Transaction) -> Result:
        try:
            blocker = next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        running = self._running = Running(steps, transaction)
        running.wait_for(blocker)
        began_at_s = running.waits_since_s  # up to here no time has passed
        try:
            while not running.event.is_set():
                await self._wait(running, began_at_s)
        finally:
            self._running = None
            if self._process.is_alive and not running.event.is_set():
                self._process.forget(running)
        if running.error is not None:
            raise running.error
        assert running.result is not None
        return running.result

    async def _wait(self, running: Running, began_at_s: float) -> None:
        """Wait until the statement is done or something is to be looked at. It may wait for another one by then."""
        ends_at_s = began_at_s + self.settings.statement_timeout_s
        check_at_s = running.waits_since_s + self.settings.deadlock_timeout_s
        with trio.move_on_at(ends_at_s if running.is_checked else min(ends_at_s, check_at_s)):
            await running.event.wait()
        if not self._process.is_alive:
            raise ConnectionCutError
        if running.event.is_set():
            return
        now_s = trio.current_time()
        if now_s >= ends_at_s:
            error = PostgreSQLError("57014", "canceling statement due to statement timeout")
            self._process.interrupt(running, error)
        elif now_s >= running.waits_since_s + self.settings.deadlock_timeout_s:
            running.is_checked = True
            if self._process.is_deadlocked(running):
                self._process.interrupt(running, PostgreSQLError("40P01", "deadlock detected"))

    # Transactions

    def _transaction_now(self) -> Transaction:
        if self.transaction is None:
            self.transaction = self._process.database.begin(self._process_id, Isolation.READ_COMMITTED)
        return self.transaction

    def _begin(self, statement: sql.Begin) -> Result:
        notices = []
        if self.in_block:
            notices.append(Notice("WARNING", "25001", "there is already a transaction in progress"))
        transaction = self._transaction_now()
        if statement.isolation not in (None, transaction.isolation):
            if transaction.command:
                what = "SET TRANSACTION ISOLATION LEVEL must be called before any query"
                error = PostgreSQLError("25001", what)
                error.notices = notices
                raise error
            assert statement.isolation is not None
            transaction.isolation = statement.isolation
        self.in_block = True
        return Result(statement.word, notices=notices)

    async def _end_block(self, *, commits: bool) -> Result:
        notices = []
        if not self.in_block:
            notices.append(Notice("WARNING", "25P01", "there is no transaction in progress"))
        commits = commits and not self.has_failed
        if self.transaction is not None and commits:
            await self._commit(self.transaction, is_asked_for=self.in_block)
        else:
            self._abort()
        self.in_block = self.has_failed = False
        return Result("COMMIT" if commits else "ROLLBACK", notices=notices)

    async def _commit(self, transaction: Transaction, *, is_asked_for: bool) -> None:
        """Commit at one instant. Troubles befall what asks for a commit, or changed something."""
        troubles = self._troubles
        matters = is_asked_for or transaction.has_changes
        if matters and troubles.slows_commits:
            await trio.sleep(SLOW_COMMIT_S)
        if not self._process.is_alive or (matters and troubles.loses_commits):
            raise ConnectionCutError
        self._process.database.commit(transaction)
        self.transaction = None
        self.settings.end_transaction(commits=True)
        self._process.go_on()
        if matters and troubles.loses_commit_answers:
            raise ConnectionCutError

    def _abort(self) -> None:
        transaction, self.transaction = self.transaction, None
        self.settings.end_transaction(commits=False)
        if transaction is not None and not transaction.is_over:
            self._process.database.abort(transaction)
            self._process.go_on()

    # Settings

    def _set(self, statement: sql.SetSetting, *, has_block: bool) -> Result:
        self._transaction_now()
        notices = []
        if statement.is_local and not has_block:
            notices.append(Notice("WARNING", "25P01", "SET LOCAL can only be used in transaction blocks"))
        try:
            self.settings.set(statement.name, statement.value, is_local=statement.is_local)
        except PostgreSQLError as error:
            error.notices = notices
            raise
        return Result("SET", notices=notices)

    def _show(self, name: str) -> str:
        if name == ISOLATION:
            isolation = Isolation.READ_COMMITTED if self.transaction is None else self.transaction.isolation
            return isolation.value
        return self.settings.show(name)
