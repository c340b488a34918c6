"""One connection through the proxy: a client's, and that to upstream made for it."""

import contextlib
import enum
import errno
import math
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio

from simulator.live.framing import Finder, Framing
from simulator.live.gate import Gate
from simulator.live.lane import PIECE_S, Lane

__all__ = ["BUFFER_BYTES_MAX", "CHUNK_BYTES", "Link", "Pipe", "Route"]

BUFFER_BYTES_MAX = 1024 * 1024
CHUNK_BYTES = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() sends RST instead of FIN


class _End(enum.Enum):
    """How a stream of bytes ends. It waits in line behind the bytes, so a fault keeps it back as well."""

    CLOSED = enum.auto()
    RESET = enum.auto()
    HUNG_UP = enum.auto()  # by the network, which closes both sides


class Pipe:
    """One direction of one connection: a queue between a reading and a writing task.

    On a healthy lane the reading task hands bytes to the sink itself: one wake-up a chunk.
    """

    def __init__(self, link: "Link", lane: Lane, source: socket.socket, sink: socket.socket, finder: Finder) -> None:
        self.changed = trio.lowlevel.ParkingLot()
        self.gate = Gate(finder, lane.armed, self.changed)
        self.kept_bytes = 0
        self.is_finished = False
        self.is_swallowing = False
        self.lane = lane
        self.link = link
        self.limited_bytes = 0  # those that count towards the lane's limit
        self._is_ending = False  # the network hangs up: nobody receives what comes after
        self._free_at_s = -math.inf  # when the line has carried what was handed on
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes | _End]] = deque()  # when it is due, and what

    async def read(self) -> None:
        """Take what the source sends, until its end or until the buffer is full."""
        while not self._is_ending:
            await trio.lowlevel.wait_readable(self._source)
            try:
                chunk = self._source.recv(CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                self.keep(_End.RESET)
                return
            if self.is_swallowing:
                self.link.drop()
            if not chunk:
                self.keep(_End.CLOSED)
                return
            if self.is_swallowing:
                continue
            self.gate.receive(chunk)
            sent = self._send(chunk) if self.lane.conditions.is_healthy and not self._queue else 0
            if sent < len(chunk):
                self.keep(chunk[sent:])
            while self.kept_bytes >= BUFFER_BYTES_MAX:
                await self.changed.park()

    async def write(self) -> None:
        """Hand on what was kept, in order, each when the lane is open and its time has come."""
        while True:
            due_at_s = self._due_at_s()
            if due_at_s > trio.current_time():
                with trio.move_on_at(due_at_s):
                    await self.changed.park()
            elif not self._hand_on(due_at_s):
                # The fault state may change while the sink is full, so the loop looks at it anew afterwards.
                await trio.lowlevel.wait_writable(self._sink)

    def keep(self, item: bytes | _End) -> None:
        """Put an item last in the queue, due after the lane's latency and after all that is before it."""
        if self.is_swallowing or self._is_ending:
            return
        conditions, now_s = self.lane.conditions, trio.current_time()
        if conditions.discard_s is not None:
            self.discard(0.0 if isinstance(item, _End) else conditions.discard_s)
        elif conditions.reset_s is not None:
            self.discard(conditions.reset_s)
            self._is_ending = True
        elif isinstance(item, _End):
            self._queue.append((now_s + conditions.close_s, item))
        else:
            latency_s = conditions.latency_s + self.link.random.uniform(0.0, conditions.jitter_s)
            self._keep_chunk(item, now_s + latency_s)
        self.changed.unpark_all()

    def swallow(self) -> None:
        """Drop what is kept and all that comes, the end included: nobody receives it any more."""
        self.is_swallowing = True
        if self._queue:
            self.link.drop()
        self._queue.clear()
        self.kept_bytes = 0
        self.release_messages()
        self.changed.unpark_all()

    def release_messages(self) -> None:
        """Let go of the message that is kept back here, if one is."""
        for hold in [*self.gate.holds]:
            hold.release()

    def hasten(self, latency_s: float, close_s: float) -> None:
        """Let no bytes, and no end of the source, wait for longer than this from now."""
        now_s = trio.current_time()
        limits_s = {_End.CLOSED: now_s + close_s, _End.RESET: now_s + close_s, _End.HUNG_UP: math.inf}
        self._queue = deque(
            (min(due_at_s, limits_s[item] if isinstance(item, _End) else now_s + latency_s), item)
            for due_at_s, item in self._queue
        )

    def discard(self, timeout_s: float) -> None:
        """Drop what is kept, and hang up so much later."""
        if not (self.is_swallowing or self._is_ending or self.is_finished):
            self._queue = deque([(trio.current_time() + timeout_s, _End.HUNG_UP)])
            self.kept_bytes = 0
            self.release_messages()
            self.changed.unpark_all()

    def hang_up_if_lost(self) -> None:
        """Hang up now if that is all that is left to do, as bytes were discarded."""
        if self._queue and self._queue[0][1] is _End.HUNG_UP:
            self._queue[0] = (trio.current_time(), _End.HUNG_UP)
            self._is_ending = True
            self.changed.unpark_all()

    def _keep_chunk(self, chunk: bytes, due_at_s: float) -> None:
        conditions = self.lane.conditions
        if conditions.bytes_max < math.inf:
            chunk = chunk[: max(0, int(conditions.bytes_max) - self.limited_bytes)]
            self.limited_bytes += len(chunk)
            self._is_ending = self.limited_bytes >= conditions.bytes_max
        if chunk:
            self._queue.extend((due_at_s, each) for each in conditions.sliced(chunk, self.link.random))
            self.kept_bytes += len(chunk)
        if self._is_ending:
            self._queue.append((-math.inf, _End.HUNG_UP))

    def _due_at_s(self) -> float:
        """Return when the first item, or as much of it as goes on in one piece, has got through the line."""
        conditions = self.lane.conditions
        if not self._queue or not conditions.is_open or self.gate.holds:
            return math.inf
        due_at_s, item = self._queue[0]
        if isinstance(item, _End):
            return due_at_s
        free_at_s = self._free_at_s + conditions.slice_pause_s
        return max(due_at_s, free_at_s) + conditions.takes_s(conditions.sent_at_once(item))

    def _hand_on(self, due_at_s: float) -> bool:
        """Give the first item to the sink, or return False when not all of it could pass: the rest is first again."""
        arrived_at_s, item = self._queue.popleft()
        if isinstance(item, _End):
            self._end(item)
            return True
        conditions = self.lane.conditions
        count = conditions.sent_at_once(item)
        sent = self._send(item[:count])
        if self.is_swallowing:  # the sink was lost just now
            return True
        self.kept_bytes -= sent
        if sent < len(item):
            self._queue.appendleft((arrived_at_s, item[sent:]))
        if sent < count:
            return False
        # What woke up late makes good for it, but a line that stood still does not save up for a burst.
        self._free_at_s = max(due_at_s, trio.current_time() - PIECE_S)
        self.changed.unpark_all()
        return True

    def _send(self, chunk: bytes) -> int:
        free_bytes = self.gate.free_bytes(len(chunk))
        if not free_bytes:
            return 0
        try:
            sent = self._sink.send(chunk[:free_bytes])
        except BlockingIOError:
            return 0
        except OSError:
            self.link.lose(self)
            return 0
        self.gate.passed(sent)
        self.lane.passed_bytes += sent
        return sent

    def _end(self, end: _End) -> None:
        if end is _End.RESET or self.link.is_abrupt:
            self.link.reset()
            return
        if end is _End.HUNG_UP:
            self.swallow()
        try:
            # The other direction ends as well when the network hangs up: it reads no more from there.
            self._sink.shutdown(socket.SHUT_RDWR if end is _End.HUNG_UP else socket.SHUT_WR)
        except OSError:
            self.link.lose(self)
            return
        self.is_finished = True
        self.link.end_if_finished()


@attrs.frozen
class Route:
    """Where the connections of a proxy go: the lane to upstream, that back, upstream's address, and their framing."""

    forth: Lane
    back: Lane
    upstream: tuple[str, int]
    framing: Callable[[], Framing]


class Link:
    """A client's connection, and the connection to upstream made when `wait_connectable` returns."""

    def __init__(
        self,
        client: socket.socket,
        route: Route,
        chance: random.Random,
        wait_connectable: Callable[["Link"], Awaitable[None]],
    ) -> None:
        self.random = chance
        self.pipes: tuple[Pipe, ...] = ()
        self.is_silent = False
        self.is_abrupt = False  # whatever ends it is a reset
        self._has_dropped = False
        self._is_answered = False  # dead, though the network passes again: what is sent meets a reset
        self._route = route
        self._wait_connectable = wait_connectable
        self._ends = [client]  # and the socket to upstream, once connected
        self._is_finished = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Carry bytes until both directions have ended, or the connection is reset."""
        try:
            with self._scope:
                await self._wait_connectable(self)
                with contextlib.suppress(OSError):  # refused or unknown: the client is reset
                    await self._connect()
                    await self._carry()
        finally:
            for end in self._ends:
                if not self._is_finished:  # reset or cancelled: what was cut off must not look whole
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                end.close()

    def reset(self) -> None:
        """Send RST to both sides. What is kept is lost."""
        self.silence()  # a task that is about to run must not pass anything before it meets the cancellation
        self._scope.cancel()

    def hang_up(self) -> None:
        """Close both sides. What is kept is lost."""
        self._is_finished = not self.is_abrupt
        self.reset()

    def silence(self) -> None:
        """Carry nothing from now on, and tell nobody."""
        self.is_silent = True
        self._is_answered = False
        for pipe in self.pipes:
            pipe.swallow()

    def answer(self) -> None:
        """Let a dead connection be told so when a side sends, or has sent: its peer knows of none and resets it."""
        self._is_answered = True
        if self._has_dropped:
            self.reset()

    def drop(self) -> None:
        """Note that something a side has sent will never arrive."""
        self._has_dropped = True
        if self._is_answered:
            self.reset()

    def lose(self, broken: Pipe) -> None:
        """Note that the sink of a pipe is gone: its RST travels the other way, behind what waits there."""
        broken.swallow()
        for pipe in self.pipes:
            if pipe is not broken and pipe.is_swallowing:
                self.reset()  # the other side was lost before: nobody is left to be told in order
            elif pipe is not broken:
                pipe.keep(_End.RESET)

    def end_if_finished(self) -> None:
        """Close both sides once each has been told that the other one ended."""
        self._is_finished = all(pipe.is_finished for pipe in self.pipes)
        if self._is_finished:
            self._scope.cancel()

    async def _connect(self) -> None:
        # Not trio.open_tcp_stream: a reset must reach an upstream that accepted before we noticed. And plain
        # sockets do not yield to the scheduler at every send and receive, as Trio's do.
        host, port = self._route.upstream
        for family, kind, _, _, address in await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            upstream = socket.socket(family, kind)
            self._ends.append(upstream)
            upstream.setblocking(False)
            error = upstream.connect_ex(address)
            if error == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(upstream)
                error = upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not error:
                return
            self._ends.pop().close()
        raise ConnectionRefusedError

    async def _carry(self) -> None:
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        (client, upstream), route = self._ends, self._route
        framing = route.framing()
        self.pipes = (
            Pipe(self, route.forth, client, upstream, framing.to_upstream),
            Pipe(self, route.back, upstream, client, framing.to_client),
        )
        for pipe in self.pipes:
            conditions = pipe.lane.conditions
            self.is_abrupt = self.is_abrupt or conditions.reset_s is not None
            if conditions.discard_s is not None:
                pipe.discard(conditions.discard_s)
        if self.is_silent:  # since while it was connecting
            self.silence()
        async with trio.open_nursery() as nursery:
            for pipe in self.pipes:
                nursery.start_soon(pipe.read)
                nursery.start_soon(pipe.write)
