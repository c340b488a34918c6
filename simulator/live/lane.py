"""What the network does to one direction of every connection through a proxy, as one frozen value."""

import enum
import math
import random
from collections.abc import Iterator

import attrs

from simulator.live.gate import MessageHold

__all__ = ["HEALTHY", "Conditions", "Direction", "Lane"]

PIECE_S = 0.1  # a narrow line hands on what it carries in so long a time, in one piece


class Direction(enum.Flag):
    """Which way bytes flow through the proxy."""

    TO_UPSTREAM = enum.auto()
    TO_CLIENT = enum.auto()
    BOTH = TO_UPSTREAM | TO_CLIENT


@attrs.frozen
class Conditions:
    """The faults of a direction; the defaults are none. `Proxy` says what each does.

    A close takes `close_s`. `slice_bytes` of 0 leaves chunks whole. With `discard_s` all bytes are lost, and a
    connection on which none came for so long is closed. With `reset_s` it is reset so long after the next bytes.
    """

    is_held: bool = False
    is_cut: bool = False
    latency_s: float = 0.0
    jitter_s: float = 0.0
    close_s: float = 0.0
    bytes_per_s: float = math.inf
    slice_bytes: int = 0
    slice_variation_bytes: int = 0
    slice_pause_s: float = 0.0
    bytes_max: float = math.inf
    discard_s: float | None = None
    reset_s: float | None = None
    is_open: bool = attrs.field(init=False)
    is_healthy: bool = attrs.field(init=False)  # both are asked for with every chunk, and so worked out once

    @is_open.default
    def _is_open_by_default(self) -> bool:
        return not (self.is_held or self.is_cut)

    @is_healthy.default
    def _is_healthy_by_default(self) -> bool:
        return (
            self.is_open
            and not (self.latency_s or self.jitter_s or self.slice_bytes)
            and self.bytes_per_s == self.bytes_max == math.inf
            and self.discard_s is self.reset_s is None
        )

    def sliced(self, chunk: bytes, chance: random.Random) -> Iterator[bytes]:
        """Yield a chunk in slices: halves of halves, until none is longer than the average and its variation."""
        size, variation = self.slice_bytes, self.slice_variation_bytes
        if not size or len(chunk) <= size + variation:
            yield chunk
            return
        middle = len(chunk) // 2 + (chance.randrange(-variation, variation) if variation else 0)
        yield from self.sliced(chunk[:middle], chance)
        yield from self.sliced(chunk[middle:], chance)

    def sent_at_once(self, chunk: bytes) -> int:
        """Return how many bytes of a chunk go on in one piece."""
        if self.bytes_per_s == math.inf:
            return len(chunk)
        return min(len(chunk), max(1, int(self.bytes_per_s * PIECE_S)))

    def takes_s(self, count: int) -> float:
        """Return for how long so many bytes occupy the line."""
        return count / self.bytes_per_s if self.bytes_per_s else math.inf


HEALTHY = Conditions()


@attrs.define(eq=False)
class Lane:
    """One direction of every connection, and how much went through it."""

    conditions: Conditions = HEALTHY
    passed_bytes: int = 0
    armed: list[MessageHold] = attrs.field(factory=list)
