"""A TCP proxy on loopback: through it a live replay injects network faults between clients and a service."""

import contextlib
import enum
import errno
import math
import random
import socket
import struct
from collections import deque

import attrs
import trio

from simulator.errors import EnvironmentFailedError

__all__ = ["BUFFER_BYTES_MAX", "Direction", "Proxy"]

BUFFER_BYTES_MAX = 1024 * 1024
CHUNK_BYTES = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() sends RST instead of FIN


class Direction(enum.Flag):
    """Which way bytes flow through the proxy."""

    TO_UPSTREAM = enum.auto()
    TO_CLIENT = enum.auto()
    BOTH = TO_UPSTREAM | TO_CLIENT


class _End(enum.Enum):
    """How a stream of bytes ends. It waits in line behind the bytes, so a fault keeps it back as well."""

    CLOSED = enum.auto()
    RESET = enum.auto()


@attrs.define(eq=False)
class _Lane:
    """What the network does to one direction of every connection, and how much went through it."""

    is_held: bool = False
    is_cut: bool = False
    latency_s: float = 0.0
    jitter_s: float = 0.0
    passed_bytes: int = 0

    @property
    def is_open(self) -> bool:
        return not (self.is_held or self.is_cut)

    @property
    def is_healthy(self) -> bool:
        return self.is_open and not (self.latency_s or self.jitter_s)


class _Pipe:
    """One direction of one connection: a queue between a reading and a writing task.

    On a healthy lane the reading task hands bytes to the sink itself: one wake-up a chunk.
    """

    def __init__(self, link: "_Link", lane: _Lane, source: socket.socket, sink: socket.socket) -> None:
        self.changed = trio.lowlevel.ParkingLot()
        self.kept_bytes = 0
        self.is_finished = False
        self.is_swallowing = False
        self.lane = lane
        self.link = link
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes | _End]] = deque()  # when it is due, and what

    async def read(self) -> None:
        """Take what the source sends, until its end or until the buffer is full."""
        while True:
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
            sent = self._send(chunk) if self.lane.is_healthy and not self._queue else 0
            if sent < len(chunk):
                self.keep(chunk[sent:])
            while self.kept_bytes >= BUFFER_BYTES_MAX:
                await self.changed.park()

    async def write(self) -> None:
        """Hand on what was kept, in order, each when the lane is open and its time has come."""
        while True:
            due_at_s = self._queue[0][0] if self._queue and self.lane.is_open else math.inf
            if due_at_s > trio.current_time():
                with trio.move_on_at(due_at_s):
                    await self.changed.park()
            elif not self._hand_on():
                # The fault state may change while the sink is full, so the loop looks at it anew afterwards.
                await trio.lowlevel.wait_writable(self._sink)

    def keep(self, item: bytes | _End) -> None:
        """Put an item last in the queue, due after the lane's latency and after all that is before it."""
        if self.is_swallowing:
            return
        latency_s = self.lane.latency_s + self.link.random.uniform(0.0, self.lane.jitter_s)
        self._queue.append((trio.current_time() + latency_s, item))
        if isinstance(item, bytes):
            self.kept_bytes += len(item)
        self.changed.unpark_all()

    def swallow(self) -> None:
        """Drop what is kept and all that comes, the end included: nobody receives it any more."""
        self.is_swallowing = True
        if self._queue:
            self.link.drop()
        self._queue.clear()
        self.kept_bytes = 0
        self.changed.unpark_all()

    def hasten(self, latency_s: float) -> None:
        """Let nothing that is kept wait for longer than this from now."""
        limit_s = trio.current_time() + latency_s
        self._queue = deque((min(due_at_s, limit_s), item) for due_at_s, item in self._queue)

    def _hand_on(self) -> bool:
        """Give the first item to the sink, or return False when that is full: the rest is first again."""
        due_at_s, item = self._queue.popleft()
        if isinstance(item, _End):
            self._end(item)
            return True
        sent = self._send(item)
        if self.is_swallowing:  # the sink was lost just now
            return True
        self.kept_bytes -= sent
        if sent < len(item):
            self._queue.appendleft((due_at_s, item[sent:]))
            return False
        self.changed.unpark_all()
        return True

    def _send(self, chunk: bytes) -> int:
        try:
            sent = self._sink.send(chunk)
        except BlockingIOError:
            return 0
        except OSError:
            self.link.lose(self)
            return 0
        self.lane.passed_bytes += sent
        return sent

    def _end(self, end: _End) -> None:
        if end is _End.RESET:
            self.link.reset()
            return
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.link.lose(self)
            return
        self.is_finished = True
        self.link.end_if_finished()


class _Link:
    """A client's connection, and the connection to upstream made for it."""

    def __init__(self, proxy: "Proxy", client: socket.socket) -> None:
        self.random = proxy._random
        self.pipes: tuple[_Pipe, ...] = ()
        self.is_silent = False
        self._has_dropped = False
        self._is_answered = False  # dead, though the network passes again: what is sent meets a reset
        self._proxy = proxy
        self._ends = [client]  # and the socket to upstream, once connected
        self._is_finished = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Carry bytes until both directions have ended, or the connection is reset."""
        try:
            with self._scope:
                await self._proxy._wait_connectable(self)
                with contextlib.suppress(OSError):  # refused or unknown: the client is reset
                    await self._connect()
                    await self._carry()
        finally:
            del self._proxy._links[self]
            for end in self._ends:
                if not self._is_finished:  # reset or cancelled: what was cut off must not look whole
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                end.close()

    def reset(self) -> None:
        """Send RST to both sides. What is kept is lost."""
        self.silence()  # a task that is about to run must not pass anything before it meets the cancellation
        self._scope.cancel()

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

    def lose(self, broken: _Pipe) -> None:
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
        host, port = self._proxy.upstream
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
        (client, upstream), lanes = self._ends, self._proxy._lanes
        self.pipes = (
            _Pipe(self, lanes[Direction.TO_UPSTREAM], client, upstream),
            _Pipe(self, lanes[Direction.TO_CLIENT], upstream, client),
        )
        if self.is_silent:  # since while it was connecting
            self.silence()
        async with trio.open_nursery() as nursery:
            for pipe in self.pipes:
                nursery.start_soon(pipe.read)
                nursery.start_soon(pipe.write)


class Proxy:
    """A TCP proxy on a loopback address in front of one upstream, with faults that can be undone.

    Bytes arrive in order or the connection fails. Half-closes and resets are passed on. Each direction of a
    connection keeps back at most BUFFER_BYTES_MAX (and one chunk), then its sender is not read any further.
    Faults may be set before `run`, are idempotent, and compose; `heal` undoes all of them.

    Not modelled: TCP beneath its bytes. The proxy's kernel acknowledges what is kept back or swallowed:
    retransmission timeouts and keepalives never notice, and a connect during `cut` succeeds. A reset that
    follows a close of the same side is noticed only by the next send to that side.
    """

    def __init__(self, upstream: tuple[str, int], *, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> None:
        self.upstream = upstream
        self.host = host
        self.port = port
        self.connections = 0
        self._lanes = {Direction.TO_UPSTREAM: _Lane(), Direction.TO_CLIENT: _Lane()}
        self._random = random.Random(seed)
        self._links: dict[_Link, None] = {}  # in order of arrival
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

    def bytes_passed(self, direction: Direction) -> int:
        """How many bytes were handed on so far."""
        return sum(self._lanes[way].passed_bytes for way in direction)

    def bytes_kept(self, direction: Direction) -> int:
        """How many bytes the proxy has received and keeps back now."""
        lanes = [self._lanes[way] for way in direction]
        return sum(pipe.kept_bytes for pipe in self._pipes() if pipe.lane in lanes)

    def cut(self, direction: Direction = Direction.BOTH) -> None:
        """Partition the network: bytes are kept back, and new connections do not reach upstream."""
        for way in direction:
            self._lanes[way].is_cut = True

    def mend(self) -> None:
        """Undo `cut`: what was kept back goes on, and upstream sees the connections made meanwhile."""
        for lane in self._lanes.values():
            lane.is_cut = False
        self._wake()

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

    def hold(self, direction: Direction) -> None:
        """Keep back the bytes (and the close) of present and new connections in a direction."""
        for way in direction:
            self._lanes[way].is_held = True

    def release(self, direction: Direction) -> None:
        """Undo `hold`: what was kept back goes on, in order."""
        for way in direction:
            self._lanes[way].is_held = False
        self._wake()

    def delay(self, latency_s: float, *, jitter_s: float = 0.0, direction: Direction = Direction.BOTH) -> None:
        """Add latency, and up to `jitter_s` more, to every chunk in a direction. `delay(0)` undoes it.

        Order is kept, and chunks under way do not wait for each other: only the buffer limits the throughput.
        Lowering the latency hastens those that wait.
        """
        lanes = [self._lanes[way] for way in direction]
        for lane in lanes:
            lane.latency_s, lane.jitter_s = latency_s, jitter_s
        for pipe in self._pipes():
            if pipe.lane in lanes:
                pipe.hasten(latency_s + jitter_s)
        self._wake()

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
        """Undo every fault. Silenced connections are reset: their bytes are lost."""
        for link in self._links:
            if link.is_silent:
                link.reset()
        self.delay(0.0)
        self.release(Direction.BOTH)
        self.mend()
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
            link = _Link(self, client)
            self._links[link] = None
            nursery.start_soon(link.run)

    async def _wait_connectable(self, link: _Link) -> None:
        while link.is_silent or any(lane.is_cut for lane in self._lanes.values()):
            await self._changed.park()

    def _pipes(self) -> list[_Pipe]:
        return [pipe for link in self._links for pipe in link.pipes]

    def _wake(self) -> None:
        self._changed.unpark_all()
        for pipe in self._pipes():
            pipe.changed.unpark_all()
