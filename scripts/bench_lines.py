"""What a measurement is made of: samples taken in turns, and the line that tells their medians."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import attrs

__all__ = ["Effort", "Line", "line", "seconds"]


@attrs.frozen(kw_only=True)
class Line:
    """One figure. `ratio` is value over reference; `note` says which of value and ratio the aim is about."""

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    aim: float | None
    note: str


@attrs.frozen(kw_only=True)
class Effort:
    """How much to measure: repetitions (None: what each measurement finds enough), and a fraction of the work."""

    repeat: int | None = None
    scale: float = 1.0

    def count(self, full: int) -> int:
        """Return the wanted fraction of a count, at least one."""
        return max(1, round(full * self.scale))

    def in_turns(
        self, name: str, samplers: Mapping[str, Callable[[], float]], *, repeat: int = 5, warm_up: bool = True
    ) -> dict[str, list[float]]:
        """Take samples A B A B ..., so that whatever else the machine does falls on all alike.

        The first round is not counted, unless without `warm_up`: imports and caches are filled in it.
        """
        rounds = self.repeat or repeat
        samples: dict[str, list[float]] = {sampler: [] for sampler in samplers}
        for number in range(0 if warm_up else 1, rounds + 1):
            if number % max(1, rounds // 5) == 0:
                print(f"bench: {name} {number}/{rounds}", file=sys.stderr)
            for sampler, sample in samplers.items():
                sampled = sample()
                if number:
                    samples[sampler].append(sampled)
        return samples


def seconds(action: Callable[[], object]) -> float:
    """Return the real seconds that a call takes, beginning without garbage of earlier ones."""
    gc.collect()
    begun_s = time.perf_counter()
    action()
    return time.perf_counter() - begun_s


def line(
    name: str,
    unit: str,
    values: Sequence[float],
    references: Sequence[float] = (),
    *,
    aim: float | None = None,
    note: str = "",
) -> Line:
    """Return the line of samples, which were taken in pairs with their references if there are any."""
    # The median of the pairs' ratios, not the ratio of the medians: a pair was measured under the same load.
    ratio = (
        statistics.median(value / reference for value, reference in zip(values, references, strict=True))
        if references
        else None
    )
    return Line(
        name=name,
        value=_rounded(statistics.median(values)),
        unit=unit,
        reference=_rounded(statistics.median(references)) if references else None,
        ratio=_rounded(ratio) if ratio is not None else None,
        aim=aim,
        note=note,
    )


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")
