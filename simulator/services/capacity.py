"""Capacity: how long a simulated service works on what it is asked, and on how much at once. The rest waits in line."""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Annotated

import msgspec
import trio

from simulator.errors import InputError

__all__ = ["Capacity", "ServiceModel"]

Point = tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], Annotated[float, msgspec.Meta(ge=0)]]


class ServiceModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a service's time passes, as data.

    `service_s` are points of the distribution of its service times: so large a part of all requests takes no longer
    than so many seconds, in a straight line between two points. `at_once` is how many it works on; None: on all.
    """

    service_s: tuple[Point, ...]
    at_once: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def check(self, where: str) -> None:
        """Raise InputError for points of which no distribution could be made."""
        if not self.service_s or self.service_s[-1][0] != 1.0:
            raise InputError(f"{where}: service_s must end with what all requests take at most: [1.0, SECONDS].")
        if any(later <= earlier or slower < faster for (earlier, faster), (later, slower) in pairwise(self.service_s)):
            raise InputError(f"{where}: service_s must be in order: of each point both numbers above the one before.")


class Capacity:
    """One service's, with numbers of its own drawn by its name: made with its model, or with none, which takes no time.

    What a service does takes effect when it is asked; it is the answer that comes later. Who waits is served in the
    order of coming.
    """

    def __init__(self, model: ServiceModel | None = None, name: str = "") -> None:
        self._chance = random.Random(name)
        self._points: Sequence[Point] = () if model is None else model.service_s
        self._limiter = None
        if model is not None and model.at_once is not None:
            self._limiter = trio.CapacityLimiter(model.at_once)

    async def work(self) -> None:
        """Take the time of one request, and before that the time until it is its turn."""
        if self._points:
            async with self.turn() as service_s:
                await trio.sleep(service_s)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, and keep it while the block runs: for as many seconds as the caller is told. 0: no model."""
        if self._limiter is None:
            yield self._draw()
        else:
            async with self._limiter:
                yield self._draw()

    def _draw(self) -> float:
        if not self._points:
            return 0.0
        part = self._chance.random()
        before: Point = (0.0, self._points[0][1])
        for point in self._points:
            if part <= point[0]:
                break
            before = point
        (earlier, faster), (later, slower) = before, point
        return slower if later == earlier else faster + (slower - faster) * (part - earlier) / (later - earlier)
