"""Samples: what one run showed of what is measured, each at a moment."""

from collections.abc import Iterator

import attrs

from simulator.history import History
from simulator.load.quantity import Dimension

__all__ = ["LOST", "Sample", "is_rate", "outcome", "samples_of"]

ERRORS, SUCCESSES = "error_rate", "success_rate"
"""The measures of whether what users do comes to what they want."""

LOST = float("inf")
"""The value of a latency whose end never came."""


@attrs.frozen
class Sample:
    """One value of a measure, in the base unit of its dimension: seconds, bytes, a share; of a rate 1 or 0.

    `at_s` is when it was begun, in seconds since the run began. With the number of an `operation` its latency counts
    from when that was due, not from when it could be begun: else a slow system would thin out its own measurements
    (coordinated omission). `lasted_s` is how long what it tells of went on, where the value is no time.
    """

    measure: str
    at_s: float
    value: float
    operation: int | None = None
    dimension: Dimension = "s"
    lasted_s: float = 0.0

    @property
    def ended_s(self) -> float:
        """When what it tells of was over; inf if that never was."""
        return self.at_s + (self.value if self.dimension == "s" else self.lasted_s)


def is_rate(measure: str) -> bool:
    """Say whether samples of a measure are yes or no, by its name."""
    return measure.endswith("_rate")


def outcome(at_s: float, operation: int | None = None, *, ok: bool, lasted_s: float = 0.0) -> tuple[Sample, Sample]:
    """Return the samples of whether something that was begun at a moment came to what was wanted."""
    failed = Sample(ERRORS, at_s, float(not ok), operation, "%", lasted_s)
    return failed, Sample(SUCCESSES, at_s, float(ok), operation, "%", lasted_s)


def samples_of(history: History, *names: str) -> Iterator[Sample]:
    """Yield what the operations (of these names) show: latencies under their names, and whether they happened.

    One that was refused has no latency: it would make the others look fast.
    """
    for each in history.operations(*names):
        lasted_s = LOST if each.completed is None else each.completed.at_s - each.invoked.at_s
        yield from outcome(each.invoked.at_s, each.number, ok=each.ok, lasted_s=lasted_s)
        if not each.failed:
            yield Sample(each.name, each.invoked.at_s, lasted_s if each.ok else LOST, each.number)
