"""TCP connections of the simulated network, one end at a time, and the directed links that they go over."""

import enum
import errno
import os
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from simulator.world.network import Network

__all__ = ["WINDOW_BYTES", "End", "Link", "Mark", "os_error"]

WINDOW_BYTES = 256 * 1024


def os_error(number: int) -> OSError:
    """Return the error that a socket call fails with."""
    return OSError(number, os.strerror(number))


@attrs.define(eq=False)
class Link:
    """The directed path from one host to another. Counters, so that overlapping faults do not undo each other."""

    source: str
    destination: str
    latency_s: float
    extra_latency_s: float = 0.0
    blocked: int = 0  # partitions, holds and freezes: nothing is handed over
    refusing: int = 0  # new connections are refused
    silenced: int = 0  # established connections are dead and nobody is told


class Mark(enum.Enum):
    """What travels on a connection besides bytes."""

    END = "end of the stream"
    RESET = "reset"


class End:
    """One end of a TCP connection: what arrived and was not read yet, and what is under way to the other end."""

    __slots__ = (
        "_clock",
        "_network",
        "address",
        "arrived",
        "arrives_s",
        "closed",
        "eof",
        "error",
        "host",
        "kept_back",
        "link",
        "lost",
        "mute",
        "other",
        "readers",
        "shut",
        "under_way",
        "unread",
        "writers",
    )

    other: "End"

    def __init__(self, network: "Network", link: Link, address: tuple[str, int]) -> None:
        self._network = network
        self._clock = network.clock
        self.host = link.source
        self.link = link
        self.address = address
        self.arrived = bytearray()
        self.under_way: deque[tuple[float, bytes | Mark]] = deque()  # to the other end, with when it was sent
        self.kept_back = 0  # how many of `under_way` were due while the link was blocked
        self.arrives_s = 0.0  # when the last of `under_way` arrives: order is kept by never being earlier
        self.unread = 0  # bytes sent that the other end has not read: the flow-control window
        self.eof = False
        self.shut = False
        self.closed = False
        self.mute = False  # half-open: what is sent vanishes
        self.lost = False  # something that was sent vanished: TCP will go on sending it
        self.error: OSError | None = None
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    @property
    def over(self) -> bool:
        """Whether nothing that arrives here will be read any more."""
        return self.closed or self.error is not None

    def transmit(self, item: bytes | Mark) -> None:
        """Put bytes, the end of the stream, or a reset on the way to the other end."""
        if self.mute:
            self.lost = True
            self._network.send_again(self)
            return
        arrives_s = self._clock.now_s + self._network.delay_s(self.link, item)
        self.arrives_s = max(arrives_s, self.arrives_s)
        self.under_way.append((self._clock.now_s, item))
        self._clock.call_at(self.arrives_s, self._due)

    def hand_over_kept_back(self) -> None:
        """Let what was kept back arrive, in order, one latency from now."""
        due, self.kept_back = self.kept_back, 0
        for _ in range(due):
            self.arrives_s = max(self._clock.now_s + self._network.delay_s(self.link), self.arrives_s)
            self._clock.call_at(self.arrives_s, self._due)

    def _due(self) -> None:
        if self.link.blocked:
            self.kept_back += 1
        elif self.under_way:
            sent_s, item = self.under_way.popleft()
            if isinstance(item, bytes) and not self.other.over:
                self._network.traffic_on(self.link).note(sent_s, self._clock.now_s)
            self.other.receive(item)

    def receive(self, item: bytes | Mark) -> None:
        """Take what arrived from the other end."""
        if self.error is not None:
            return
        if isinstance(item, bytes):
            if self.closed:
                # Nobody will read it: the kernel of a closed socket answers data with a reset.
                self.transmit(Mark.RESET)
                return
            self.arrived += item
        elif item is Mark.END:
            self.eof = True
        else:
            self.fail(errno.ECONNRESET)
            return
        self.readers.unpark_all()

    def take(self, count: int) -> bytes:
        """Remove up to `count` arrived bytes, opening the other end's window."""
        data = bytes(self.arrived[:count])
        del self.arrived[:count]
        self.other.unread -= len(data)
        if self.other.writers:
            self.other.writers.unpark_all()
        return data

    def fail(self, number: int) -> None:
        """Break this end: bytes that arrived can still be read, then every call raises."""
        if self.error is None:
            self.error = os_error(number)
            self.under_way.clear()
            self.kept_back = 0
            self.readers.unpark_all()
            self.writers.unpark_all()
            self._network.forget(self)

    def silence(self) -> None:
        """Let everything vanish that is under way from here, or will be sent."""
        self.mute = True
        self.lost = self.lost or bool(self.under_way)
        self.under_way.clear()
        self.kept_back = 0

    def die(self) -> None:
        """Break this end because its machine goes down: what arrived and was not read is gone too."""
        self.arrived.clear()
        if not self.closed:
            self.fail(errno.ENETDOWN)

    def close(self) -> None:
        """Read and send no more: the other end sees the end of the stream, or a reset if unread data had arrived."""
        if self.closed:
            return
        self.closed = True
        if self.error is None:
            if self.arrived:
                self.transmit(Mark.RESET)  # RFC 2525, section 2.17
            elif not self.shut:
                self.transmit(Mark.END)
            self.shut = True
        self.readers.unpark_all()
        self.writers.unpark_all()
        self._network.forget(self)
