"""The simulated network: hosts with addresses, directed links between them, and TCP connections over the links.

TCP semantics hold: the bytes of a connection arrive in order, or the connection fails. Not modelled: bandwidth,
loss and retransmission timing (a partition keeps bytes back and hands them over when it heals), IPv6, UDP.
"""

import errno
from collections import Counter, deque
from collections.abc import Callable

import attrs
import trio

from simulator.traffic import Traffic
from simulator.world.clock import VirtualClock
from simulator.world.connection import End, Link, Mark, os_error
from simulator.world.weather import Weather

__all__ = ["Listener", "Network"]

LOOPBACK_LATENCY_S = 0.000_02
CONNECT_TIMEOUT_S = 127.0  # Linux gives up after six retransmitted SYNs
FIRST_EPHEMERAL_PORT = 49_152
LAST_EPHEMERAL_PORT = 65_535


@attrs.define(eq=False)
class Listener:
    """A socket that accepts connections to one port of one host."""

    host: str
    port: int
    address: str
    queue: deque["End"] = attrs.field(factory=deque)
    waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    closed: bool = False


class Network:
    """All hosts' addresses, links, listeners and connections of one world."""

    def __init__(self, clock: VirtualClock, weather: Weather, latency_between_s: Callable[[str, str], float]) -> None:
        self.clock = clock
        self._latency_between_s = latency_between_s
        self._weather = weather
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._shared: dict[str, list[str]] = {}  # a name that several hosts are behind -> their addresses
        self._resolved: Counter[tuple[str, str]] = Counter()  # how often a host asked for a shared name
        self._links: dict[tuple[str, str], Link] = {}
        self.traffic: dict[tuple[str, str], Traffic] = {}  # of links over which bytes have come
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._clients: dict[
            End, None
        ] = {}  # of all connections; a dict for its order: what iterates must not follow ids
        self._delayed_connects: dict[Link, list[Callable[[], None]]] = {}
        self._down: dict[str, bool] = {}  # host -> whether it is down silently (else its kernel still refuses)
        self._lives: Counter[str] = (
            Counter()
        )  # how often a host went down: what it began before is not for its next life
        self._frozen: Counter[str] = Counter()
        self._next_port: dict[str, int] = {}

    # Names and addresses

    def add_host(self, name: str, behind: str = "") -> str:
        """Give a host its address, the same for the same order of hosts, and return it."""
        number = len(self._addresses) + 1
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        self._addresses[name] = address
        self._names[address] = name
        if behind:
            self._shared.setdefault(behind, []).append(address)
        return address

    def addresses_of(self, name: str, own: str) -> list[str]:
        """Return the address of a host name, or those behind a shared name; none for a name that does not exist.

        Those of a shared name begin with another one each time that a host asks; which one is the first differs from
        host to host. A counter of each asker's own: what others ask does not change what it is led to.
        """
        if name in self._addresses:
            return [self._addresses[name]]
        shared = self._shared.get(name, [])
        if len(shared) > 1:
            turn = (list(self._addresses).index(own) + self._resolved[own, name]) % len(shared)
            self._resolved[own, name] += 1
            return shared[turn:] + shared[:turn]
        return shared

    def host_at(self, address: str, own: str) -> str | None:
        """Return the host with an address; loopback and the unspecified address are the asking host itself."""
        if address.startswith("127.") or address == "0.0.0.0":
            return own
        return self._names.get(address)

    def ephemeral_port(self, host: str) -> int:
        """Return the next unused local port of a host."""
        port = self._next_port.get(host, FIRST_EPHEMERAL_PORT)
        self._next_port[host] = port + 1 if port < LAST_EPHEMERAL_PORT else FIRST_EPHEMERAL_PORT
        return port if (host, port) not in self._listeners else self.ephemeral_port(host)

    # Links

    def link(self, source: str, destination: str) -> Link:
        """Return the directed link between two hosts, made on first use."""
        link = self._links.get((source, destination))
        if link is None:
            latency_s = LOOPBACK_LATENCY_S if source == destination else self._latency_between_s(source, destination)
            link = self._links[source, destination] = Link(source, destination, latency_s)
            if source != destination:
                link.blocked = self._frozen[source] + self._frozen[destination]
        return link

    def traffic_on(self, link: Link) -> Traffic:
        """Return what has come over a link, to note more of it."""
        return self.traffic.setdefault((link.source, link.destination), Traffic())

    def delay_s(self, link: Link, item: bytes | Mark | None = None) -> float:
        """Return how long a message that is sent now takes over the link; None is what opens a connection."""
        late_s = 0.0
        if link.source != link.destination:
            late_s = self._weather.late_s(link.source, link.destination, link.latency_s, item)
        return link.latency_s + late_s + link.extra_latency_s

    def block(self, link: Link) -> None:
        """Keep back everything on the link: a partition, a hold, or one side of a frozen host."""
        link.blocked += 1

    def unblock(self, link: Link) -> None:
        """Undo one `block`; with the last, hand over in order what was kept back."""
        link.blocked -= 1
        if link.blocked == 0:
            for end in self._ends_on(link):
                end.hand_over_kept_back()
            self._pass_again(link)

    def freeze(self, host: str) -> None:
        """Block every link to and from a host, also those that are made later."""
        self._frozen[host] += 1
        for link in self._links_of(host):
            self.block(link)

    def thaw(self, host: str) -> None:
        """Undo one `freeze`."""
        self._frozen[host] -= 1
        for link in self._links_of(host):
            self.unblock(link)

    def silence(self, one: str, other: str) -> None:
        """Kill the connections between two hosts without telling either (half-open), and every new one too."""
        for link in (self.link(one, other), self.link(other, one)):
            link.silenced += 1
            for end in self._ends_on(link):
                end.silence()

    def unsilence(self, one: str, other: str) -> None:
        """Let packets pass again. Connections that died stay dead: what is sent on them is answered with a reset."""
        for link in (self.link(one, other), self.link(other, one)):
            link.silenced -= 1
            if link.silenced == 0:
                self._pass_again(link)

    def send_again(self, end: End) -> None:
        """Answer bytes sent on a dead connection: with nothing while packets cannot pass, else with a reset.

        Real TCP sends again at growing intervals, so that the reset may come up to two minutes after packets can pass.
        """
        there, back = end.link, self.link(end.link.destination, end.link.source)
        if self._passes(there) and self._passes(back) and not end.over:
            self.clock.call_after(there.latency_s + back.latency_s, lambda: end.fail(errno.ECONNRESET))

    def reset(self, one: str, other: str) -> int:
        """Break all connections between two hosts; both sides are told. Returns how many there were."""
        broken = [client for client in self._clients if {client.host, client.other.host} == {one, other}]
        for client in broken:
            for end in (client, client.other):
                end.fail(errno.ECONNRESET)
        return len(broken)

    def _passes(self, link: Link) -> bool:
        return not (link.blocked or link.silenced or self._down.get(link.destination, False))

    def _pass_again(self, link: Link) -> None:
        """Send again what was lost on a link that packets may pass now."""
        if not self._passes(link):
            return
        for connect in self._delayed_connects.pop(link, ()):
            self.clock.call_after(self.delay_s(link), connect)
        for end in self._ends_on(link) + self._ends_on(self.link(link.destination, link.source)):
            if end.lost:
                self.send_again(end)

    def _links_of(self, host: str) -> list[Link]:
        return [link for ends, link in self._links.items() if host in ends and link.source != link.destination]

    # Hosts that go down and come back

    def cut(self, host: str, *, silently: bool) -> None:
        """Take a host off the network at this instant: its peers see a reset, or nothing at all."""
        self._down[host] = silently
        self._lives[host] += 1
        for listener in [each for each in self._listeners.values() if each.host == host]:
            self.close_listener(listener, tell=False)
        for client in [each for each in self._clients if host in (each.host, each.other.host)]:
            for mine in (client, client.other):
                if mine.host == host:
                    self._cut_end(mine, silently=silently)

    def _cut_end(self, end: End, *, silently: bool) -> None:
        told = not silently and not end.over  # what was closed or broken before has said so already
        end.die()
        if told:
            end.transmit(Mark.RESET)
        elif silently:
            end.silence()
            end.other.silence()

    def close_all(self, host: str) -> None:
        """Close all that a host has open, as the kernel does for a process that ended; what it had sent arrives.

        What is sent to it afterwards is answered with a reset, and connecting to it is refused.
        """
        for listener in [each for each in self._listeners.values() if each.host == host]:
            self.close_listener(listener)
        for client in list(self._clients):
            for mine in (client, client.other):
                if mine.host == host:
                    mine.close()

    def revive(self, host: str) -> None:
        """Put a host back on the network, with no connections; what a silent host left unanswered is sent again."""
        self._down.pop(host, None)
        for link in self._links_of(host):
            self._pass_again(link)

    # Connections

    def listen(self, host: str, port: int, address: str = "0.0.0.0") -> Listener:
        """Accept connections to a port. Raises OSError (EADDRINUSE) when another socket does."""
        if (host, port) in self._listeners:
            raise os_error(errno.EADDRINUSE)
        listener = self._listeners[host, port] = Listener(host, port, address)
        return listener

    def close_listener(self, listener: Listener, *, tell: bool = True) -> None:
        """Stop accepting; connections that nobody accepted are reset, if the machine is there to `tell`."""
        listener.closed = True
        if self._listeners.get((listener.host, listener.port)) is listener:
            del self._listeners[listener.host, listener.port]
        while listener.queue:
            end = listener.queue.popleft()
            if tell and not end.over:
                end.transmit(Mark.RESET)
                end.shut = True
                end.close()
        listener.waiting.unpark_all()

    def connect(
        self, source: str, port: int, address: tuple[str, int], done: Callable[[End | OSError], None]
    ) -> Callable[[], None]:
        """Open a connection from a host; `done` is called once with the client's end or the error.

        Returns what gives the attempt up: `done` is not called any more, and the other side sees a reset, if anything.
        """
        destination = self.host_at(address[0], source)
        life = self._lives[source]
        answered = False

        def answer(result: End | OSError) -> None:
            nonlocal answered
            if not answered:
                answered = True
                timeout.cancel()
                done(result)
            elif isinstance(result, End) and not result.over:
                result.transmit(Mark.RESET)
                result.shut = True
                result.close()

        def give_up() -> None:
            nonlocal answered
            answered = True
            timeout.cancel()

        timeout = self.clock.call_after(CONNECT_TIMEOUT_S, lambda: answer(os_error(errno.ETIMEDOUT)))
        if destination is None:
            return give_up  # no such machine: silence, then a timeout, as on a real network
        there, back = self.link(source, destination), self.link(destination, source)

        def syn_arrives() -> None:
            if answered:
                return
            if self._lives[source] != life:
                answer(os_error(errno.ENETDOWN))
            elif not self._passes(there):
                self._delayed_connects.setdefault(there, []).append(syn_arrives)
            elif (listener := self._listener_for(source, destination, address[1])) is None:
                self.clock.call_after(self.delay_s(back), lambda: answer(os_error(errno.ECONNREFUSED)))
            else:
                client = self._establish(there, back, port, address, listener)
                syn_ack_arrives(client)

        def syn_ack_arrives(client: End) -> None:
            if back.blocked:
                self._delayed_connects.setdefault(back, []).append(lambda: answer(client))
            else:
                self.clock.call_after(self.delay_s(back), lambda: answer(client))

        self.clock.call_after(self.delay_s(there), syn_arrives)
        return give_up

    def forget(self, end: End) -> None:
        """Drop a connection that is over at both ends."""
        if end.over and end.other.over:
            self._clients.pop(end, None)
            self._clients.pop(end.other, None)

    def count_connections(self) -> int:
        """How many connections are not over at both ends."""
        return len(self._clients)

    def _listener_for(self, source: str, destination: str, port: int) -> Listener | None:
        listener = self._listeners.get((destination, port))
        if listener is None or self.link(source, destination).refusing:
            return None
        only_own = listener.address.startswith("127.")
        return None if only_own and source != destination else listener

    def _establish(self, there: Link, back: Link, port: int, address: tuple[str, int], listener: Listener) -> End:
        client = End(self, there, (self._addresses[there.source], port))
        server = End(self, back, address)
        client.other, server.other = server, client
        self._clients[client] = None
        listener.queue.append(server)
        listener.waiting.unpark()
        return client

    def _ends_on(self, link: Link) -> list[End]:
        """Ends that send over the link, oldest connection first."""
        return [end for client in self._clients for end in (client, client.other) if end.link is link]
