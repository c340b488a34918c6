"""Quantities as people write them: `100ms`, `2GiB`, `0.1%`."""

import re
from collections.abc import Mapping
from decimal import Decimal
from math import inf, isinf

import attrs

from simulator.errors import InputError

__all__ = ["TIME_UNITS", "UNITS", "Dimension", "Quantity", "parse_quantity", "seconds_of"]

Dimension = str
"""What is measured: `s` (seconds), `B` (bytes), `%` (a share of one) or nothing (a count)."""

UNITS: Mapping[str, tuple[Dimension, float]] = {
    "us": ("s", 1e-6),
    "ms": ("s", 1e-3),
    "s": ("s", 1.0),
    "m": ("s", 60.0),
    "h": ("s", 3600.0),
    "B": ("B", 1.0),
    "KiB": ("B", 2.0**10),
    "MiB": ("B", 2.0**20),
    "GiB": ("B", 2.0**30),
    "%": ("%", 0.01),
    "": ("", 1.0),
}
"""Each unit's dimension, and how much of its base unit it is."""
TIME_UNITS = ("us", "ms", "s", "m", "h")

_PATTERN = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([A-Za-z%]*)\s*", re.ASCII)
_TOLD_IN = {"s": TIME_UNITS, "B": ("B", "KiB", "MiB", "GiB"), "%": ("%",), "": ("",)}


@attrs.frozen
class Quantity:
    """An amount, in the base unit of its dimension: seconds, bytes, a share of one, or a count."""

    amount: float
    dimension: Dimension

    def __str__(self) -> str:
        if isinf(self.amount):
            return "never"
        units = _TOLD_IN[self.dimension]
        # The largest unit of which there is one whole, but seconds up to two minutes.
        fitting = [each for each in units if abs(self.amount) >= UNITS[each][1] * (2 if each == "m" else 1)]
        unit = fitting[-1] if fitting else units[0]
        return f"{self.amount / UNITS[unit][1]:.4g}{unit}"


def parse_quantity(text: str) -> Quantity:
    """Read a quantity. Raises InputError for what is none."""
    match = _PATTERN.fullmatch(text)
    if match is None or match[2] not in UNITS:
        raise InputError(f"{text!r} is no quantity. Write 100ms, 5s, 2m, 1h, 512MiB, 2GiB, 0.1% or a plain number.")
    dimension, size = UNITS[match[2]]
    return Quantity(float(Decimal(match[1]) * Decimal(str(size))), dimension)  # in floats 9 * 0.001 is more than 0.009


def seconds_of(text: str | float) -> float:
    """Read a duration: a number of seconds, or with a unit. Raises InputError for what is none."""
    match = _PATTERN.fullmatch(str(text))
    dimension, size = UNITS.get(match[2], ("", 0.0)) if match is not None else ("", 0.0)
    seconds = float(match[1]) * size if match is not None and dimension in ("s", "") else 0.0
    if not 0 < seconds < inf:
        raise InputError(f"{text!r} is not a duration. Write 90, 500ms, 2m or 1h.")
    return seconds
