"""Reading tokens one after the other: what every clause of the grammar is read with."""

from collections.abc import Callable
from typing import NoReturn, TypeVar

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.scanner import RESERVED, scan
from simulator.services.postgresql.types import BIGINT, BOOLEAN, INTEGER, NUMERIC, UNKNOWN

__all__ = ["Reader"]

T = TypeVar("T")

SHOWN_CHARACTERS = 60
DIGITS_MAX = 19  # of a 64-bit integer


class Reader:
    """One token of look-ahead. `accept` takes words or symbols if they are next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = scan(text)
        self.at = 0
        self.token = self.tokens[0]
        self.started_at = 0

    def advance(self) -> None:
        """Go to the next token."""
        if self.token.kind != "end":
            self.at += 1
            self.token = self.tokens[self.at]

    def fail(self) -> NoReturn:
        """Refuse the statement for what is next, or tell that it ended too soon."""
        if self.token.kind == "end":
            raise PostgreSQLError("42601", "syntax error at end of input")
        statement = " ".join(self.text[self.started_at :].split())
        rest = " ".join(self.text[self.token.start :].split())
        refuse(f"{rest[:SHOWN_CHARACTERS]!r} in {statement[: 2 * SHOWN_CHARACTERS]!r}")

    def syntax_error(self) -> NoReturn:
        """Tell that what is next is wrong, whatever the rest of the grammar."""
        if self.token.kind == "end":
            raise PostgreSQLError("42601", "syntax error at end of input")
        written = self.text[self.token.start : self.token.end]
        raise PostgreSQLError("42601", f'syntax error at or near "{written}"')

    def is_next(self, *words: str) -> bool:
        """Say whether one of these keywords or symbols is next."""
        return self.token.kind in ("word", "symbol") and self.token.text in words

    def accept(self, *words: str) -> bool:
        """Take these keywords or symbols if they are next; none if the first is not."""
        for number, word in enumerate(words):
            if not self.is_next(word):
                if number:
                    self.fail()
                return False
            self.advance()
        return True

    def expect(self, *words: str) -> None:
        """Take these keywords or symbols, or refuse."""
        if not self.accept(*words):
            self.fail()

    def take(self, kind: str) -> str:
        """Take a token of this kind, or refuse."""
        token = self.token
        if token.kind != kind:
            self.fail()
        self.advance()
        return token.text

    def table(self) -> str:
        """Take the name of a table."""
        name = self.name()
        if name.startswith("pg_"):
            refuse(f"the system table {name}")
        return name

    def label(self) -> str:
        """Take a name where no other word can stand, so that even a reserved one is meant."""
        return self.take("quoted" if self.token.kind == "quoted" else "word")

    def name(self) -> str:
        """Take the name of a table or a column."""
        if self.token.kind == "quoted":
            return self.take("quoted")
        if self.token.kind == "word" and self.token.text in RESERVED:
            self.syntax_error()
        return self.take("word")

    def listed(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Take one or more, with commas between."""
        items = [read()]
        while self.accept(","):
            items.append(read())
        return tuple(items)

    def in_parentheses(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Take one or more in parentheses, with commas between."""
        self.expect("(")
        items = self.listed(read)
        self.expect(")")
        return items

    def literal(self) -> sql.Literal:
        """Take a constant, perhaps with a minus before it."""
        if self.accept("null"):
            return sql.Literal(None, UNKNOWN)
        if self.is_next("true", "false"):
            return sql.Literal(self.take("word") == "true", BOOLEAN)
        if self.token.kind == "string":
            return sql.Literal(self.take("string"), UNKNOWN)
        sign = -1 if self.accept("-") else 1
        if self.token.kind == "decimal":
            # Numeric has no negative zero.
            return sql.Literal(sign * _double(self.take("decimal")) or 0.0, NUMERIC)
        digits = self.take("integer").lstrip("0") or "0"
        if len(digits) > DIGITS_MAX:
            refuse("a literal that is no 64-bit integer")
        value = sign * int(digits)
        if -(1 << 31) <= value < 1 << 31:
            return sql.Literal(value, INTEGER)
        if not -(1 << 63) <= value < 1 << 63:
            refuse(f"the literal {value}, which is no 64-bit integer")
        return sql.Literal(value, BIGINT)


def _double(digits: str) -> float:
    """Return a literal with a decimal point as it is used, which is as double precision."""
    value = float(digits)
    if value == float("inf") or (not value and digits.lower().partition("e")[0].strip("0.")):
        refuse("a literal out of the range of double precision")
    return value
