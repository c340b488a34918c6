"""The parser of the modelled SQL: a list of what is allowed. Whatever it does not expect is refused with its place.

A syntax error (42601) is told only where it is certain: an unknown first word, an end too soon, a keyword for a name.
Much that the real server would find malformed is refused as not modelled: to tell one from the other takes the whole
grammar.
"""

from collections.abc import Callable
from functools import lru_cache

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.definition import read_create_table
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.reader import Reader
from simulator.services.postgresql.scanner import RESERVED

__all__ = ["parse"]

STATEMENTS = frozenset(
    """abort alter analyse analyze begin call checkpoint close cluster comment commit copy create deallocate declare
    delete discard do drop end execute explain fetch grant import insert listen load lock merge move notify prepare
    reassign refresh reindex release reset revoke rollback savepoint security select set show start table truncate
    unlisten update vacuum values with""".split()  # noqa: SIM905 - sixty words in quotes would be twenty lines
)
COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
AGGREGATES = ("max", "min")
PARAMETER_MAX = 65_535
PARAMETER_CHARACTERS_MAX = 10
PARTS_MAX = 100  # of one expression: its reading and its evaluation recurse


@lru_cache(maxsize=1024)  # a pure function of the text; sharing its frozen results between runs shows nowhere
def parse(text: str) -> tuple[sql.Statement, ...]:
    """Return the statements in `text`. Raises PostgreSQLError (42601, or 0A000 for what is not modelled)."""
    return _Parser(text).statements()


class _Parser(Reader):
    """Methods named for a statement or a clause read it."""

    parts = 0  # of the expression that is being read

    def statements(self) -> tuple[sql.Statement, ...]:
        found: list[sql.Statement] = []
        while True:
            while self.accept(";"):
                pass
            if self.token.kind == "end":
                return tuple(found)
            self.started_at = self.token.start
            found.append(self.statement())
            if self.token.kind != "end" and not self.is_next(";"):
                self.fail()

    def statement(self) -> sql.Statement:
        if not (self.is_next("(") or (self.token.kind == "word" and self.token.text in STATEMENTS)):
            self.syntax_error()
        read = READERS.get(self.token.text)
        if read is None:
            self.fail()
        return read(self)

    def select(self) -> sql.Select:
        self.expect("select")
        if self.token.kind == "end" or self.is_next(";", "from"):
            refuse("a SELECT of no columns")
        items = self.items()
        table = self.table() if self.accept("from") else None
        where = self.where()
        order_by = self.listed(self.order_key) if self.accept("order", "by") else ()
        limit = None
        if self.accept("limit") and not self.accept("all"):
            limit = self.expression()
        return sql.Select(items=items, table=table, where=where, order_by=order_by, limit=limit, locking=self.locking())

    def locking(self) -> sql.Locking:
        if not self.accept("for", "update"):
            return sql.Locking.NONE
        return sql.Locking.SKIP if self.accept("skip", "locked") else sql.Locking.WAIT

    def items(self) -> tuple[sql.SelectItem, ...]:
        return self.listed(self.item)

    def item(self) -> sql.SelectItem:
        if self.accept("*"):
            return sql.SelectItem(sql.Star(), None)
        expression = self.expression()
        return sql.SelectItem(expression, self.label() if self.accept("as") else None)

    def order_key(self) -> sql.OrderKey:
        name = self.name()
        descending = self.accept("desc")
        if not descending:
            self.accept("asc")
        return sql.OrderKey(name, descending)

    def insert(self) -> sql.Insert:
        self.expect("insert", "into")
        table = self.table()
        columns = self.in_parentheses(self.name) if self.is_next("(") else None
        self.expect("values")
        rows = self.listed(lambda: self.in_parentheses(self.value))
        conflict = self.conflict() if self.accept("on", "conflict") else None
        return sql.Insert(table=table, columns=columns, rows=rows, conflict=conflict, returning=self.returning())

    def value(self) -> sql.Expression | sql.Default:
        return sql.Default() if self.accept("default") else self.expression()

    def conflict(self) -> sql.Conflict:
        columns = self.in_parentheses(self.name) if self.is_next("(") else None
        self.expect("do")
        if self.accept("nothing"):
            return sql.Conflict(columns, None)
        self.expect("update", "set")
        if columns is None:
            raise PostgreSQLError("42601", "ON CONFLICT DO UPDATE requires inference specification or constraint name")
        return sql.Conflict(columns, self.listed(self.assignment))

    def assignment(self) -> sql.Assignment:
        column = self.name()
        self.expect("=")
        return sql.Assignment(column, self.expression())

    def returning(self) -> tuple[sql.SelectItem, ...]:
        return self.items() if self.accept("returning") else ()

    def update(self) -> sql.Update:
        self.expect("update")
        table = self.table()
        self.expect("set")
        assignments = self.listed(self.assignment)
        return sql.Update(table=table, assignments=assignments, where=self.where(), returning=self.returning())

    def delete(self) -> sql.Delete:
        self.expect("delete", "from")
        return sql.Delete(table=self.table(), where=self.where(), returning=self.returning())

    def create(self) -> sql.CreateTable:
        self.expect("create", "table")
        return read_create_table(self)

    def drop(self) -> sql.DropTables:
        self.expect("drop", "table")
        if_exists = self.accept("if", "exists")
        return sql.DropTables(self.listed(self.table), if_exists)

    def truncate(self) -> sql.Truncate:
        self.expect("truncate")
        self.accept("table")
        return sql.Truncate(self.listed(self.table))

    def begin(self) -> sql.Begin:
        word = "BEGIN"
        if self.accept("start"):
            self.expect("transaction")
            word = "START TRANSACTION"
        else:
            self.block_word("begin")
        if not self.accept("isolation"):
            return sql.Begin(word, None)
        self.expect("level")
        if self.accept("read", "committed"):
            return sql.Begin(word, sql.Isolation.READ_COMMITTED)
        self.expect("repeatable", "read")
        return sql.Begin(word, sql.Isolation.REPEATABLE_READ)

    def commit(self) -> sql.Commit:
        self.block_word("commit", "end")
        return sql.Commit()

    def rollback(self) -> sql.Rollback:
        self.block_word("rollback", "abort")
        return sql.Rollback()

    def block_word(self, *words: str) -> None:
        if not self.is_next(*words):
            self.fail()
        self.advance()
        if not self.accept("transaction"):
            self.accept("work")

    def set_setting(self) -> sql.SetSetting:
        self.expect("set")
        is_local = self.accept("local")
        if not is_local:
            self.accept("session")
        name = self.take("word")
        if not self.accept("to"):
            self.expect("=")
        return sql.SetSetting(name, self.setting(), is_local)

    def setting(self) -> str | None:
        if self.accept("default"):
            return None
        if self.token.kind in ("string", "integer", "quoted", "word"):
            token = self.token
            self.advance()
            return token.text
        sign = "-" if self.accept("-") else ""
        return sign + self.take("integer")

    def show_setting(self) -> sql.ShowSetting:
        self.expect("show")
        return sql.ShowSetting(self.take("word"))

    def deallocate(self) -> sql.Deallocate:
        self.expect("deallocate")
        self.accept("prepare")
        return sql.Deallocate(None if self.accept("all") else self.name())

    # Conditions and expressions

    def where(self) -> tuple[sql.Condition, ...]:
        if not self.accept("where"):
            return ()
        conditions = [self.condition()]
        while self.accept("and"):
            conditions.append(self.condition())
        return tuple(conditions)

    def condition(self) -> sql.Condition:
        left = self.expression()
        if self.token.kind == "symbol" and self.token.text in COMPARISONS:
            operator = COMPARISONS[self.token.text]
            self.advance()
            return sql.Comparison(left, operator, self.expression())
        if self.accept("is"):
            negated = self.accept("not")
            self.expect("null")
            return sql.IsNull(left, negated)
        if self.accept("in"):
            return sql.Membership(left, self.in_parentheses(self.expression))
        return refuse("a condition that is neither a comparison nor IS NULL nor IN")

    def expression(self) -> sql.Expression:
        is_whole = self.parts == 0
        left = self.primary()
        while self.is_next("+", "-"):
            operator = self.token.text
            self.advance()
            left = sql.Arithmetic(operator, left, self.primary())
        if is_whole:
            self.parts = 0
        return left

    def primary(self) -> sql.Expression:
        self.parts += 1
        if self.parts > PARTS_MAX:
            refuse(f"an expression of more than {PARTS_MAX} parts")
        token = self.token
        if token.kind in ("integer", "decimal", "string") or self.is_next("null", "true", "false", "-"):
            return self.literal()
        if token.kind == "parameter":
            self.advance()
            number = int(token.text[1:]) if len(token.text) <= PARAMETER_CHARACTERS_MAX else refuse("such a parameter")
            if not 1 <= number <= PARAMETER_MAX:
                raise PostgreSQLError("42P02", f"there is no parameter {token.text}")
            return sql.Parameter(number)
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if token.kind == "word" and self.tokens[self.at + 1].text == "(" and self.tokens[self.at + 1].kind == "symbol":
            return self.call(token.text)
        if token.kind == "word" and token.text in RESERVED:
            self.fail()
        return self.column()

    def column(self) -> sql.Column:
        first = self.name()
        return sql.Column(first, self.label()) if self.accept(".") else sql.Column(None, first)

    def call(self, function: str) -> sql.Expression:
        if function == "coalesce":
            self.advance()
            return sql.Coalesce(self.in_parentheses(self.expression))
        if function == "count":
            self.advance()
            self.expect("(", "*", ")")
            return sql.Aggregate(function, None)
        if function not in AGGREGATES:
            self.fail()
        self.advance()
        self.expect("(")
        column = self.column()
        self.expect(")")
        return sql.Aggregate(function, column)


READERS: dict[str, Callable[[_Parser], sql.Statement]] = {
    "select": _Parser.select,
    "insert": _Parser.insert,
    "update": _Parser.update,
    "delete": _Parser.delete,
    "create": _Parser.create,
    "drop": _Parser.drop,
    "truncate": _Parser.truncate,
    "begin": _Parser.begin,
    "start": _Parser.begin,
    "commit": _Parser.commit,
    "end": _Parser.commit,
    "rollback": _Parser.rollback,
    "abort": _Parser.rollback,
    "set": _Parser.set_setting,
    "show": _Parser.show_setting,
    "deallocate": _Parser.deallocate,
}
