"""Users of a live run: those of a plan who act from this process, over real sockets."""

from collections.abc import Awaitable, Callable, Iterable

import trio
import trio.socket

from simulator.history import History
from simulator.live.names import LiveNames, on_host
from simulator.live.sockets import LiveSockets
from simulator.live.target import Target
from simulator.plan import Setting
from simulator.run import Run
from simulator.system import System

__all__ = ["LiveUsers"]


class LiveUsers(Run):
    """What of a run is its users, by their numbers, inside a Trio run of its own whose names are the system's.

    `place` is another one for each process that acts on a deployment at the same time, as its own number is.
    """

    def __init__(
        self,
        system: System,
        setting: Setting,
        history: History,
        target: Target,
        numbers: Iterable[int],
        nursery: trio.Nursery,
        place: int | None = None,
    ) -> None:
        super().__init__(system, setting, history)
        for number in numbers:
            self.add_user(number)
        users = [f"user:{user.name}" for user in self.users]
        self.names = LiveNames(target, self.hosts, users, nursery, place)
        trio.socket.set_custom_hostname_resolver(self.names)
        trio.socket.set_custom_socket_factory(LiveSockets(self.names.proxy_at))
        self._nursery = nursery

    def start_task(self, host: str, task: Callable[[], Awaitable[None]]) -> None:
        """Start an async function for a host."""

        async def start() -> None:
            on_host(host)
            await task()

        self._nursery.start_soon(start)
