"""Tallies: many samples of one measure, in little memory, as percentiles to three digits; they can be merged.

Values are counted in the buckets of HdrHistogram, which keep the digits over the whole range, so that the slowest are
told as exactly as the others (hdrhistogram.org). Only buckets that hold something are kept: there are many tallies, one
for each window of each measure, and of few values each. Of the values of a bucket the roundest is told: 8 ms are not
8.003 ms, by which they would miss a bound of 8 ms. None is told lower than it was by more than a thousandth.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import accumulate
from math import ceil, inf

from simulator.load.objective import Statistic
from simulator.load.quantity import Dimension
from simulator.load.sample import LOST

__all__ = ["Tally"]

STEPS_PER_UNIT: Mapping[Dimension, float] = {"s": 1e6, "%": 1e6, "B": 2.0**-10, "": 1.0}
"""One step is the smallest difference that is kept, per dimension; for larger values three digits are."""
DISTINCT_BITS = 11
"""So many leading bits tell a number of steps from others: no bucket is wider than a thousandth of what is in it."""
STEPS_MAX = 2**44
"""What is longer counts as this: half a year, or more memory than there is."""


class Tally:
    """What the samples of one measure come to. A lost one counts as longer than any other."""

    def __init__(self, dimension: Dimension = "s") -> None:
        self.dimension = dimension
        self.count = 0
        self.lost = 0
        self.total = 0.0
        self.least = inf
        self.most = -inf
        self._counts = Counter[int]()  # by the lowest number of steps of a bucket

    def add(self, value: float) -> None:
        """Count one value, not negative, or `LOST`."""
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)
        if value == LOST:
            self.lost += 1
        else:
            steps = self._steps(value)
            self._counts[steps - steps % _width(steps)] += 1

    def merge(self, other: "Tally") -> None:
        """Count what another has counted, too."""
        self.count += other.count
        self.lost += other.lost
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self._counts.update(other._counts)

    def percentile(self, percent: float) -> float:
        """Return the smallest value that so many percent of the values do not exceed, to three digits."""
        rank = ceil(Fraction(str(percent)) * self.count / 100)  # in floats 99.9 % of 1000 are more than 999
        if rank > self.count - self.lost:
            return LOST
        buckets = sorted(self._counts)
        bucket = buckets[bisect_left(list(accumulate(map(self._counts.__getitem__, buckets))), rank)]
        lowest = max(bucket, self._steps(self.least))
        highest = min(bucket + _width(bucket) - 1, self._steps(self.most))
        steps = _roundest(lowest, highest, base=2 if self.dimension == "B" else 10)
        return steps / STEPS_PER_UNIT[self.dimension]

    def value_of(self, statistic: Statistic) -> float:
        """Return a statistic of what was counted; there must be something."""
        assert self.count, "of nothing there is no statistic"
        if statistic.name == "p":
            return self.percentile(statistic.percentile)
        return _NAMED[statistic.name](self)

    def _steps(self, value: float) -> int:
        return round(min(STEPS_MAX, value * STEPS_PER_UNIT[self.dimension]))


def _width(steps: int) -> int:
    """Return how many numbers of steps share the bucket of one."""
    return 1 << max(0, steps.bit_length() - DISTINCT_BITS)


def _roundest(lowest: int, highest: int, base: int) -> int:
    """Return that of a range which has the most zeros at its end, as it is written in a base."""
    unit = 1
    while highest // (unit * base) * (unit * base) >= max(1, lowest):
        unit *= base
    return highest // unit * unit


_NAMED: Mapping[str, Callable[[Tally], float]] = {
    "min": lambda tally: tally.least,
    "avg": lambda tally: tally.total / tally.count,
    "med": lambda tally: tally.percentile(50),
    "max": lambda tally: tally.most,
    "count": lambda tally: float(tally.count),
}
