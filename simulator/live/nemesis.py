"""Faults done to a live deployment: each as the deeds that it takes, on users' links by our own proxies."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

import trio

from simulator.fault import Fault, FaultKind
from simulator.live.deed import Deed
from simulator.live.proxy import Direction, Proxy

__all__ = ["LiveNemesis", "deeds_of", "strike_proxy"]


def strike_proxy(
    proxy: Proxy, action: str, way: Direction, seconds: float = 0.0, nth: int = 0, nursery: trio.Nursery | None = None
) -> None:
    """Do one thing to a proxy, by name: as a remote order has it. Raises KeyError for an unknown name.

    Who holds a message gives the `nursery` in which it is waited for.
    """
    match action:
        case "hold-message":
            assert nursery is not None
            nursery.start_soon(hold_message, proxy, way, nth, seconds)
        case "release-message":
            proxy.release_messages(way)
        case "hold":
            proxy.hold(way)
        case "release":
            proxy.release(way)
        case "refuse":
            proxy.refuse()
        case "admit":
            proxy.admit()
        case "reset":
            proxy.reset()
        case "delay":
            proxy.delay(seconds, direction=way)
        case "silence":
            proxy.silence()
            proxy.cut()
        case "unsilence":
            proxy.unsilence()
            proxy.mend()
        case _:
            raise KeyError(action)


async def hold_message(proxy: Proxy, way: Direction, nth: int, seconds: float) -> None:
    """Hold the nth message from now on for so long, or until it is released otherwise."""
    hold = proxy.hold_message(way, nth)
    await hold.wait_holding()
    await trio.sleep(seconds)
    hold.release()


class LiveNemesis:
    """The `Nemesis` of a deployment. A link is struck at its proxy: a user's own, or by the deployment's means.

    `do` does a deed to the deployment. `user_proxies` are by user and host. `latency_between_s` is what the link of two
    hosts takes in simulation, one way: `slow_all` makes the proxies take as long.
    """

    def __init__(
        self,
        do: Callable[[Deed], None],
        user_proxies: Mapping[tuple[str, str], Proxy],
        latency_between_s: Callable[[str, str], float],
        nursery: trio.Nursery | None = None,
    ) -> None:
        self._do = do
        self._nursery = nursery
        self._proxies = user_proxies
        self._latency_between_s = latency_between_s
        self._depth: Counter[tuple[str, ...]] = Counter()
        self._extra_s: defaultdict[tuple[str, str], float] = defaultdict(float)

    def slow_all(self, links: Iterable[tuple[str, str]]) -> None:
        """Give these links, in both directions, and each user's the latency of the simulation."""
        for (user, host), proxy in self._proxies.items():
            proxy.delay(self._latency_between_s(user, host))
        for source, destination in links:
            self.slow(source, destination, 0.0)
            self.slow(destination, source, 0.0)

    def crash(self, host: str, *, silently: bool) -> None:
        """Kill the host's process."""
        assert not silently, "a silent crash cannot be done to a process; it is refused as not expressible"
        self._depth["down", host] += 1
        self._do(Deed("crash", (host,)))
        for user in self._users_of(host):
            # Our own proxies would accept who connects meanwhile, and a client that is refused tries its next address.
            self._begin("refuse", user, host)

    def restart(self, host: str) -> None:
        """Undo one `crash`: after the last, and the last `terminate`, start the process again."""
        self.relaunch(host)
        for user in self._users_of(host):
            self._end("refuse", user, host)

    def terminate(self, host: str) -> None:
        """Tell the host's process to end (SIGTERM), without waiting until it has."""
        self._depth["down", host] += 1
        self._do(Deed("terminate", (host,)))

    def relaunch(self, host: str) -> None:
        """Undo one `terminate`, as `restart` does; what has not ended yet is killed."""
        self._depth["down", host] -= 1
        if self._depth["down", host] == 0:
            self._do(Deed("restart", (host,)))

    def freeze(self, host: str) -> None:
        """Stop the host's process (SIGSTOP)."""
        self._begin("freeze", host)

    def thaw(self, host: str) -> None:
        """Undo one `freeze`: after the last, let the host's process go on (SIGCONT)."""
        self._end("freeze", host)

    def block(self, source: str, destination: str) -> None:
        """Keep back what one host sends to another."""
        self._begin("hold", source, destination)

    def unblock(self, source: str, destination: str) -> None:
        """Undo one `block`."""
        self._end("hold", source, destination)

    def refuse(self, source: str, destination: str) -> None:
        """Refuse new connections."""
        self._begin("refuse", source, destination)

    def admit(self, source: str, destination: str) -> None:
        """Undo one `refuse`."""
        self._end("refuse", source, destination)

    def reset(self, source: str, destination: str) -> None:
        """Break the connections between two hosts."""
        self._strike(Deed("reset", (source, destination)))

    def silence(self, source: str, destination: str) -> None:
        """Let the connections between two hosts go dead."""
        self._begin("silence", source, destination)

    def unsilence(self, source: str, destination: str) -> None:
        """Undo one `silence`."""
        self._end("silence", source, destination)

    def slow(self, source: str, destination: str, extra_s: float) -> None:
        """Add to the latency of one direction; a negative amount undoes it."""
        self._extra_s[source, destination] += extra_s
        extra_s = max(0.0, self._extra_s[source, destination])
        latency_s = self._latency_between_s(source, destination) + extra_s
        self._strike(Deed("delay", (source, destination), seconds=latency_s))

    def hold_message(self, source: str, destination: str, nth: int, for_s: float) -> None:
        """Let one message be late: the nth from now on."""
        self._strike(Deed("hold-message", (source, destination), seconds=for_s, nth=nth))

    def messages_awaited(self, source: str, destination: str) -> int | None:
        """Return how many messages that were to be held on a user's link have not come; None for another link."""
        found = self._proxy_of((source, destination))
        return None if found is None else found[0].messages_awaited(found[1])

    def begin_trouble(self, host: str, name: str) -> None:
        """Let the host's service get into a trouble that the target declares."""
        self._begin("begin", host, name=name)

    def end_trouble(self, host: str, name: str) -> None:
        """Undo one `begin_trouble`."""
        self._end("begin", host, name=name)

    def _begin(self, action: str, *at: str, name: str = "") -> None:
        self._depth[action, *at, name] += 1
        if self._depth[action, *at, name] == 1:
            self._strike(Deed(action, at, name=name))

    def _end(self, action: str, *at: str, name: str = "") -> None:
        self._depth[action, *at, name] -= 1
        undo = Deed(action, at, name=name).undoing()
        if self._depth[action, *at, name] == 0 and undo is not None:
            self._strike(undo)

    def _strike(self, deed: Deed) -> None:
        found = self._proxy_of(deed.at)
        if found is None:
            self._do(deed)
        else:
            strike_proxy(found[0], deed.action, found[1], deed.seconds, deed.nth, self._nursery)

    def _users_of(self, host: str) -> list[str]:
        return [user for user, entry in self._proxies if entry == host]

    def _proxy_of(self, at: tuple[str, ...]) -> tuple[Proxy, Direction] | None:
        """Return at which proxy of ours a user's link is, and which way of it is meant; None for another place."""
        if len(at) == 2:
            source, destination = at
            if (source, destination) in self._proxies:
                return self._proxies[source, destination], Direction.TO_UPSTREAM
            if (destination, source) in self._proxies:
                return self._proxies[destination, source], Direction.TO_CLIENT
        return None


def deeds_of(kind: FaultKind, fault: Fault) -> list[Deed]:
    """Return the deeds that a fault takes, its end included."""
    deeds: list[Deed] = []
    nemesis = LiveNemesis(deeds.append, {}, lambda _source, _destination: 0.0)
    kind.begin(nemesis, fault)
    if kind.end is not None:
        kind.end(nemesis, fault)
    return deeds
