"""A world: one deterministic run of Trio in virtual time, driven from ordinary synchronous code."""

import math
import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

import outcome
import trio
import trio.socket

from simulator.errors import SystemFailedError
from simulator.world.chance import Chance, WallClock
from simulator.world.clock import VirtualClock
from simulator.world.host import Host, Incarnation, current_host, describe
from simulator.world.network import Network
from simulator.world.seams import RunQueue, Seams, TaskPath
from simulator.world.sockets import Resolver, SocketFactory
from simulator.world.weather import Weather

__all__ = ["Call", "World"]

T = TypeVar("T")

STEPS_WITHOUT_TIME_MAX = 200_000
"""Task steps at one simulated instant after which a program is said to spin: about a second of real time."""

_alive: list["World"] = []


class Call(Generic[T]):
    """One async call into the world: started now, finished while time passes."""

    def __init__(self) -> None:
        self._outcome: outcome.Outcome[T] | None = None

    @property
    def done(self) -> bool:
        """Whether the call returned, raised, or died with its host."""
        return self._outcome is not None

    def result(self) -> T:
        """Return what the call returned, or raise what it raised."""
        assert self._outcome is not None, "the call has not finished"
        return self._outcome.unwrap()


class _Names(trio.abc.Instrument):
    """Gives every task its path of parent and child index: the same in every run, whatever else is deleted from it."""

    def __init__(self) -> None:
        self.paths: dict[trio.lowlevel.Task, TaskPath] = {}
        self._children: dict[TaskPath, int] = {}
        self.root: trio.lowlevel.Task | None = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        parent = nursery.parent_task if nursery is not None else None
        # What the world itself starts is named, so that the order of hosts does not depend on when they started.
        base = (
            (task.name,)
            if parent is self.root and parent is not None
            else self.paths.get(parent, ("",))
            if parent
            else ("",)
        )
        number = self._children.get(base, 0)
        self._children[base] = number + 1
        self.paths[task] = (*base, number)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._children.pop(self.paths.pop(task), None)


class World:
    """One deterministic run of Trio, standing still between two calls.

    Nothing outside moves while the world does: no thread, no real clock, no real socket. One world lives at a
    time in a process, because wall clock and randomness are the process's own. Use as a context manager, or call
    `close`.
    """

    def __init__(self, *, seed: int = 0, latency_s: float = 0.001) -> None:
        if _alive:
            raise SystemFailedError("a world is still open in this process. Close it before opening another.")
        self.weather = Weather()
        self._wall = WallClock()
        self.clock = VirtualClock(self._wall.move)
        self.network = Network(self.clock, self.weather, latency_s)
        self.hosts: dict[str, Host] = {}
        self.failures: list[tuple[str, str]] = []
        self.on_failure: Callable[[str, str], None] = lambda host, error: self.failures.append((host, error))
        self._chance = Chance(seed)
        self._names = _Names()
        self._queue = RunQueue(self.weather, self._names.paths)
        self._seams = Seams(self._queue)
        self._ticks: deque[Callable[[], object]] = deque()
        self._ended: outcome.Outcome[None] | None = None
        self._interrupted = False
        self._pumping = False
        self._open()

    # Time

    @property
    def now_s(self) -> float:
        """Seconds of simulated time since the beginning."""
        return self.clock.now_s

    def advance(self, seconds: float) -> None:
        """Let simulated time pass: everything due within it happens."""
        self._pump(self.clock.now_s + seconds, None)

    def run(self, call: Callable[[], Awaitable[T]], *, host: str, timeout_s: float = math.inf) -> T:
        """Call an async function on a host and let time pass until it returns.

        Raises SystemFailedError when it cannot return: everything waits and no timer is set, or `timeout_s` has passed.
        """
        started = self.start(call, host=host)
        self._pump(self.clock.now_s + timeout_s, started)
        if not started.done:
            raise SystemFailedError(f"a call on host={host!r} did not return. " + self.who_waits())
        return started.result()

    def start(self, call: Callable[[], Awaitable[T]], *, host: str, name: str = "call") -> Call[T]:
        """Start an async function on a host; it goes on whenever time passes. On a host that is down it dies at once."""
        incarnation = self.hosts[host].incarnation
        assert incarnation is not None
        handle: Call[T] = Call()

        async def body() -> None:
            incarnation.adopt_task()  # a task started from outside inherits nobody's context
            result = await outcome.acapture(call) if incarnation.alive else died
            # What a dead host still returns or raises, its own cancellation above all, is seen by nobody.
            handle._outcome = result if incarnation.alive else died

        died = outcome.Error(ConnectionAbortedError(f"host {host} went down"))
        if not incarnation.alive:
            handle._outcome = died
            return handle
        if incarnation.nursery is None:  # restarted while the world stood still at this very instant
            self._settle()
        assert incarnation.nursery is not None
        incarnation.nursery.start_soon(body, name=name)
        return handle

    # Hosts

    def add_host(
        self,
        name: str,
        main: Callable[[], Awaitable[object]] | None = None,
        on_crash: Callable[[], None] | None = None,
    ) -> Host:
        """Add a host and start it."""
        assert name not in self.hosts, f"two hosts named {name!r}"
        host = self.hosts[name] = Host(name, self.network.add_host(name), main, on_crash)
        self._start(host)
        return host

    def crash(self, name: str, *, silently: bool = False) -> None:
        """From this instant nothing the host does is seen by anyone.

        Its connections are cut first (peers see a reset; nothing at all when `silently`), then unsynced data is lost,
        then its tasks are cancelled: their `finally` blocks run and change nothing outside.
        """
        host = self.hosts[name]
        incarnation = host.incarnation
        if incarnation is None or not incarnation.alive:
            return
        incarnation.alive = False
        self.network.cut(name, silently=silently)
        if host.on_crash is not None:
            host.on_crash()
        if incarnation.nursery is not None:
            incarnation.nursery.cancel_scope.cancel()

    def restart(self, name: str) -> None:
        """Start the host's main afresh, unless it runs."""
        host = self.hosts[name]
        if not host.up:
            self.network.revive(name)
            self._start(host)
            self.network.retry_connects(name)

    def freeze(self, name: str) -> None:
        """Keep back everything to and from the host."""
        for link in self._links_of(name):
            self.network.block(link)

    def thaw(self, name: str) -> None:
        """Undo `freeze`: what was kept back arrives, in order."""
        for link in self._links_of(name):
            self.network.unblock(link)

    # Links

    def block(self, source: str, destination: str) -> None:
        """Keep back what one host sends to another."""
        self.network.block(self.network.link(source, destination))

    def unblock(self, source: str, destination: str) -> None:
        """Undo one `block`."""
        self.network.unblock(self.network.link(source, destination))

    def refuse(self, source: str, destination: str) -> None:
        """Refuse new connections from one host to another."""
        self.network.link(source, destination).refusing += 1

    def admit(self, source: str, destination: str) -> None:
        """Undo one `refuse`."""
        self.network.link(source, destination).refusing -= 1

    def reset(self, source: str, destination: str) -> None:
        """Break the connections between two hosts; both are told."""
        self.network.reset(source, destination)

    def silence(self, source: str, destination: str) -> None:
        """Kill the connections between two hosts; neither is told."""
        self.network.silence(source, destination)

    def unsilence(self, source: str, destination: str) -> None:
        """Let packets between two hosts pass again; what died stays dead."""
        self.network.unsilence(source, destination)

    def slow(self, source: str, destination: str, extra_s: float) -> None:
        """Add to the latency of one direction; a negative amount undoes it."""
        self.network.link(source, destination).extra_latency_s += extra_s

    # Looking in

    def waiting(self) -> list[str]:
        """Describe each task that is still there: its host, its name and the line it waits at."""
        lines = []
        for task, path in sorted(self._names.paths.items(), key=lambda item: item[1]):
            incarnation = _host_of(task)
            if incarnation is not None and incarnation.alive:
                frames = [f"{frame.f_code.co_name}:{line}" for frame, line in task.iter_await_frames()]
                lines.append(f"{incarnation.host.name}/{path}: {' > '.join(frames[-4:-1] or frames)}")
        return lines

    def who_waits(self) -> str:
        """Return `waiting` as one sentence for an error message."""
        return f"simulated_s={self.now_s:.6f}. Waiting: " + "; ".join(self.waiting()[:12])

    # Beginning and end

    def close(self) -> None:
        """End the run: cancel every task, and give back wall clock, randomness and Trio's own parts."""
        if self not in _alive:
            return
        try:
            if self._ended is None:
                self._main_scope.cancel()
                for host in self.hosts.values():
                    if host.incarnation is not None:
                        host.incarnation.alive = False
                self.weather.change(0)
                self._pump_until_ended()
        finally:
            _alive.remove(self)
            self._restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> None:
        _alive.append(self)
        self._seams.install()
        self._chance.install()
        self._wall.install()
        self._previous_handler: Any = None
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            # Trio's own handler would raise inside whichever task runs; ours lets the pump raise, where it is clean.
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._ticks.append,
            run_sync_soon_not_threadsafe=self._ticks.append,
            done_callback=self._on_ended,
            host_uses_signal_set_wakeup_fd=True,
            clock=self.clock,
            instruments=[self._names],
        )
        self._seams.attach(self.clock)
        self._pump(0.0, None)

    async def _main(self) -> None:
        trio.socket.set_custom_socket_factory(SocketFactory(self.network))
        trio.socket.set_custom_hostname_resolver(Resolver(self.network))
        self._names.root = trio.lowlevel.current_task()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._main_scope = nursery.cancel_scope
            await trio.sleep_forever()

    def _start(self, host: Host) -> None:
        host.lives += 1
        host.incarnation = Incarnation(host, host.lives)
        self._nursery.start_soon(host.incarnation.live, self._on_host_failure, name=host.name)
        if not self._pumping:  # from outside, so that `start` finds the host running
            self._settle()

    def _settle(self) -> None:
        self._pump(self.clock.now_s, None)

    def _on_host_failure(self, host: Host, error: BaseException) -> None:
        """A host whose main raises has ended as a process does: its kernel resets what it had open."""
        self.crash(host.name)
        self.on_failure(host.name, describe(error))

    def _links_of(self, name: str) -> list[Any]:
        others = [other for other in self.hosts if other != name]
        return [self.network.link(*pair) for other in others for pair in ((name, other), (other, name))]

    def _on_ended(self, run_outcome: outcome.Outcome[None]) -> None:
        self._ended = run_outcome

    def _on_interrupt(self, _number: int, _frame: object) -> None:
        if not self._pumping:
            raise KeyboardInterrupt
        self._interrupted = True

    def _pump(self, horizon_s: float, call: Call[Any] | None) -> None:
        """Run tasks and jump in time until the horizon, or until the call is done."""
        assert not self._pumping, "the world cannot be driven from inside itself"
        clock, ticks = self.clock, self._ticks
        clock.horizon_s = horizon_s
        clock.idle = False
        steps_max, step_s = self._queue.steps + STEPS_WITHOUT_TIME_MAX, clock.now_s
        self._pumping = True
        try:
            while not clock.idle and ticks:
                if call is not None and call._outcome is not None:
                    return
                ticks.popleft()()
                if self._queue.steps > steps_max:
                    if clock.now_s == step_s:
                        raise SystemFailedError(
                            f"the system spins: {STEPS_WITHOUT_TIME_MAX} task steps and no simulated time passed. "
                            + self.who_waits()
                        )
                    steps_max, step_s = self._queue.steps + STEPS_WITHOUT_TIME_MAX, clock.now_s
                if self._interrupted:
                    self._interrupted = False
                    raise KeyboardInterrupt
        finally:
            self._pumping = False
        if self._ended is not None:
            self._ended.unwrap()
            raise SystemFailedError("the world ended by itself")

    def _pump_until_ended(self) -> None:
        """Let every task see its cancellation. Shielded clean-up may take simulated time; none may take for ever."""
        self.clock.horizon_s = self.clock.now_s + 3600.0
        for _ in range(5 * STEPS_WITHOUT_TIME_MAX):
            if self._ended is not None or not self._ticks:
                break
            self._ticks.popleft()()
        assert self._ended is not None, (
            "tasks that shield themselves from cancellation never ended: " + self.who_waits()
        )

    def _restore(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        self._wall.remove()
        self._chance.remove()
        self._seams.remove()


def _host_of(task: trio.lowlevel.Task) -> Incarnation | None:
    try:
        return task.context.run(current_host)
    except SystemFailedError:
        return None
