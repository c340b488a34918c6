"""Leaks: memory that grows for as long as a load lasts, told apart from noise by a confidence bound."""

from collections.abc import Iterable, Sequence
from math import sqrt

import attrs

from simulator.load.sample import Sample

__all__ = ["LASTS_S_MIN", "Growth", "growths_in"]

LASTS_S_MIN = 300.0
"""In a shorter time what grows may be what is made once: caches, pools, sessions."""
WARM_UP = 0.25
"""Of the time, what does not count, for the same reason."""
SAMPLES_MIN = 30
SIGMAS = 3.0
"""Neighbouring samples are alike, so that the usual two would promise too much."""
PART_MAX = 0.05
"""Of its memory a process may grow by this much in the time."""
PREFIX = "memory of "


@attrs.frozen
class Growth:
    """How a host's memory grew, in bytes per second: as it is estimated, and at least, with the confidence of 3 sigma.

    `is_leak` says whether even that is more than a twentieth of it in the time that was watched.
    """

    host: str
    per_s: float
    at_least_per_s: float
    is_leak: bool


def growths_in(samples: Iterable[Sample]) -> list[Growth]:
    """Return the growth of each host's memory; none for what was not watched for long enough to say."""
    by_host: dict[str, list[Sample]] = {}
    for each in samples:
        if each.measure.startswith(PREFIX):
            by_host.setdefault(each.measure.removeprefix(PREFIX), []).append(each)
    found = (_growth(host, mine) for host, mine in by_host.items())
    return [each for each in found if each is not None]


def _growth(host: str, samples: Sequence[Sample]) -> Growth | None:
    """Fit a line by least squares, without the warm-up."""
    begins_s, ends_s = samples[0].at_s, samples[-1].at_s
    from_s = begins_s + WARM_UP * (ends_s - begins_s)
    points = [(each.at_s, each.value) for each in samples if each.at_s >= from_s]
    if ends_s - begins_s < LASTS_S_MIN or len(points) < SAMPLES_MIN:
        return None
    count = len(points)
    mean_s, mean = sum(at_s for at_s, _ in points) / count, sum(value for _, value in points) / count
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    slope = sum((at_s - mean_s) * (value - mean) for at_s, value in points) / spread
    left = sum((value - mean - slope * (at_s - mean_s)) ** 2 for at_s, value in points)
    at_least = slope - SIGMAS * sqrt(left / (count - 2) / spread)
    return Growth(host, slope, at_least, is_leak=at_least * (ends_s - from_s) > PART_MAX * mean)
