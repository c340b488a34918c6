"""Keeping single messages back: a gate in each direction of each connection, and the holds that close it."""

from collections import deque

import attrs
import trio

from simulator.live.framing import Finder

__all__ = ["Gate", "MessageHold"]


@attrs.define(eq=False)
class MessageHold:
    """One message to keep back: waited for, then kept until `release`, or until its connection is lost."""

    messages_left: int  # until it is the turn of the one to hold, that included
    armed: tuple[list["MessageHold"], ...] = attrs.field(repr=False)  # where it waits for it
    _gate: "Gate | None" = attrs.field(default=None, init=False, repr=False)
    _decided: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    @property
    def is_holding(self) -> bool:
        """Whether its message has come and is kept back now."""
        return self._gate is not None

    @property
    def is_lost(self) -> bool:
        """Whether what is kept back is only a chunk, of a stream that broke its protocol."""
        return self._gate is not None and self._gate.is_lost

    async def wait_holding(self) -> None:
        """Return when the message has come; also when the hold is released before."""
        await self._decided.wait()

    def release(self) -> None:
        """Let the message go, and what follows it; or wait for it no longer. Once released, it does nothing."""
        self._disarm()
        if self._gate is not None:
            self._gate.open(self)
            self._gate = None

    def catch(self, gate: "Gate") -> None:
        """Keep back what is next at a gate."""
        self._disarm()
        self._gate = gate
        gate.holds.append(self)

    def _disarm(self) -> None:
        for holds in self.armed:
            if self in holds:
                holds.remove(self)
        self._decided.set()


class Gate:
    """Where one direction of a connection has got to between messages, and the holds that keep it closed.

    It is told of bytes when they are received, and asked how many may pass; a message is counted when its turn to
    pass comes. `armed` are the holds that wait for a message of any connection in this direction.
    """

    def __init__(self, finder: Finder, armed: list[MessageHold], changed: trio.lowlevel.ParkingLot) -> None:
        self.holds: list[MessageHold] = []
        self._armed = armed
        self._changed = changed
        self._finder = finder
        self._received_bytes = 0
        self._passed_bytes = 0
        self._starts = deque([0])  # of messages whose turn has not come; the last may not have been received

    @property
    def is_lost(self) -> bool:
        """Whether messages cannot be told apart here."""
        return self._finder.is_lost

    def receive(self, data: bytes) -> None:
        """Find out which messages begin in the next bytes, or after them."""
        received_bytes = self._received_bytes
        self._starts += [received_bytes + end for end in self._finder.feed(data)]
        self._received_bytes = received_bytes + len(data)

    def free_bytes(self, count: int) -> int:
        """Return how many of the next so many bytes may pass now, and close when the message to hold is the next."""
        if self.holds:
            return 0
        if not self._armed:
            return count
        nth = min(hold.messages_left for hold in self._armed)
        starts = [start for start in self._starts if start < self._passed_bytes + count]
        if nth > len(starts):
            return count
        free_bytes = starts[nth - 1] - self._passed_bytes
        if not free_bytes:
            self._starts.popleft()
            self._count_off(1)
        return free_bytes

    def passed(self, count: int) -> None:
        """Count what began to pass with so many bytes."""
        self._passed_bytes += count
        begun = 0
        while self._starts and self._starts[0] < self._passed_bytes:
            self._starts.popleft()
            begun += 1
        if self._armed and begun:
            self._count_off(begun)

    def open(self, hold: MessageHold) -> None:
        """Let the message go as far as this hold is concerned."""
        self.holds.remove(hold)
        self._changed.unpark_all()

    def _count_off(self, messages: int) -> None:
        for hold in [*self._armed]:
            hold.messages_left -= messages
            if not hold.messages_left:
                hold.catch(self)
