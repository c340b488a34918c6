"""Weather: the drawn seed of scheduling order and message jitter between one step and the next."""

import random

__all__ = ["Weather"]

JITTER_NOMINAL_LATENCIES = 4.0
JITTER_RARE_S = 0.1
"""Less than any time-out of a system worth testing: what breaks things for longer is a fault, and a step."""
RARE_ONE_IN = 16
_MASK = (1 << 64) - 1


class Weather:
    """Uniform random picks, one task at a time, and jitter. Seed 0 is calm: default order, nominal latency.

    `digest` folds every choice made, so that two runs that chose differently cannot have the same history hash.
    """

    __slots__ = ("_random", "calm", "choices", "digest")

    def __init__(self) -> None:
        self.calm = True
        self.digest = 0
        self.choices = 0
        self._random = random.Random(0).random

    def change(self, seed: int) -> None:
        """Begin the weather of the next step."""
        self.calm = seed == 0
        self._random = random.Random(seed).random

    def pick(self, count: int) -> int:
        """Choose one of `count` runnable tasks."""
        chosen = int(self._random() * count)
        self.choices += 1
        self.digest = (self.digest * 1_000_003 + chosen + 1) & _MASK
        return chosen

    def jitter_s(self, nominal_s: float) -> float:
        """Return by how much the next message is late: usually a few nominal latencies, now and then much more."""
        drawn = self._random()
        if int(drawn * 1_000_003) % RARE_ONE_IN == 0:
            return drawn * JITTER_RARE_S
        return drawn * JITTER_NOMINAL_LATENCIES * nominal_s
