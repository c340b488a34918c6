"""A TCP proxy on loopback: through it a live replay injects network faults between clients and a service."""

import math
import random
import socket
from collections.abc import Callable, Iterable

import attrs
import trio

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.framing import Framing, chunks
from simulator.live.gate import MessageHold
from simulator.live.lane import HEALTHY, Direction, Lane
from simulator.live.link import BUFFER_BYTES_MAX, Link, Pipe, Route

__all__ = ["BUFFER_BYTES_MAX", "Direction", "Proxy"]


class Proxy:
    """A TCP proxy on a loopback address in front of one upstream, with faults that can be undone.

    Bytes arrive in order or the connection fails. Half-closes and resets are passed on. Each direction of a
    connection keeps back at most BUFFER_BYTES_MAX (and one chunk), then its sender is not read any further.
    Faults may be set before `run`, are idempotent, and compose; `heal` undoes all of them. `framing` makes what
    knows where the messages of one connection end (see `framing_of`); it matters to `hold_message` only.

    Not modelled: TCP beneath its bytes. The proxy's kernel acknowledges what is kept back or swallowed:
    retransmission timeouts and keepalives never notice, and a connect during `cut` succeeds. A reset that
    follows a close of the same side is noticed only by the next send to that side.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        framing: Callable[[], Framing] = chunks,
    ) -> None:
        self.upstream = upstream
        self.host = host
        self.port = port
        self.connections = 0
        self._lanes = {Direction.TO_UPSTREAM: Lane(), Direction.TO_CLIENT: Lane()}
        self._framing = framing
        self._random = random.Random(seed)
        self._links: dict[Link, None] = {}  # in order of arrival
        self._listener: socket.socket | None = None
        self._is_refusing = False
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `port` is known when started. A taken port is an EnvironmentFailedError."""
        self._listener = self._bind()
        try:
            if not self._is_refusing:
                self._listener.listen()
            async with trio.open_nursery() as nursery:
                task_status.started()
                await self._accept(nursery)
        finally:
            self._listener.close()
            self._listener = None

    @property
    def connections_open(self) -> int:
        """How many connections of clients the proxy has now, silenced ones included."""
        return len(self._links)

    @property
    def is_refusing(self) -> bool:
        """Whether new connections are refused."""
        return self._is_refusing

    def bytes_passed(self, direction: Direction) -> int:
        """How many bytes were handed on so far."""
        return sum(self._lanes[way].passed_bytes for way in direction)

    def bytes_kept(self, direction: Direction) -> int:
        """How many bytes the proxy has received and keeps back now."""
        return sum(pipe.kept_bytes for pipe in self._pipes(direction))

    def cut(self, direction: Direction = Direction.BOTH) -> None:
        """Partition the network: bytes are kept back, and new connections do not reach upstream."""
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, is_cut=True)

    def mend(self) -> None:
        """Undo `cut`: what was kept back goes on, and upstream sees the connections made meanwhile."""
        for lane in self._along(Direction.BOTH):
            lane.conditions = attrs.evolve(lane.conditions, is_cut=False)
        self._wake()

    async def wait_open(self) -> None:
        """Wait until bytes pass in both directions, as what opens a connection has to."""
        while not all(lane.conditions.is_open for lane in self._lanes.values()):
            await self._changed.park()

    def refuse(self) -> None:
        """Refuse new connections, as a host whose server has ended. Present ones go on."""
        self._is_refusing = True
        if self._listener is not None:
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()
            # Bound without listening: connects are refused, and nobody else can take the port meanwhile.
            self._listener = self._bind()

    def admit(self) -> None:
        """Undo `refuse`, on the same port."""
        self._is_refusing = False
        if self._listener is not None:
            self._listener.listen()
        self._wake()

    def reset(self) -> None:
        """Send RST to both sides of every present connection; what was kept back of them is lost."""
        for link in self._links:
            link.reset()

    def hang_up(self) -> None:
        """Close both sides of every present connection, as a middlebox does; what was kept back of them is lost."""
        for link in self._links:
            link.hang_up()

    def hold(self, direction: Direction) -> None:
        """Keep back the bytes (and the close) of present and new connections in a direction."""
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, is_held=True)

    def release(self, direction: Direction) -> None:
        """Undo `hold`: what was kept back goes on, in order."""
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, is_held=False)
        self._wake()

    def hold_message(self, direction: Direction, nth: int = 1) -> MessageHold:
        """Keep back one message and what follows it on its connection, until it is released. Each call is a hold more.

        Of the messages that begin to pass in that direction from now on, on any connection, it is the nth, from 1:
        in the order in which their turn comes, those that other holds keep back included. What is before it passes
        at once, and other connections go on. Raises InputError for an nth below 1.
        """
        if nth < 1:
            raise InputError(f"hold_message counts messages from 1. nth={nth}. The next message is the 1st.")
        armed = tuple(lane.armed for lane in self._along(direction))
        hold = MessageHold(nth, armed)
        for holds in armed:
            holds.append(hold)
        return hold

    def messages_awaited(self, direction: Direction) -> int:
        """Return how many holds of `hold_message` wait for a message that has not come."""
        return len({id(hold) for lane in self._along(direction) for hold in lane.armed})

    def release_messages(self, direction: Direction = Direction.BOTH) -> None:
        """Release all that `hold_message` keeps back in a direction, and wait for none any longer."""
        for lane in self._along(direction):
            for hold in [*lane.armed]:
                hold.release()
        for pipe in self._pipes(direction):
            pipe.release_messages()

    def delay(
        self,
        latency_s: float,
        *,
        jitter_s: float = 0.0,
        close_s: float | None = None,
        direction: Direction = Direction.BOTH,
    ) -> None:
        """Add latency, and up to `jitter_s` more, to every chunk in a direction. `delay(0)` undoes it.

        A close takes the latency as well, or `close_s` instead. Order is kept, and chunks under way do not wait for
        each other: only the buffer limits the throughput. Lowering the latency hastens those that wait.
        """
        close_s = latency_s if close_s is None else close_s
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, latency_s=latency_s, jitter_s=jitter_s, close_s=close_s)
        for pipe in self._pipes(direction):
            pipe.hasten(latency_s + jitter_s, close_s)
        self._wake()

    def throttle(self, bytes_per_s: float, *, direction: Direction = Direction.BOTH) -> None:
        """Carry no more than so many bytes a second, per connection. 0 lets none pass; `throttle(math.inf)` undoes it.

        Bytes arrive when the last of their piece has got through, as long as it takes; a piece is what gets through
        in a tenth of a second.
        """
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, bytes_per_s=bytes_per_s)
        self._wake()

    def slice(
        self,
        bytes_average: int,
        *,
        variation_bytes: int = 0,
        pause_s: float = 0.0,
        direction: Direction = Direction.BOTH,
    ) -> None:
        """Cut chunks into slices of about this size, and pause after each. `slice(0)` undoes it.

        None is longer than `bytes_average` and `variation_bytes`, which is less than the average.
        """
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(
                lane.conditions,
                slice_bytes=bytes_average,
                slice_variation_bytes=variation_bytes,
                slice_pause_s=pause_s,
            )
        self._wake()

    def limit_data(self, bytes_max: float, *, direction: Direction = Direction.BOTH) -> None:
        """Close a connection when so many bytes went in a direction, from now on. `limit_data(math.inf)` undoes it.

        Another limit goes on counting where the last one is. Both sides are closed, after all that was before.
        """
        for pipe in self._pipes(direction):
            if pipe.lane.conditions.bytes_max == math.inf:
                pipe.limited_bytes = 0
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, bytes_max=bytes_max)

    def discard(self, direction: Direction, *, timeout_s: float = math.inf) -> None:
        """Lose the bytes of present and new connections in a direction, what is kept back included.

        A connection on which none came for `timeout_s` is closed. One that a side closes or resets is closed.
        """
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, discard_s=timeout_s)
        for pipe in self._pipes(direction):
            pipe.discard(timeout_s)

    def deliver(self, direction: Direction) -> None:
        """Undo `discard`: connections that were there meanwhile are closed, as bytes of them may be missing."""
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, discard_s=None)
        for pipe in self._pipes(direction):
            pipe.hang_up_if_lost()

    def reset_on_data(self, after_s: float | None, *, direction: Direction = Direction.BOTH) -> None:
        """End a connection so long after the next bytes in a direction, which are lost. None undoes it.

        A connection made from now on is reset, whatever ends it; a present one is closed. This is what Toxiproxy does.
        """
        for lane in self._along(direction):
            lane.conditions = attrs.evolve(lane.conditions, reset_s=after_s)

    def silence(self) -> None:
        """Let present connections go dead: bytes are swallowed, no side learns even of the other's close."""
        for link in self._links:
            link.silence()

    def unsilence(self) -> None:
        """Let the network of silenced connections pass again. They stay dead, and are reset when a side sends.

        Those on which something was lost are reset at once, as TCP sends it again. Not modelled: that it does so at
        growing intervals.
        """
        for link in self._links:
            if link.is_silent:
                link.answer()

    def heal(self) -> None:
        """Undo every fault. Silenced connections are reset and discarded ones closed: their bytes are lost."""
        for link in self._links:
            if link.is_silent:
                link.reset()
        for lane in self._along(Direction.BOTH):
            lane.conditions = HEALTHY
        for pipe in self._pipes(Direction.BOTH):
            pipe.hasten(0.0, 0.0)
            pipe.hang_up_if_lost()
        self.release_messages()
        self.admit()

    def _bind(self) -> socket.socket:
        listener = socket.socket()
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            cure = "End what listens there, or use port 0."
            raise EnvironmentFailedError(f"proxy has no port: {error}. port={self.port}. {cure}") from error
        self.port = listener.getsockname()[1]
        return listener

    async def _accept(self, nursery: trio.Nursery) -> None:
        while True:
            while self._is_refusing:
                await self._changed.park()
            listener = self._listener
            assert listener is not None
            try:
                await trio.lowlevel.wait_readable(listener)
                if listener is not self._listener:
                    continue  # refused since it was readable
                client, _ = listener.accept()
            except (trio.ClosedResourceError, BlockingIOError, ConnectionAbortedError):
                continue  # refused meanwhile, or the client gave up before it was accepted
            self.connections += 1
            forth, back = self._lanes[Direction.TO_UPSTREAM], self._lanes[Direction.TO_CLIENT]
            route = Route(forth, back, self.upstream, self._framing)
            link = Link(client, route, self._random, self._wait_connectable)
            self._links[link] = None
            nursery.start_soon(self._carry, link)

    async def _carry(self, link: Link) -> None:
        try:
            await link.run()
        finally:
            del self._links[link]

    async def _wait_connectable(self, link: Link) -> None:
        while link.is_silent or any(lane.conditions.is_cut for lane in self._lanes.values()):
            await self._changed.park()

    def _along(self, direction: Direction) -> Iterable[Lane]:
        return [self._lanes[way] for way in direction]

    def _pipes(self, direction: Direction) -> list[Pipe]:
        lanes = self._along(direction)
        return [pipe for link in self._links for pipe in link.pipes if pipe.lane in lanes]

    def _wake(self) -> None:
        self._changed.unpark_all()
        for pipe in self._pipes(Direction.BOTH):
            pipe.changed.unpark_all()
