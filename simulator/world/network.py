"""The simulated network: hosts with addresses, directed links between them, and TCP connections over the links.

TCP semantics hold: the bytes of a connection arrive in order, or the connection fails. Not modelled: bandwidth,
loss and retransmission timing (a partition keeps bytes back and hands them over when it heals), IPv6, UDP.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator

import attrs
import trio

from simulator.world.clock import VirtualClock
from simulator.world.weather import Weather

__all__ = ["Connection", "End", "Link", "Listener", "Network", "os_error"]

LOOPBACK_LATENCY_S = 0.000_02
WINDOW_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 127.0  # Linux gives up after six retransmitted SYNs
FIRST_EPHEMERAL_PORT = 49_152


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


@attrs.define(eq=False)
class Listener:
    """A socket that accepts connections to one port of one host."""

    host: str
    port: int
    queue: deque["End"] = attrs.field(factory=deque)
    waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    closed: bool = False


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
        self.under_way: deque[bytes | None] = deque()  # to the other end; None is the end of the stream
        self.kept_back = 0  # how many of `under_way` were due while the link was blocked
        self.arrives_s = 0.0  # when the last of `under_way` arrives: order is kept by never being earlier
        self.unread = 0  # bytes sent that the other end has not read: the flow-control window
        self.eof = False
        self.shut = False
        self.closed = False
        self.mute = False  # half-open: what is sent vanishes
        self.error: OSError | None = None
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    def transmit(self, item: bytes | None) -> None:
        """Put bytes, or the end of the stream, on the way to the other end."""
        if self.mute:
            self._network.sent_into_silence(self)
            return
        arrives_s = self._clock.now_s + self._network.delay_s(self.link)
        self.arrives_s = max(arrives_s, self.arrives_s)
        self.under_way.append(item)
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
            self.other.receive(self.under_way.popleft())

    def receive(self, item: bytes | None) -> None:
        """Take what arrived from the other end."""
        if self.error is not None:
            return
        if item is None:
            self.eof = True
        elif self.closed:
            # Nobody will read it: the kernel of a closed socket answers data with a reset.
            self.other.fail(errno.ECONNRESET)
            return
        else:
            self.arrived += item
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

    def discard(self) -> None:
        """Drop what arrived and was not read, as when the machine it was on goes down."""
        self.arrived.clear()


@attrs.frozen(eq=False)
class Connection:
    """A TCP connection, by its two ends."""

    client: End
    server: End

    def ends(self) -> tuple[End, End]:
        """Both ends, the client's first."""
        return (self.client, self.server)


class Network:
    """All hosts' addresses, links, listeners and connections of one world."""

    def __init__(self, clock: VirtualClock, weather: Weather, latency_s: float) -> None:
        self.clock = clock
        self.latency_s = latency_s
        self._weather = weather
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._connections: dict[
            Connection, None
        ] = {}  # a dict for its order: what iterates must not follow ids
        self._delayed_connects: dict[Link, list[Callable[[], None]]] = {}
        self._down: dict[
            str, bool
        ] = {}  # host -> whether it is down silently (else its kernel still refuses)
        self._next_port: dict[str, int] = {}

    # Names and addresses

    def add_host(self, name: str) -> str:
        """Give a host its address, the same for the same order of hosts, and return it."""
        number = len(self._addresses) + 1
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        self._addresses[name] = address
        self._names[address] = name
        return address

    def address_of(self, name: str) -> str | None:
        """Return the address of a host name, or None for a name that does not exist."""
        return self._addresses.get(name)

    def host_at(self, address: str, own: str) -> str | None:
        """Return the host with an address; loopback and the unspecified address are the asking host itself."""
        if address.startswith("127.") or address == "0.0.0.0":
            return own
        return self._names.get(address)

    def ephemeral_port(self, host: str) -> int:
        """Return the next unused local port of a host."""
        port = self._next_port.get(host, FIRST_EPHEMERAL_PORT)
        self._next_port[host] = port + 1
        return port

    # Links

    def link(self, source: str, destination: str) -> Link:
        """Return the directed link between two hosts, made on first use."""
        link = self._links.get((source, destination))
        if link is None:
            latency_s = LOOPBACK_LATENCY_S if source == destination else self.latency_s
            link = self._links[source, destination] = Link(source, destination, latency_s)
        return link

    def delay_s(self, link: Link) -> float:
        """Return how long a message that is sent now takes over the link."""
        nominal = link.latency_s
        if not self._weather.calm and link.source != link.destination:
            nominal += self._weather.jitter_s(nominal)
        return nominal + link.extra_latency_s

    def block(self, link: Link) -> None:
        """Keep back everything on the link: a partition, a hold, or one side of a frozen host."""
        link.blocked += 1

    def unblock(self, link: Link) -> None:
        """Undo one `block`; with the last, hand over in order what was kept back."""
        link.blocked -= 1
        if link.blocked == 0:
            for end in self._ends_on(link):
                end.hand_over_kept_back()
            for connect in self._delayed_connects.pop(link, ()):
                self.clock.call_after(self.delay_s(link), connect)

    def silence(self, one: str, other: str) -> None:
        """Kill the connections between two hosts without telling either (half-open), and every new one too."""
        for link in (self.link(one, other), self.link(other, one)):
            link.silenced += 1
            for end in self._ends_on(link):
                end.mute = True
                end.under_way.clear()
                end.kept_back = 0

    def unsilence(self, one: str, other: str) -> None:
        """Let packets pass again. Connections that died stay dead: what they send now is answered with a reset."""
        for link in (self.link(one, other), self.link(other, one)):
            link.silenced -= 1
            if link.silenced == 0:
                for connect in self._delayed_connects.pop(link, ()):
                    self.clock.call_after(self.delay_s(link), connect)

    def sent_into_silence(self, end: End) -> None:
        """Answer bytes sent on a dead connection: nothing while the silence lasts, then a reset one round trip later."""
        if not end.link.silenced and end.link.destination not in self._down:
            self.clock.call_after(2 * end.link.latency_s, lambda: end.fail(errno.ECONNRESET))

    def reset(self, one: str, other: str) -> int:
        """Break all connections between two hosts; both sides are told. Returns how many there were."""
        broken = [c for c in self._connections if {c.client.host, c.server.host} == {one, other}]
        for connection in broken:
            for end in connection.ends():
                end.fail(errno.ECONNRESET)
            self._connections.pop(connection, None)
        return len(broken)

    # Hosts that go down and come back

    def cut(self, host: str, *, silently: bool) -> None:
        """Take a host off the network at this instant: its peers see a reset, or nothing at all."""
        self._down[host] = silently
        for listener in [each for each in self._listeners.values() if each.host == host]:
            self.close_listener(listener)
        for connection in [c for c in self._connections if host in (c.client.host, c.server.host)]:
            mine, theirs = connection.ends() if connection.client.host == host else connection.ends()[::-1]
            if silently:
                theirs.mute = True
                theirs.under_way.clear()
            elif theirs.host != host:
                self.clock.call_after(mine.link.latency_s, lambda end=theirs: end.fail(errno.ECONNRESET))  # type: ignore[misc]
            mine.under_way.clear()
            mine.discard()
            mine.fail(errno.ENETDOWN)
            self._connections.pop(connection, None)

    def revive(self, host: str) -> None:
        """Put a host back on the network, with no connections."""
        self._down.pop(host, None)

    # Connections

    def listen(self, host: str, port: int) -> Listener:
        """Accept connections to a port. Raises OSError (EADDRINUSE) when another socket does."""
        if (host, port) in self._listeners:
            raise os_error(errno.EADDRINUSE)
        listener = self._listeners[host, port] = Listener(host, port)
        return listener

    def close_listener(self, listener: Listener) -> None:
        """Stop accepting; connections that nobody accepted are reset."""
        listener.closed = True
        if self._listeners.get((listener.host, listener.port)) is listener:
            del self._listeners[listener.host, listener.port]
        while listener.queue:
            listener.queue.popleft().other.fail(errno.ECONNRESET)
        listener.waiting.unpark_all()

    def connect(
        self, source: str, port: int, address: tuple[str, int], done: Callable[[End | OSError], None]
    ) -> None:
        """Open a connection from a host; `done` is called once with the client's end or the error."""
        destination = self.host_at(address[0], source)
        answered = False

        def answer(result: End | OSError) -> None:
            nonlocal answered
            if not answered:
                answered = True
                timeout.cancel()
                done(result)

        timeout = self.clock.call_after(CONNECT_TIMEOUT_S, lambda: answer(os_error(errno.ETIMEDOUT)))
        if destination is None:
            return  # no such machine: silence, then a timeout, as on a real network
        there, back = self.link(source, destination), self.link(destination, source)

        def syn_arrives() -> None:
            if answered:
                return
            if there.blocked or there.silenced or self._down.get(destination, False):
                self._delayed_connects.setdefault(there, []).append(syn_arrives)
                return
            listener = self._listeners.get((destination, address[1]))
            if listener is None or there.refusing:
                self.clock.call_after(self.delay_s(back), lambda: answer(os_error(errno.ECONNREFUSED)))
                return
            client = End(self, there, (self._addresses.get(source, "127.0.0.1"), port))
            server = End(self, back, address)
            client.other, server.other = server, client
            self._connections[Connection(client, server)] = None
            listener.queue.append(server)
            listener.waiting.unpark()
            syn_ack_arrives(client)

        def syn_ack_arrives(client: End) -> None:
            if back.blocked:
                self._delayed_connects.setdefault(back, []).append(lambda: answer(client))
            else:
                self.clock.call_after(self.delay_s(back), lambda: answer(client))

        self.clock.call_after(self.delay_s(there), syn_arrives)

    def retry_connects(self, host: str) -> None:
        """Let connection attempts that a silent host left unanswered try again, as retransmitted SYNs do."""
        for link in [link for link in self._delayed_connects if link.destination == host]:
            if not link.blocked and not link.silenced:
                for connect in self._delayed_connects.pop(link):
                    self.clock.call_after(self.delay_s(link), connect)

    def forget(self, end: End) -> None:
        """Drop a connection whose both ends are closed."""
        if end.closed and (end.other.closed or end.other.error is not None):
            for connection in [c for c in self._connections if end in (c.client, c.server)]:
                del self._connections[connection]

    def connections(self) -> Iterator[Connection]:
        """All connections that still have an open end."""
        return iter(self._connections)

    def _ends_on(self, link: Link) -> list[End]:
        """Ends that send over the link, oldest connection first."""
        return [end for c in self._connections for end in c.ends() if end.link is link]
