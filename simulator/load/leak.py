"""Leaks: memory that grows for as long as a load lasts, told apart from memory that wanders.

What a process has in memory now is nearly what it had a second ago, so that samples are no independent witnesses: a
line fitted to them by least squares is certain of much that is chance. Nor do tests of rank help: Mann-Kendall finds
software aging where there is none (Machida et al., ISSREW 2013). What stays honest whatever the correlation is to
suppose the worst, a random walk (Bunzel and Vogelsang, Journal of Business & Economic Statistics 23, 2005):

- The time after the warm-up is cut into blocks, and each is told by its mean: noise cancels out in it.
- Growth is the mean difference of neighbouring blocks. By how much these differ says how sure it is. A walk's are
  nearly independent; those of what comes back to a level cancel one another out, which makes the bound the more
  careful. One step is one large difference among small ones, a garbage collection a large one the other way.
- It must go on: each third of the time has at least half of the growth that would be its part. A cache that is full
  half-way is no leak.

Of 1000 random walks without drift about 3 are called leaks, of what comes back to a level, however slowly, at most 6;
of collectors' sawteeth and of steps hardly one. What a longer time would tell cannot be told: a walk that happens to
rise all the time, a cache that takes longer to fill, a collector that did not run yet, are growth. In return a slow
leak in much noise takes long to be found: of 100 kB/s in independent noise of 5 MB ten minutes, where memory wanders by
1 MB a second more than an hour.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean

import attrs

from simulator.load.sample import Sample

__all__ = ["LASTS_S_MIN", "SAMPLES_MIN", "Growth", "growths_in", "unjudged_in"]

LASTS_S_MIN = 300.0
"""In a shorter time what grows may be what is made once: caches, pools, sessions."""
WARM_UP = 0.25
"""Of the time, what does not count, for the same reason."""
BLOCKS = 7
"""Six differences, of which each third has two: fewer do not say how they vary, more have more noise in them."""
SAMPLES_MIN = 4 * BLOCKS
"""After the warm-up."""
SIGMAS = 5.0
"""Neighbouring differences of a walk's means correlate by a quarter, which makes their mean 1.2 times as uncertain; the
rest, by Student's t of five degrees, a walk passes once in 200 times."""
STEADY = 0.5
"""Of its part each third must have grown by this much."""
PART_MAX = 0.05
"""Of its memory a process may grow by this much in the time."""
PER_S_MAX = 16 * 2.0**20 / 3600
"""However much it has, it may not grow by more than 16 MiB an hour: 384 MiB a day."""
PREFIX = "memory of "


@attrs.frozen
class Growth:
    """How a host's memory grew, in bytes per second: as it is estimated, and at least, if it wanders as it did.

    `is_leak` says whether even that is too much: a twentieth of it in the time that was watched, or 16 MiB an hour; and
    whether it grew all the time.
    """

    host: str
    per_s: float
    at_least_per_s: float
    is_leak: bool


def growths_in(samples: Iterable[Sample]) -> list[Growth]:
    """Return the growth of each host's memory; none for what was not watched for long enough to say."""
    return [_growth(host, settled) for host, settled in _settled_by_host(samples).items() if settled]


def unjudged_in(samples: Iterable[Sample]) -> list[str]:
    """Return the hosts whose memory was watched, but for too short a time, or too seldom, to say whether it grows."""
    return [host for host, settled in _settled_by_host(samples).items() if not settled]


def _settled_by_host(samples: Iterable[Sample]) -> dict[str, Sequence[Sample]]:
    """Return what was seen of each after the warm-up; nothing where that is too little."""
    by_host: dict[str, list[Sample]] = {}
    for each in samples:
        if each.measure.startswith(PREFIX):
            by_host.setdefault(each.measure.removeprefix(PREFIX), []).append(each)
    return {host: _settled(mine) for host, mine in by_host.items()}


def _settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    begins_s, ends_s = samples[0].at_s, samples[-1].at_s
    from_s = begins_s + WARM_UP * (ends_s - begins_s)
    settled = [each for each in samples if each.at_s >= from_s]
    return settled if ends_s - begins_s >= LASTS_S_MIN and len(settled) >= SAMPLES_MIN else ()


def _growth(host: str, settled: Sequence[Sample]) -> Growth:
    count, differences, third = len(settled), BLOCKS - 1, (BLOCKS - 1) // 3
    blocks = [settled[place * count // BLOCKS : (place + 1) * count // BLOCKS] for place in range(BLOCKS)]
    means = [(fmean(each.at_s for each in block), fmean(each.value for each in block)) for block in blocks]
    per_s = _slope(means[0], means[-1])
    apart = sum((b - a - per_s * (b_s - a_s)) ** 2 for (a_s, a), (b_s, b) in pairwise(means)) / (differences - 1)
    at_least = per_s - SIGMAS * sqrt(differences * apart) / (means[-1][0] - means[0][0])
    is_steady = all(_slope(*ends) >= STEADY * per_s for ends in pairwise(means[::third]))
    part_s = PART_MAX * fmean(value for _, value in means) / (settled[-1].at_s - settled[0].at_s)
    return Growth(host, per_s, at_least, is_leak=is_steady and at_least > min(part_s, PER_S_MAX))


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])
