"""What the platform asks of PostgreSQL: whole transactions, written once and run by any driver.

A transaction is a generator: it yields statements and is sent their rows. It does no I/O, so a driver whose library
blocks runs all of it in one thread hop, and a driver on Trio's own sockets awaits between statements.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeAlias, TypeVar

import attrs

__all__ = [
    "ConflictError",
    "Database",
    "DatabaseBusyError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "OutcomeUnknownError",
    "Row",
    "Script",
    "Statement",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Scalar: TypeAlias = str | int | float | bool | None
Row: TypeAlias = tuple[Scalar, ...]


@attrs.frozen
class Statement:
    """One SQL statement, with its parameters `$1`, `$2`, ... in order."""

    sql: str
    parameters: tuple[Scalar, ...] = ()


Script: TypeAlias = Generator[Statement, Sequence[Row], T]
"""A transaction in progress: yields statements, is sent the rows of each, and returns its result."""


class DatabaseError(Exception):
    """PostgreSQL refused a statement; the transaction is rolled back. `sqlstate` says why (five characters)."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ConflictError(DatabaseError):
    """The transaction lost against another (serialisation failure, deadlock). It is rolled back and may be retried."""


class DatabaseUnavailableError(Exception):
    """PostgreSQL is away or did not answer in time, before the commit was asked for: nothing was committed."""


class DatabaseBusyError(DatabaseUnavailableError):
    """All sessions that we allow ourselves were taken for too long. It says nothing of PostgreSQL."""


class OutcomeUnknownError(DatabaseUnavailableError):
    """The answer to the commit never came: it may or may not have happened. The caller must find out."""


class Database(Protocol):
    """Runs transactions, each at READ COMMITTED, on a connection of its own, within the driver's time limit."""

    async def transact(self, script: Callable[[], Script[T_co]]) -> T_co:
        """Run a transaction and commit it; return its result.

        Raises DatabaseError (ConflictError among them), DatabaseUnavailableError or OutcomeUnknownError; never retries.
        What the script itself raises rolls back and passes through. A cancellation before the commit rolls back.
        """
        ...
