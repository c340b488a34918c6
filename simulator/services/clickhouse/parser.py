"""The parser of the modelled SQL: a list of what is allowed. Whatever it does not expect is refused with its place.

A statement that the real server would find malformed is refused too: to tell "wrong" from "not modelled" needs
the whole grammar.
"""

import math
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

import attrs

from simulator.services.clickhouse import statement as sql
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.types import Value

__all__ = ["parse"]

T = TypeVar("T")

TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
    (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_.]))
    |(?P<string>'(?:[^'\\]|\\.)*'(?!'))
    |(?P<quoted>`[^`\\]+`|"[^"\\]+")
    |(?P<symbol>!=|<=|>=|[(),.;*=<>])
    |(?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
STRING_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
STRING_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", "'": "'", '"': '"'}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
AGGREGATES = ("count", "min", "max", "sum", "uniqexact")
ENGINES = {"MergeTree": False, "ReplacingMergeTree": True}
WINDOW = "non_replicated_deduplication_window"
FORMATS_INPUT = ("JSONEachRow",)
FORMATS_OUTPUT = ("TabSeparated", "JSONEachRow")
SHOWN_CHARACTERS = 60
QUERY_LENGTH_MAX = 262_144  # max_query_size; the data of an insert does not count
NUMBER_MAX = 1 << 32
LITERAL_MAX = 1 << 64
DIGITS_MAX = 20  # that a 64-bit integer has, its sign included
DEPTH_MAX = 50  # of conditions in parentheses or behind NOT
RESERVED = ("CASE", "DISTINCT", "FROM", "INTERVAL", "NOT", "NULL", "SELECT")


def parse(text: str) -> sql.Statement:
    """Return the statement in `text`. Raises UnsupportedError for all that is not modelled."""
    if not text.strip():
        raise ClickHouseError(62, "Empty query")
    parser = _Parser(text)
    statement = parser.statement()
    if not isinstance(statement, sql.Insert):
        parser.accept(";")
        if parser.token.kind != "end":
            parser.refuse()
        if len(text) > QUERY_LENGTH_MAX:
            refuse(f"a query of more than {QUERY_LENGTH_MAX} characters")
    return statement


@attrs.frozen
class _Token:
    kind: str
    text: str
    start: int
    end: int


class _Parser:
    """One token of look-ahead. Methods named for a clause read it; `accept` takes a word or symbol if it is next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.token = self._scan(0)
        self.depth = 0

    def _scan(self, at: int) -> _Token:
        match = TOKEN.match(self.text, at)
        if match is None or match.lastgroup is None:
            return _Token("unknown", "", at, at)
        return _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end())

    def refuse(self, what: str = "") -> NoReturn:
        """Refuse the statement for what is next."""
        rest = " ".join(self.text[self.token.start :].split())[:SHOWN_CHARACTERS]
        refuse(f"{what}{rest!r}" if rest else f"{what}a statement that ends here")

    def accept(self, *words: str) -> bool:
        """Take these words or symbols, in either case, if they are next; none if the first is not."""
        for number, word in enumerate(words):
            if self.token.kind not in ("word", "symbol") or self.token.text.upper() != word:
                if number:
                    self.refuse()
                return False
            self.token = self._scan(self.token.end)
        return True

    def expect(self, *words: str) -> None:
        """Take these words or symbols, or refuse."""
        if not self.accept(*words):
            self.refuse()

    def take(self, kind: str) -> str:
        """Take a token of this kind, or refuse."""
        token = self.token
        if token.kind != kind:
            self.refuse()
        self.token = self._scan(token.end)
        return token.text

    def statement(self) -> sql.Statement:
        if self.accept("SELECT"):
            return self.select()
        if self.accept("INSERT", "INTO"):
            return self.insert()
        if self.accept("CREATE", "TABLE"):
            return self.create()
        if self.accept("DROP", "TABLE"):
            if_exists = self.accept("IF", "EXISTS")
            return sql.DropTable(self.table(), if_exists)
        if self.accept("TRUNCATE", "TABLE"):
            return sql.TruncateTable(self.table())
        if self.accept("EXISTS", "TABLE"):
            return sql.ExistsTable(self.table(), self.output_format())
        self.expect("SHOW", "TABLES")
        return sql.ShowTables(self.output_format())

    def name(self) -> str:
        if self.token.kind == "quoted":
            return self.take("quoted")[1:-1]
        if self.token.text.upper() in RESERVED:
            self.refuse("a bare keyword as a name: ")
        return self.take("word")

    def table(self) -> sql.TableName:
        first = self.name()
        return sql.TableName(first, self.name()) if self.accept(".") else sql.TableName(None, first)

    def listed(self, read: Callable[[], T]) -> tuple[T, ...]:
        items = [read()]
        while self.accept(","):
            items.append(read())
        return tuple(items)

    def in_parentheses(self, read: Callable[[], T]) -> tuple[T, ...]:
        self.expect("(")
        items = self.listed(read)
        self.expect(")")
        return items

    def literal(self) -> Value:
        if self.token.kind == "string":
            return STRING_ESCAPE.sub(self.unescape, self.take("string")[1:-1])
        number = self.take("number")
        if "." in number:
            return float(number) if math.isfinite(float(number)) else refuse(f"the literal {number[:SHOWN_CHARACTERS]}")
        if len(number) > DIGITS_MAX or not -LITERAL_MAX // 2 <= int(number) < LITERAL_MAX:
            refuse(f"the literal {number[:SHOWN_CHARACTERS]}, which is no 64-bit integer")
        return int(number)

    def unescape(self, match: re.Match[str]) -> str:
        if match[1] not in STRING_ESCAPES:
            refuse(f"the escape {match[0]!r} in an SQL string")
        return STRING_ESCAPES[match[1]]

    def output_format(self) -> str:
        if not self.accept("FORMAT"):
            return "TabSeparated"
        name = self.take("word")
        if name not in FORMATS_OUTPUT:
            refuse(f"FORMAT {name} for output (only {', '.join(FORMATS_OUTPUT)})")
        return name

    def create(self) -> sql.CreateTable:
        if_not_exists = self.accept("IF", "NOT", "EXISTS")
        table = self.table()
        columns = self.in_parentheses(lambda: (self.name(), self.take("word")))
        self.expect("ENGINE", "=")
        engine = self.take("word")
        if engine not in ENGINES:
            refuse(f"ENGINE = {engine} (only {', '.join(ENGINES)})")
        if self.accept("("):
            self.expect(")")
        self.expect("ORDER", "BY")
        key = self.sorting_key()
        window = self.deduplication_window() if self.accept("SETTINGS") else None
        return sql.CreateTable(table, if_not_exists, columns, ENGINES[engine], key, window)

    def deduplication_window(self) -> int:
        if self.token.text != WINDOW:
            self.refuse("a setting of a table other than " + WINDOW + ": ")
        self.take("word")
        self.expect("=")
        return self.limit()

    def sorting_key(self) -> tuple[str, ...]:
        if self.token.text == "(":
            return self.in_parentheses(self.name)
        name = self.name()
        if name == "tuple" and self.accept("("):
            self.expect(")")
            return ()
        return (name,)

    def insert(self) -> sql.Insert:
        table = self.table()
        columns = self.in_parentheses(self.name) if self.token.text == "(" else None
        if self.accept("VALUES"):
            return sql.Insert(table, columns, None, self.values())
        self.expect("FORMAT")
        data_at = self.token.end
        name = self.token.text
        if name not in FORMATS_INPUT:
            refuse(f"FORMAT {name} for input (only {', '.join(FORMATS_INPUT)} and VALUES)")
        return sql.Insert(table, columns, data_at, ())

    def values(self) -> tuple[tuple[Value, ...], ...]:
        rows = []
        while self.token.text == "(" and self.token.kind == "symbol":
            rows.append(self.in_parentheses(self.literal))
            self.accept(",")
        self.accept(";")
        if self.token.kind != "end":
            self.refuse()
        return tuple(rows)

    def select(self) -> sql.Select:
        items = self.listed(self.item)
        table = self.table() if self.accept("FROM") else None
        return sql.Select(
            items=items,
            table=table,
            final=table is not None and self.accept("FINAL"),
            where=self.condition() if table is not None and self.accept("WHERE") else None,
            group_by=self.listed(self.name) if table is not None and self.accept("GROUP", "BY") else (),
            order_by=self.listed(self.order_key) if table is not None and self.accept("ORDER", "BY") else (),
            limit=self.limit() if table is not None and self.accept("LIMIT") else None,
            format=self.output_format(),
        )

    def limit(self) -> int:
        number = self.take("number")
        is_plain = number.isdecimal() and len(number) < DIGITS_MAX
        return int(number) if is_plain else refuse(f"LIMIT {number[:SHOWN_CHARACTERS]}")

    def item(self) -> sql.SelectItem:
        if self.accept("*"):
            return sql.SelectItem(sql.Star(), None)
        expression: sql.Expression
        if self.token.kind == "number":
            expression = sql.Number(self.limit())
            if expression.value >= NUMBER_MAX:
                refuse(f"SELECT {expression.value}, which is no 32-bit integer")
        else:
            expression = self.column_or_aggregate()
        return sql.SelectItem(expression, self.name() if self.accept("AS") else None)

    def column_or_aggregate(self) -> sql.Column | sql.Aggregate:
        name = self.name()
        if not self.accept("("):
            return sql.Column(name)
        function = name.lower()
        if function not in AGGREGATES or (function == "uniqexact" and name != "uniqExact"):
            refuse(f"the function {name}")
        column = None
        if function == "count":
            self.accept("*")
        else:
            column = self.name()
        self.expect(")")
        return sql.Aggregate(function, name, column)

    def order_key(self) -> sql.OrderKey:
        expression = self.column_or_aggregate()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        return sql.OrderKey(expression, descending)

    def condition(self) -> sql.Condition:
        return self.logical("OR", lambda: self.logical("AND", self.negation))

    def logical(self, operator: str, read: Callable[[], sql.Condition]) -> sql.Condition:
        conditions = [read()]
        while self.accept(operator):
            conditions.append(read())
        return conditions[0] if len(conditions) == 1 else sql.Logical(operator, tuple(conditions))

    def negation(self) -> sql.Condition:
        if self.accept("NOT"):
            return sql.Not(self.deeper(self.negation))
        if self.accept("("):
            condition = self.deeper(self.condition)
            self.expect(")")
            return condition
        return self.predicate()

    def deeper(self, read: Callable[[], sql.Condition]) -> sql.Condition:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            refuse(f"a condition nested deeper than {DEPTH_MAX}")
        condition = read()
        self.depth -= 1
        return condition

    def predicate(self) -> sql.Condition:
        column = self.name()
        negated = self.accept("NOT")
        if negated or self.token.text.upper() == "IN":
            self.expect("IN")
            return sql.Membership(column, self.in_parentheses(self.literal), negated)
        operator = self.take("symbol")
        if operator not in OPERATORS:
            refuse(f"the operator {operator!r} after {column!r}")
        return sql.Comparison(column, operator, self.literal())
