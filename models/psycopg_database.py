"""The `Database` over psycopg 3, whose connections block: a transaction runs in a thread, and can be given up there.

Not for simulated worlds: libpq opens sockets of its own, and threads do not keep virtual time.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from math import ceil, inf
from typing import Self, TypeAlias, TypeVar

import psycopg
import trio
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8Dumper

from models.database import DatabaseError, DatabaseUnavailableError, Row, Statement
from models.wire import READERS, UNSTORABLE, Attempt, SessionPool, limits, refusal

__all__ = ["PsycopgDatabase"]

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[TupleRow]

CANCEL_WITHIN_S = 0.2
"""How much longer than its time limit a transaction may take, if the server is silent to a CancelRequest too."""
FATAL = ("FATAL", "PANIC")


class _PsycopgSession:
    """A connection of psycopg's. While `run` runs, its thread has the connection, and nobody else closes it."""

    def __init__(self, connection: Connection, threads: trio.CapacityLimiter) -> None:
        self._connection = connection
        # A second handle on the socket: by it the connection is cut off under a thread that blocks on it. libpq may
        # have closed its own by then, whose number may be another file's.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._threads = threads
        self._is_running = False
        self._is_given_up = False

    @classmethod
    async def started(cls, connect: Callable[[], Connection], threads: trio.CapacityLimiter) -> Self:
        """Connect. Raises DatabaseUnavailableError. A thread that is abandoned closes what it still connects."""
        made: list[Connection] = []
        is_wanted = True

        def make() -> None:
            made.append(connect())
            if not is_wanted:
                discard()

        def discard() -> None:
            with suppress(IndexError):  # of both threads the first one takes it
                made.pop().close()

        try:
            await trio.to_thread.run_sync(make, abandon_on_cancel=True, limiter=threads)
        except psycopg.Error as error:
            raise DatabaseUnavailableError(f"PostgreSQL cannot be reached: {error}") from error
        except trio.Cancelled:
            is_wanted = False
            discard()
            raise
        return cls(made.pop(), threads)

    @property
    def is_usable(self) -> bool:
        if self._is_given_up or self._connection.info.transaction_status != TransactionStatus.IDLE:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._connection.close()
        self._socket.close()

    async def run(self, attempt: Attempt[T]) -> None:
        async with trio.open_nursery() as nursery:
            self._is_running = True  # already now: the watch must not take a thread that is about to start for one over
            nursery.start_soon(self._watch)
            await trio.to_thread.run_sync(self._play_out, attempt, limiter=self._threads)
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Wait to be cancelled; if the thread still runs then, make it come to its end."""
        try:
            await trio.sleep_forever()
        finally:
            if self._is_running:
                self._is_given_up = True
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._interrupt, limiter=self._threads)

    def _interrupt(self) -> None:
        """Free the server's side, which may wait for a lock, and then our own, which may wait for a silent server."""
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=CANCEL_WITHIN_S)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _play_out(self, attempt: Attempt[T]) -> None:
        try:
            attempt.results.append(self._play(attempt))
        except Exception as error:
            attempt.error = self._meaning(error, attempt) if isinstance(error, psycopg.Error) else error
            if not self._is_given_up:
                with suppress(psycopg.Error):
                    self._connection.rollback()
        finally:
            self._is_running = False

    def _play(self, attempt: Attempt[T]) -> T:
        try:
            statement = next(attempt.script)
            while True:
                statement = attempt.script.send(self._execute(statement))
        except StopIteration as end:
            result: T = end.value
        self._check_wanted()
        attempt.is_commit_sent = True
        self._connection.commit()
        return result

    def _execute(self, statement: Statement) -> list[Row]:
        self._check_wanted()
        try:
            cursor = self._connection.execute(statement.sql.encode(), statement.parameters)
        except UnicodeEncodeError as error:
            raise DatabaseError(f"text cannot contain a lone surrogate: {error}", UNSTORABLE) from error
        for column in cursor.description or ():
            if column.type_code not in READERS:
                raise TypeError(
                    f"the type of column {column.name} is unknown to this driver: cast it, say to text. "
                    f"oid={column.type_code}"
                )
        return cursor.fetchall() if cursor.description else []

    def _check_wanted(self) -> None:
        if self._is_given_up:
            raise DatabaseUnavailableError("PostgreSQL did not answer in time")

    def _meaning(self, error: psycopg.Error, attempt: Attempt[T]) -> Exception:
        is_ours = isinstance(error, psycopg.DataError) and error.sqlstate is None  # before it was sent: a NUL in text
        is_fatal = error.diag.severity_nonlocalized in FATAL
        if self._connection.closed or is_fatal or (error.sqlstate is None and not is_ours):
            return attempt.lost(f"the connection to PostgreSQL was lost: {error}")
        if self._is_given_up:
            return DatabaseUnavailableError("PostgreSQL did not answer in time")
        return refusal(error.sqlstate or UNSTORABLE, error.diag.message_primary or str(error))


def _connect(*, host: str, port: int, user: str, name: str, timeout_s: float) -> Connection:
    # Nothing is negotiated before the session, and no statement is prepared behind our back: both drivers send the
    # same. A number is an int8 in any case; by psycopg's own rule it would have the least type that holds it.
    connection = psycopg.connect(
        host=host,
        port=port,
        user=user,
        dbname=name,
        connect_timeout=ceil(timeout_s),
        options=limits(timeout_s),
        client_encoding="UTF8",
        sslmode="disable",
        gssencmode="disable",
        prepare_threshold=None,
        cursor_factory=psycopg.RawCursor,
    )
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.adapters.register_dumper(int, Int8Dumper)
    return connection


class PsycopgDatabase(SessionPool):
    """PostgreSQL through psycopg: one thread a transaction, and one more to give it up.

    A transaction that is given up frees its connection on the server, and its thread, at once; on a silent server
    within CANCEL_WITHIN_S.
    """

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        *,
        host: str,
        port: int,
        user: str = "wavetank",
        name: str = "wavetank",
        timeout_s: float = 1.0,
        connections_max: int = 8,
    ) -> AsyncIterator[Self]:
        """Provide a database, and close its idle sessions at the end. PostgreSQL need not be there."""
        connect = partial(_connect, host=host, port=port, user=user, name=name, timeout_s=timeout_s)
        # The pool limits the sessions, hence the threads; one that gives up another must never wait for its turn.
        start = partial(_PsycopgSession.started, connect, trio.CapacityLimiter(inf))
        with closing(cls(start, timeout_s=timeout_s, connections_max=connections_max)) as database:
            yield database
