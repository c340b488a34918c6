"""One run of the server in memory: statements that wait for transactions to end, in the order in which they came.

A statement is a generator that yields the transaction it must wait for. When that ends, all that wait for it go on
one after the other, first come first served, within the same instant: nobody who comes later can get in between, in
whatever order their tasks run. (The real one queues them for the row or the key, to the same effect but for a
newcomer, who may be faster than the first of the queue.)
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias

import trio

from simulator.services.postgresql.errors import PostgreSQLError
from simulator.services.postgresql.versions import Transaction

if TYPE_CHECKING:
    from simulator.services.postgresql.database import Database
    from simulator.services.postgresql.plan import Prepared
    from simulator.services.postgresql.result import Result
    from simulator.services.postgresql.session import Session

__all__ = ["Process", "Running", "Steps"]

Steps: TypeAlias = "Generator[Transaction, None, Result]"


class Running:
    """A statement that had to wait. `event` is set when it has its `result` or its `error`."""

    def __init__(self, steps: Steps, transaction: Transaction) -> None:
        self.steps = steps
        self.transaction = transaction
        self.event = trio.Event()
        self.result: Result | None = None
        self.error: PostgreSQLError | None = None
        self.waits_since_s = 0.0
        self.is_checked = False  # for a deadlock, in this wait

    def wait_for(self, blocker: Transaction) -> None:
        """Join the end of the queue."""
        self.waits_since_s = trio.current_time()
        self.is_checked = False
        self.transaction.waiting_for = blocker
        blocker.waiters.append(self)


class Process:
    """The statements in progress. `is_alive` ends with a crash: what still runs then must not touch the data."""

    def __init__(self, database: "Database") -> None:
        self.database = database
        self.is_alive = True
        self.sessions: dict[int, Session] = {}
        # By text, number of the statement in it, and types of parameters. Sessions share them: they hold no state.
        self.plans: dict[tuple[tuple[str, int], tuple[int, ...]], Prepared] = {}

    def go_on(self) -> None:
        """Run the statements whose wait has ended until each is done or waits again."""
        woken = self.database.woken
        while woken:
            self._resume(woken.popleft())

    def _resume(self, running: Running) -> None:
        running.transaction.waiting_for = None
        try:
            running.wait_for(next(running.steps))
        except StopIteration as stop:
            running.result = stop.value
            running.event.set()
        except PostgreSQLError as error:
            self._fail(running, error)

    def _fail(self, running: Running, error: PostgreSQLError) -> None:
        """Abort the transaction now, not when the session's task comes to it: others wait for its locks."""
        running.error = error
        running.event.set()
        self.database.abort(running.transaction)

    def interrupt(self, running: Running, error: PostgreSQLError) -> None:
        """End a wait with an error."""
        self.forget(running)
        self._fail(running, error)
        self.go_on()

    def forget(self, running: Running) -> None:
        """End a wait whose session ends."""
        blocker = running.transaction.waiting_for
        assert blocker is not None, "it does not wait"
        blocker.waiters.remove(running)
        running.steps.close()

    def is_deadlocked(self, running: Running) -> bool:
        """Say whether what a statement waits for waits, in the end, for its own transaction."""
        seen = 0
        each = running.transaction.waiting_for
        while each is not None and each is not running.transaction and seen < len(self.database.active):
            each = each.waiting_for
            seen += 1
        return each is running.transaction
