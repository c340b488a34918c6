"""Conditions of WHERE: each becomes a test of one row, made once per execution with the parameters already in it."""

from collections.abc import Callable, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeAlias

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import refuse
from simulator.services.postgresql.expression import Evaluate, Scope, Typed, analyse, matched, settled
from simulator.services.postgresql.types import NUMERIC, TEXT, UNKNOWN, ColumnType, Value
from simulator.services.postgresql.versions import Values

__all__ = ["Filter", "Test"]

Test: TypeAlias = Callable[[Values], bool]
Bind: TypeAlias = Callable[[Values], Test]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
NO_ROW: Values = ()


@attrs.frozen
class Filter:
    """Conditions that must all be true of a row. `equals` are the columns that must equal something constant."""

    binds: Sequence[Bind]
    equals: dict[int, Evaluate]

    @classmethod
    def of(cls, conditions: Sequence[sql.Condition], scope: Scope) -> "Filter":
        """Return the conditions with their types matched."""
        equals: dict[int, Evaluate] = {}
        binds = []
        may_be_decided = False  # by a condition on constants: the server then plans no further
        for condition in conditions:
            columns, folds = len(scope.plain), len(scope.parameters.folds)
            binds.append(_bind(condition, scope, equals))
            if may_be_decided and len(scope.parameters.folds) > folds:
                refuse("a condition that may fail behind one of constants only")
            may_be_decided |= len(scope.plain) == columns
        return cls(binds, equals)

    def test(self, parameters: Values) -> Test:
        """Return the test of a row under these parameters."""
        tests = [bind(parameters) for bind in self.binds]
        if len(tests) == 1:
            return tests[0]
        return lambda row: all(test(row) for test in tests)


def _bind(condition: sql.Condition, scope: Scope, equals: dict[int, Evaluate]) -> Bind:
    match condition:
        case sql.Comparison(left=left, operator=operator, right=right):
            return _comparison(analyse(left, scope), operator, analyse(right, scope), scope, equals)
        case sql.IsNull(expression=expression, negated=negated):
            evaluate = analyse(expression, scope).evaluate
            return lambda parameters: lambda row: (evaluate(row, parameters) is None) is not negated
        case sql.Membership(expression=expression, members=members):
            return _membership(analyse(expression, scope), [analyse(each, scope) for each in members], scope)


def _comparison(left: Typed, operator: str, right: Typed, scope: Scope, equals: dict[int, Evaluate]) -> Bind:
    left, right = matched(left, operator, right, scope)
    if left.place is None and right.place is not None:
        left, operator, right = right, MIRRORED[operator], left
    compare = OPERATORS[operator]
    place, evaluate_left, evaluate_right = left.place, left.evaluate, right.evaluate
    if place is not None and right.is_constant:
        if operator == "=":
            equals.setdefault(place, evaluate_right)

        def bind(parameters: Values) -> Test:
            value = evaluate_right(NO_ROW, parameters)
            if value is None:
                return lambda row: False
            return lambda row: (own := row[place]) is not None and compare(own, value)

        return bind

    def bind_both(parameters: Values) -> Test:
        def test(row: Values) -> bool:
            a, b = evaluate_left(row, parameters), evaluate_right(row, parameters)
            return a is not None and b is not None and compare(a, b)

        return test

    return bind_both


def _membership(typed: Typed, members: Sequence[Typed], scope: Scope) -> Bind:
    pairs = [matched(left, "=", right, scope) for left, right in _operands(typed, members, scope)]
    place = typed.place
    if place is not None and all(left is typed and right.is_constant for left, right in pairs):

        def bind_constants(parameters: Values) -> Test:
            values = [right.evaluate(NO_ROW, parameters) for _, right in pairs]
            return lambda row: (own := row[place]) is not None and own in values

        return bind_constants

    def bind(parameters: Values) -> Test:
        def test(row: Values) -> bool:
            return any(_equal(left.evaluate(row, parameters), right.evaluate(row, parameters)) for left, right in pairs)

        return test

    return bind


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
