"""What the simulated PostgreSQL answers instead of a result: the server's own errors and notices, and our refusals."""

from collections.abc import Sequence
from typing import NoReturn

import attrs

__all__ = ["Notice", "PostgreSQLError", "Where", "refuse"]


@attrs.frozen(kw_only=True)
class Where:
    """The table, and the column or constraint in it, that an error is about."""

    table: str
    schema: str = "public"
    column: str = ""
    constraint: str = ""


@attrs.frozen
class Notice:
    """What the server remarks beside a result. `severity` is WARNING or NOTICE."""

    severity: str
    sqlstate: str
    message: str


class PostgreSQLError(Exception):
    """An error of the server, with its SQLSTATE and its words. FATAL ends the connection.

    Not modelled: hint, position in the statement, context, and the place in the server's source.
    """

    def __init__(
        self, sqlstate: str, message: str, *, detail: str = "", where: Where | None = None, severity: str = "ERROR"
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.detail = detail
        self.where = where
        self.severity = severity
        self.notices: Sequence[Notice] = ()  # remarked before it


def refuse(what: str) -> NoReturn:
    """Raise 0A000: the real server may well know this, the simulated one does not guess."""
    raise PostgreSQLError("0A000", f"wavetank: the simulated PostgreSQL does not model: {what}")
