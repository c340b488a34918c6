"""What a statement answers: its command tag, and the rows, if it is one that returns rows."""

from collections.abc import Sequence

import attrs

from simulator.services.postgresql.errors import Notice
from simulator.services.postgresql.types import ColumnType
from simulator.services.postgresql.versions import Values

__all__ = ["Field", "Result"]


@attrs.frozen
class Field:
    """A column of a result."""

    name: str
    type: ColumnType


@attrs.frozen
class Result:
    """`rows` None means that the statement returns none by its nature."""

    tag: str
    rows: Sequence[Values] | None = None
    notices: Sequence[Notice] = ()
