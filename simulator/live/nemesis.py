"""Faults done to a live deployment: signals to its processes, and proxies on its links."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from simulator.live.proxy import Direction, Proxy
from simulator.live.target import Control

__all__ = ["LiveNemesis", "strike_proxy"]

_DIRECTIONS = {"to-upstream": Direction.TO_UPSTREAM, "to-client": Direction.TO_CLIENT}


def strike_proxy(proxy: Proxy, action: str, direction: str, seconds: float = 0.0) -> None:
    """Do one thing to a proxy, by name: as a remote order has it. Raises KeyError for an unknown name."""
    way = _DIRECTIONS[direction]
    match action:
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


class LiveNemesis:
    """The `Nemesis` of a deployment. A link is struck at its proxy: a user's own, or the deployment's.

    `user_proxies` are by user and host. `latency_between_s` is what the link of two hosts takes in simulation, one way:
    `slow_all` makes the proxies take as long.
    """

    def __init__(
        self,
        control: Control,
        user_proxies: Mapping[tuple[str, str], Proxy],
        latency_between_s: Callable[[str, str], float],
    ) -> None:
        self._control = control
        self._proxies = user_proxies
        self._latency_between_s = latency_between_s
        self._depth: Counter[tuple[str, ...]] = Counter()
        self._extra_s: defaultdict[tuple[str, str], float] = defaultdict(float)

    def slow_all(self, links: Iterable[str]) -> None:
        """Give every link that has a proxy ("agents->redis", and each user's) the latency of the simulation."""
        for (user, host), proxy in self._proxies.items():
            proxy.delay(self._latency_between_s(user, host))
        for link in links:
            source, _, destination = link.partition("->")
            self.slow(source, destination, 0.0)
            self.slow(destination, source, 0.0)

    def crash(self, host: str, *, silently: bool) -> None:
        """Kill the host's process."""
        assert not silently, "a silent crash cannot be done to a process; it is refused as not expressible"
        self._depth["down", host] += 1
        self._control.order("crash", host=host)

    def restart(self, host: str) -> None:
        """Undo one `crash`: after the last, start the host's process again."""
        self._depth["down", host] -= 1
        if self._depth["down", host] == 0:
            self._control.order("restart", host=host)

    def terminate(self, host: str) -> None:
        """Tell the host's process to end (SIGTERM), without waiting until it has."""
        self._depth["down", host] += 1
        self._control.order("terminate", host=host)

    def relaunch(self, host: str) -> None:
        """Undo one `terminate`: kill the host's process if it has not ended yet, and `restart` it."""
        self._control.order("crash", host=host)
        self.restart(host)

    def freeze(self, host: str) -> None:
        """Stop the host's process (SIGSTOP)."""
        self._depth["frozen", host] += 1
        self._control.order("freeze", host=host)

    def thaw(self, host: str) -> None:
        """Undo one `freeze`: after the last, let the host's process go on (SIGCONT)."""
        self._depth["frozen", host] -= 1
        if self._depth["frozen", host] == 0:
            self._control.order("thaw", host=host)

    def hold_still(self, host: str) -> None:
        """Stop a host's process that is to be killed next, so that all that it ever logs can be read before."""
        self._control.order("freeze", host=host)

    def block(self, source: str, destination: str) -> None:
        """Keep back what one host sends to another."""
        self._begin("hold", source, destination)

    def unblock(self, source: str, destination: str) -> None:
        """Undo one `block`."""
        self._end("hold", "release", source, destination)

    def refuse(self, source: str, destination: str) -> None:
        """Refuse new connections."""
        self._begin("refuse", source, destination)

    def admit(self, source: str, destination: str) -> None:
        """Undo one `refuse`."""
        self._end("refuse", "admit", source, destination)

    def reset(self, source: str, destination: str) -> None:
        """Break the connections between two hosts."""
        self._proxy("reset", source, destination)

    def silence(self, source: str, destination: str) -> None:
        """Let the connections between two hosts go dead."""
        self._begin("silence", source, destination)

    def unsilence(self, source: str, destination: str) -> None:
        """Undo one `silence`."""
        self._end("silence", "unsilence", source, destination)

    def slow(self, source: str, destination: str, extra_s: float) -> None:
        """Add to the latency of one direction; a negative amount undoes it."""
        self._extra_s[source, destination] += extra_s
        extra_s = max(0.0, self._extra_s[source, destination])
        self._proxy("delay", source, destination, self._latency_between_s(source, destination) + extra_s)

    def begin_trouble(self, host: str, name: str) -> None:
        """Let the host's service get into a trouble that the target declares."""
        self._depth["trouble", host, name] += 1
        if self._depth["trouble", host, name] == 1:
            self._control.order("trouble", host=host, name=name, on=True)

    def end_trouble(self, host: str, name: str) -> None:
        """Undo one `begin_trouble`."""
        self._depth["trouble", host, name] -= 1
        if self._depth["trouble", host, name] == 0:
            self._control.order("trouble", host=host, name=name, on=False)

    def _begin(self, action: str, source: str, destination: str) -> None:
        self._depth[action, source, destination] += 1
        if self._depth[action, source, destination] == 1:
            self._proxy(action, source, destination)

    def _end(self, action: str, undo: str, source: str, destination: str) -> None:
        self._depth[action, source, destination] -= 1
        if self._depth[action, source, destination] == 0:
            self._proxy(undo, source, destination)

    def _proxy(self, action: str, source: str, destination: str, seconds: float = 0.0) -> None:
        if source.startswith("user:"):
            strike_proxy(self._proxies[source, destination], action, "to-upstream", seconds)
        elif destination.startswith("user:"):
            strike_proxy(self._proxies[destination, source], action, "to-client", seconds)
        else:
            self._control.order("proxy", source=source, destination=destination, action=action, seconds=seconds)
