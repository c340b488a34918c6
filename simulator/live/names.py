"""Host names on a live run: each user reaches each host through a proxy of their own, at the port that they name."""

import itertools
import os
import socket
from collections import Counter
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from typing import Any

import trio
import trio.abc

from simulator.errors import EnvironmentFailedError
from simulator.host import Host
from simulator.live.framing import framing_of
from simulator.live.proxy import Proxy
from simulator.live.target import Target
from simulator.live.tls import start_tunnel

__all__ = ["LiveNames", "look_up", "on_host"]

_current_host: ContextVar[str] = ContextVar("wavetank_live_host", default="")


def on_host(host: str) -> None:
    """Let the running task, and the tasks it will start, resolve names as this host."""
    _current_host.set(host)


def look_up(name: str) -> str:
    """Return the number of a host, as the machine's own resolver knows it. Raises EnvironmentFailedError."""
    try:
        return str(socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise EnvironmentFailedError(f"the target's address {name!r} is not known to this machine: {error}.") from error


class LiveNames(trio.abc.HostnameResolver):
    """Resolves the system's host names: each gets a loopback address of its own, and a proxy that listens there.

    So client code runs unchanged: the port is the one it names, whatever the real one is. (To answer with
    another port would not do: AnyIO keeps the asked one.) A user reaches each host that is open to users through a
    proxy of their own; only those that are `acting` here have any, of all users. A name that several hosts are behind
    leads to each in turn, each user to the same ones in the same order as in a simulation.
    """

    def __init__(
        self,
        target: Target,
        hosts: Sequence[Host],
        users: Sequence[str],
        nursery: trio.Nursery,
        acting: Collection[int] | None = None,
        network_part: int | None = None,
    ) -> None:
        self._target = target
        # A process's own part of 127/8, so that two replays at once do not meet.
        self._network = f"127.{100 + (os.getpid() if network_part is None else network_part) % 100}"
        self._nursery = nursery
        self._addresses = itertools.count(1)
        self._askers = [*(host.name for host in hosts), *users]
        self._asked: Counter[tuple[str, str]] = Counter()
        self._behind = {
            host.behind: [each.name for each in hosts if each.behind == host.behind] for host in hosts if host.behind
        }
        entered = [name for host in hosts if host.open_to_users for name in (host.name, host.behind)]
        entries = [name for name in dict.fromkeys(entered) if target.reaches(name)]
        here = users if acting is None else [users[number] for number in acting]
        self.user_proxies = {(user, entry): self._proxy(entry) for user in here for entry in entries}
        """How each user reaches each host that is open to users."""
        self._started: dict[tuple[str, str, int], Proxy] = {}
        self._by_address: dict[str, Proxy] = {}
        self._starting = trio.Lock()
        self._tunnels: dict[str, tuple[str, int]] = {}

    def proxy_at(self, address: str) -> Proxy | None:
        """Return the proxy that listens at a loopback address of ours."""
        return self._by_address.get(address)

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Answer with the loopback addresses of proxies that listen there already."""
        name = host.decode() if isinstance(host, bytes) else host
        asker = _current_host.get()
        async with self._starting:
            proxies = [await self._started_proxy(asker, each, port) for each in self._led_to(name, asker)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (proxy.host, port)) for proxy in proxies]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Answer with the numbers themselves."""
        return str(sockaddr[0]), str(sockaddr[1])

    def _led_to(self, name: str, asker: str) -> list[str]:
        """Return the host of a name, or those behind it, beginning with another one each time that somebody asks."""
        if self._target.reaches(name):
            return [name]
        if name not in self._behind:
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {name}")
        behind = self._behind[name]
        first = self._askers.index(asker) if asker in self._askers else len(self._askers)
        turn = (first + self._asked[asker, name]) % len(behind)
        self._asked[asker, name] += 1
        return behind[turn:] + behind[:turn]

    async def _started_proxy(self, asker: str, name: str, port: int) -> Proxy:
        user = asker if (asker, name) in self.user_proxies else ""
        proxy = self._started.get((user, name, port))
        if proxy is None:
            proxy = self.user_proxies.get((user, name)) or self._proxy(name)
            proxy.port = port
            proxy.upstream = await self._upstream(name)
            await self._nursery.start(proxy.run)
            self._by_address[proxy.host] = proxy
            self._started[user, name, port] = proxy
        return proxy

    def _proxy(self, host: str) -> Proxy:
        number = next(self._addresses)
        own = f"{self._network}.{number // 250}.{number % 250 + 1}"
        framing = framing_of(self._target.hosts[host].protocol)
        return Proxy(self._target.address(host), host=own, framing=framing)

    async def _upstream(self, host: str) -> tuple[str, int]:
        """Return where a host's proxies lead: a number, since names are resolved by us now; or its tunnel."""
        name, port = self._target.address(host)
        tls = self._target.hosts[host].tls
        address = await trio.to_thread.run_sync(look_up, name), port
        if tls is None:
            return address
        if host not in self._tunnels:
            self._tunnels[host] = await start_tunnel(self._nursery, address, tls.name or name, tls)
        return self._tunnels[host]
