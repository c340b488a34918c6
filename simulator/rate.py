"""How many of so many independent runs failed, and within which bounds that leaves the probability."""

from math import sqrt

import attrs

__all__ = ["Rate"]

Z = 1.959964
"""The standard normal distribution has 95 % of its mass within so many standard deviations."""


@attrs.frozen
class Rate:
    """How many of so many independent runs failed."""

    failed: int = 0
    runs: int = 0

    @property
    def share(self) -> float:
        """The part that failed, 0 to 1; 0 before there was a run."""
        return self.failed / max(1, self.runs)

    @property
    def interval(self) -> tuple[float, float]:
        """Within which the probability lies with 95 % confidence (Wilson, Probable Inference, JASA 1927)."""
        if not self.runs:
            return 0.0, 1.0
        spread = Z**2 / self.runs
        middle = self.share + spread / 2
        half = sqrt(spread * (self.share * (1 - self.share) + spread / 4))
        return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
