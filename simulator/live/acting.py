"""A run whose users act from this process, over real sockets."""

from collections.abc import Awaitable, Callable, Collection

import trio
import trio.socket

from simulator.history import History
from simulator.live.names import LiveNames, on_host
from simulator.live.sockets import LiveSockets
from simulator.live.target import Target
from simulator.plan import Setting
from simulator.run import Run
from simulator.system import System
from simulator.user import user_host

__all__ = ["ActingRun"]


class ActingRun(Run):
    """A run inside a Trio run of its own, whose names are the system's.

    `acting` are the numbers of its users. Others, of the same setting, may act from other processes; then each has a
    part of the loopback network of its own.
    """

    def __init__(
        self,
        system: System,
        setting: Setting,
        history: History,
        target: Target,
        acting: Collection[int],
        nursery: trio.Nursery,
        network_part: int | None = None,
    ) -> None:
        super().__init__(system, setting, history)
        for number in acting:
            self.add_user(number)
        askers = [user_host(number) for number in range(setting.users)]
        self.names = LiveNames(target, self.hosts, askers, nursery, acting, network_part)
        trio.socket.set_custom_hostname_resolver(self.names)
        trio.socket.set_custom_socket_factory(LiveSockets(self.names.proxy_at))
        self._nursery = nursery

    def start_task(self, host: str, task: Callable[[], Awaitable[None]]) -> None:
        """Start an async function for a host."""

        async def start() -> None:
            on_host(host)
            await task()

        self._nursery.start_soon(start)
