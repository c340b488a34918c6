"""Traffic: when bytes went over a directed link, so that it can be told what could have led to what."""

from array import array
from bisect import bisect_left

__all__ = ["Traffic"]

KEPT = 5_000
"""Messages per link: an hour of load has millions, and nobody asks for the way of each."""


class Traffic:
    """The messages of a link that arrived, in this order; those at first, if there are many. Times are seconds."""

    def __init__(self) -> None:
        self._sent_s, self._arrived_s = array("d"), array("d")

    def note(self, sent_s: float, arrived_s: float) -> None:
        """Note that a message arrived. Times are kept as exactly as a history keeps them."""
        if len(self._sent_s) < KEPT:
            self._sent_s.append(round(sent_s, 6))
            self._arrived_s.append(round(arrived_s, 6))

    def arrival_s(self, since_s: float) -> float | None:
        """Return when the first message arrived that was sent at this time or later, None if none did."""
        later = range(bisect_left(self._arrived_s, since_s), len(self._sent_s))
        return next((self._arrived_s[each] for each in later if self._sent_s[each] >= since_s), None)
