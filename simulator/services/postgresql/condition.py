"""Conditions of WHERE: each becomes a test of one row, made once per execution with the parameters already in it."""

from collections.abc import Callable, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeAlias

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import refuse
from simulator.services.postgresql.expression import Evaluate, Scope, Typed, analyse, matched, operation_cost, settled
from simulator.services.postgresql.types import BOOLEAN, NUMERIC, TEXT, UNKNOWN, ColumnType, Value
from simulator.services.postgresql.versions import Values

__all__ = ["Filter", "Test"]

Test: TypeAlias = Callable[[Values], bool]
Bind: TypeAlias = Callable[[Values], Test]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
NO_ROW: Values = ()


def always(_row: Values) -> bool:
    """Hold of every row: what a condition of constants comes to, before any row is looked at."""
    return True


def never(_row: Values) -> bool:
    """Hold of none."""
    return False


FIRST = (-1.0, False)
"""The order of what constants decide."""
HASHED_FROM = 9  # MIN_ARRAY_SIZE_FOR_HASHED_SAOP of clauses.c


@attrs.frozen
class Condition:
    """One condition. `among` are constants one of which the column at `place` must equal, if it is such a condition.

    `order` is the cost per row, and of two that cost the same an equality is tried later: the planner takes those out,
    to see what equals what, and puts them back behind the others.
    """

    bind: Bind
    order: tuple[float, bool]
    place: int | None = None
    among: Sequence[Evaluate] = ()


@attrs.frozen
class Filter:
    """Conditions that must all be true of a row, the cheapest first (order_qual_clauses of createplan.c).

    `among` are the columns that must equal one of some constants, by place; `first` is the one that is tested first.
    """

    conditions: Sequence[Condition]

    @classmethod
    def of(cls, conditions: Sequence[sql.Condition], scope: Scope) -> "Filter":
        """Return the conditions with their types matched."""
        found: list[Condition] = []
        may_be_decided = False  # by a condition on constants: the server then plans no further
        for condition in conditions:
            columns, folds = len(scope.plain), len(scope.parameters.folds)
            found.append(_analysed(condition, scope))
            if may_be_decided and len(scope.parameters.folds) > folds:
                refuse("a condition that may fail behind one of constants only")
            may_be_decided |= len(scope.plain) == columns
        _refuse_in_doubt(conditions, found)
        return cls(sorted(found, key=lambda each: each.order))

    @property
    def first(self) -> int | None:
        """The place of the column that is tested first, if it must equal one of some constants."""
        return next((each.place for each in self.conditions if each.order != FIRST), None)

    @property
    def among(self) -> dict[int, Sequence[Evaluate]]:
        """The constants of which a column must equal one, by its place."""
        return {each.place: each.among for each in reversed(self.conditions) if each.place is not None}

    def test(self, parameters: Values) -> Test:
        """Return the test of a row under these parameters. What constants decide is decided before any row is."""
        tests = [test for each in self.conditions if (test := each.bind(parameters)) is not always]
        if never in tests:
            return never
        if len(tests) == 1:
            return tests[0]
        return lambda row: all(test(row) for test in tests)


def _refuse_in_doubt(conditions: Sequence[sql.Condition], found: Sequence[Condition]) -> None:
    """Refuse what depends on the plan: an expression that may fail, tried before or after what a key finds; and two
    equalities of one expression, of which the planner makes a third."""
    nulls = [
        each for each, made in zip(conditions, found, strict=True) if isinstance(each, sql.IsNull) and made.order[0] > 0
    ]
    if nulls and len(conditions) > 1:
        refuse("IS NULL of an expression beside another condition")
    sides = [
        side
        for each in conditions
        if isinstance(each, sql.Comparison) and each.operator == "="
        for side in (each.left, each.right)
        if isinstance(side, sql.Arithmetic | sql.Coalesce)
    ]
    if any(side in sides[:number] for number, side in enumerate(sides)):
        refuse("two equalities of one expression")


def _analysed(condition: sql.Condition, scope: Scope) -> Condition:
    match condition:
        case sql.Comparison(left=left, operator=operator, right=right):
            return _comparison(analyse(left, scope), operator, analyse(right, scope), scope)
        case sql.IsNull(expression=expression, negated=negated):
            return _is_null(analyse(expression, scope), negated=negated)
        case sql.Membership(expression=expression, members=members):
            return _membership(analyse(expression, scope), [analyse(each, scope) for each in members], scope)


def _is_null(typed: Typed, *, negated: bool) -> Condition:
    evaluate = typed.evaluate

    def test(row: Values, parameters: Values) -> bool:
        return (evaluate(row, parameters) is None) is not negated

    if typed.is_constant:
        return Condition(lambda parameters: always if test(NO_ROW, parameters) else never, FIRST)
    return Condition(lambda parameters: lambda row: test(row, parameters), (typed.cost, False))


def _comparison(left: Typed, operator: str, right: Typed, scope: Scope) -> Condition:
    left, right = matched(left, operator, right, scope)
    if left.place is None and right.place is not None:
        left, operator, right = right, MIRRORED[operator], left
    compare = OPERATORS[operator]
    place, evaluate_left, evaluate_right = left.place, left.evaluate, right.evaluate

    def compared(row: Values, parameters: Values) -> bool:
        a, b = evaluate_left(row, parameters), evaluate_right(row, parameters)
        return a is not None and b is not None and compare(a, b)

    is_itself = left.type is BOOLEAN and operator in ("=", "<>") and (left.is_constant or right.is_constant)
    order = (operation_cost(left, right) - is_itself, operator == "=" and not is_itself)
    if left.is_constant and right.is_constant:
        return Condition(lambda parameters: always if compared(NO_ROW, parameters) else never, FIRST)
    if place is not None and right.is_constant:

        def bind(parameters: Values) -> Test:
            value = evaluate_right(NO_ROW, parameters)
            if value is None:
                return never
            return lambda row: (own := row[place]) is not None and compare(own, value)

        return Condition(bind, order, place, (evaluate_right,)) if operator == "=" else Condition(bind, order)

    constant = left if left.is_constant else right if right.is_constant else None

    def bind_both(parameters: Values) -> Test:
        if constant is not None and constant.evaluate(NO_ROW, parameters) is None:
            return never
        return lambda row: compared(row, parameters)

    return Condition(bind_both, order)


def _membership(typed: Typed, members: Sequence[Typed], scope: Scope) -> Condition:
    operands = _operands(typed, members, scope)
    pairs = [matched(left, "=", right, scope) for left, right in operands]
    order = (_cost_of_membership(pairs), len(pairs) == 1)
    place = typed.place
    if place is not None and all(left is typed and right.is_constant for left, right in pairs):
        among = [right.evaluate for _, right in pairs]

        def bind_constants(parameters: Values) -> Test:
            values = [evaluate(NO_ROW, parameters) for evaluate in among]
            if values == [None]:
                return never
            return lambda row: (own := row[place]) is not None and own in values

        return Condition(bind_constants, order, place, among)

    def test(row: Values, parameters: Values) -> bool:
        return any(_equal(left.evaluate(row, parameters), right.evaluate(row, parameters)) for left, right in pairs)

    if all(each.is_constant for pair in pairs for each in pair):
        return Condition(lambda parameters: always if test(NO_ROW, parameters) else never, FIRST)
    return Condition(lambda parameters: lambda row: test(row, parameters), order)


def _cost_of_membership(pairs: Sequence[tuple[Typed, Typed]]) -> float:
    """Return the cost of IN: constants are one array, of which half is compared with, or which is hashed."""
    constants = [operation_cost(left, right) for left, right in pairs if right.is_constant]
    others = [operation_cost(left, right) for left, right in pairs if not right.is_constant]
    if len(constants) < 2:
        return sum((*constants, *others))
    compared = 2 if len(constants) >= HASHED_FROM else len(constants) / 2
    return constants[0] - 1 + compared + sum(others)


def _operands(typed: Typed, members: Sequence[Typed], scope: Scope) -> Sequence[tuple[Typed, Typed]]:
    """Return what is compared with IN: first the constants, if there are several, which are made one type."""
    constants = [each for each in members if each.is_constant]
    kind = _common_type([typed, *constants])
    if len(constants) < 2 or kind is None:
        return [(typed, each) for each in members]
    if kind is NUMERIC:
        refuse("IN a list with a literal with a decimal point")
    typed = settled(typed, kind, scope)
    others = [each for each in members if not each.is_constant]
    return [(typed, each) for each in (*(settled(each, kind, scope) for each in constants), *others)]


def _common_type(several: Sequence[Typed]) -> ColumnType | None:
    types = [each.type for each in several if each.type is not UNKNOWN]
    if all(each.rank for each in types):
        return max(types, key=lambda each: each.rank, default=TEXT)
    return types[0] if all(each is types[0] for each in types) else None


def _equal(left: Value, right: Value) -> bool:
    return left is not None and left == right
