"""Objectives: what a measure must come to, in one line each: `p(99) < 100ms`."""

import operator
import re
from collections.abc import Callable, Mapping

import attrs

from simulator.errors import InputError
from simulator.load.quantity import Quantity, parse_quantity

__all__ = ["AVERAGE", "Objective", "Statistic", "parse_objective"]

_PATTERN = re.compile(r"\s*(?:(p)\(([0-9.]+)\)|(min|avg|med|max|count)\b)?\s*(<=|>=|<|>)\s*(.+)")
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@attrs.frozen
class Statistic:
    """What of all samples counts: a percentile (0 to 100), or min, avg, med, max, count."""

    name: str
    percentile: float = 0.0

    def __str__(self) -> str:
        return f"p({self.percentile:g})" if self.name == "p" else self.name


AVERAGE = Statistic("avg")


@attrs.frozen
class Objective:
    """A statistic of a measure, and the bound that it must keep."""

    measure: str
    statistic: Statistic
    comparison: str
    bound: Quantity

    def __str__(self) -> str:
        statistic = "" if self.statistic == AVERAGE and self.bound.dimension == "%" else f"{self.statistic} "
        return f"{statistic}{self.comparison} {self.bound}"

    @property
    def is_upper(self) -> bool:
        """Whether the bound is one from above, so that less is better."""
        return self.comparison in ("<", "<=")

    def is_met(self, value: float) -> bool:
        """Say whether a value keeps the bound."""
        return _COMPARISONS[self.comparison](value, self.bound.amount)


def parse_objective(measure: str, text: str) -> Objective:
    """Read one. Without a statistic the average is meant, which of a rate is the rate. Raises InputError."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InputError(
            f"the objective {measure!r}: {text!r} is none. Write a statistic (p(99), med, avg, max, min, count; for a "
            "rate none), < or >, and a bound: p(99) < 100ms, max < 2GiB, < 0.1%."
        )
    percentile, percent, named, comparison, bound = match.groups()
    if percentile:
        value = float(percent) if percent.count(".") <= 1 and percent.strip(".") else -1.0
        if not 0 < value <= 100:
            raise InputError(f"the objective {measure!r}: p({percent}) is no percentile. Write p(50), p(99), p(99.9).")
        statistic = Statistic("p", value)
    else:
        statistic = Statistic(named) if named else AVERAGE
    return Objective(measure, statistic, comparison, parse_quantity(bound))
