"""Randomness and wall time of a world: both derived from its seed, both given back when it closes."""

import hashlib
import os
import random
from typing import Any

import time_machine

__all__ = ["EPOCH_S", "Chance", "WallClock", "derived_random"]

EPOCH_S = 1_750_000_000.0  # 2025-06-15, a Sunday: where every world's calendar begins


def derived_random(seed: int, name: str) -> random.Random:
    """Return a generator that depends on seed and name only, so that one user of chance never shifts another's."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


class Chance:
    """Makes `random`, `os.urandom`, `uuid.uuid4` and `secrets` repeatable while a world lives."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bytes = derived_random(seed, "urandom").randbytes
        self.drawn = 0  # bytes
        self.random = 0

    def install(self) -> None:
        """Change the process-wide sources."""
        self._state = random.getstate()
        self._urandom = os.urandom
        random.seed(derived_random(self._seed, "random").getrandbits(64))
        self._replace(self._draw)

    def look(self) -> None:
        """Note the state of the process's generator. It costs too much to do it at every event."""
        _version, words, _gauss = random.getstate()
        self.random = words[0] * 1024 + words[-1]  # the rest follows: this is where in its sequence, and in which

    def remove(self) -> None:
        """Give back the process-wide sources, in the state in which they were."""
        self._replace(self._urandom)
        random.setstate(self._state)

    def _draw(self, count: int) -> bytes:
        self.drawn += count
        return self._bytes(count)

    def _replace(self, source: Any) -> None:
        os.urandom = source
        # random.SystemRandom, and with it secrets, holds its own reference.
        random._urandom = source  # type: ignore[attr-defined]


class WallClock:
    """Moves `time.time` and `datetime.now` with the world's clock. `time.monotonic` stays real: do not use it."""

    def install(self) -> None:
        """Stop the wall clock at the world's beginning."""
        self._travel = time_machine.travel(EPOCH_S, tick=False)
        self._traveller = self._travel.start()

    def move(self, now_s: float) -> None:
        """Set the wall clock to `now_s` seconds after the world's beginning."""
        self._traveller.move_to(EPOCH_S + now_s)

    def remove(self) -> None:
        """Let the wall clock run again."""
        self._travel.stop()
