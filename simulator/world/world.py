"""A world: one deterministic run of Trio in virtual time, driven from ordinary synchronous code."""

import gc
import math
import signal
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from types import FrameType
from typing import Any, Generic, Self, TypeVar

import outcome
import trio
import trio.socket

from simulator.errors import SystemFailedError
from simulator.fault import Trouble
from simulator.history import Unseen
from simulator.interrupts import is_ours
from simulator.world.bystanders import all_standing_still
from simulator.world.chance import Chance, WallClock
from simulator.world.clock import VirtualClock
from simulator.world.host import Host, Incarnation, describe, host_of
from simulator.world.names import TaskNames
from simulator.world.network import Network
from simulator.world.seams import RunQueue, Seams
from simulator.world.sockets import Resolver, SocketFactory
from simulator.world.weather import Weather

__all__ = ["Call", "World"]

T = TypeVar("T")

STEPS_WITHOUT_TIME_MAX = 200_000
"""Task steps at one simulated instant after which a program is said to spin: about a second of real time."""

CLEAN_UP_S_MAX = 3600.0
"""Simulated time that shielded clean-up may take when a world is closed."""

LATENCY_S = 0.001
"""The one-way latency of a link, if nothing else is said."""

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


class World:
    """One deterministic run of Trio, standing still between two calls.

    Nothing outside moves while the world does: no thread, no real clock, no real socket. One world lives at a
    time in a process, because wall clock and randomness are the process's own. Use as a context manager, or call
    `close`.
    """

    def __init__(
        self, *, seed: int = 0, latency_between_s: Callable[[str, str], float] = lambda _one, _other: LATENCY_S
    ) -> None:
        if _alive:
            raise SystemFailedError("a world is still open in this process. Close it before opening another.")
        self._names = TaskNames()
        self.weather = Weather(self._names.paths)
        self._wall = WallClock()
        self.clock = VirtualClock(self._wall.move)
        self.network = Network(self.clock, self.weather, latency_between_s)
        self.hosts: dict[str, Host] = {}
        self.failures: list[tuple[str, str]] = []
        self.on_failure: Callable[[str, str], None] = lambda host, error: self.failures.append((host, error))
        self._chance = Chance(seed)
        self._queue = RunQueue(self.weather, self._names.paths)
        self._seams = Seams(self._queue)
        self._ticks: deque[Callable[[], object]] = deque()
        self._ended: outcome.Outcome[None] | None = None
        self._interrupted = False
        self._pumping = False
        self._interrupts_wait = False
        self._main_scope = trio.CancelScope()
        self._previous_handler: Any = None
        self._collected_before = gc.isenabled()
        self._bystanders = all_standing_still()
        _alive.append(self)
        try:
            self._open()
        except BaseException:  # nobody holds a world that could not be opened: nobody else will close it
            self.close()
            raise

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
        """Start an async function on a host; it goes on whenever time passes. On a host that is down it dies at once.

        A call that dies ends with ConnectionAbortedError.
        """
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
        self._start_on(incarnation, body, name)
        return handle

    def _start_on(self, incarnation: Incarnation, task: Callable[[], Awaitable[None]], name: str) -> None:
        if incarnation.nursery is None:  # restarted while the world stood still at this very instant
            self._settle()
        assert incarnation.nursery is not None
        incarnation.nursery.start_soon(task, name=name)

    # Hosts

    def add_host(
        self,
        name: str,
        main: Callable[[], Awaitable[object]] | None = None,
        on_crash: Callable[[], None] | None = None,
        *,
        on_terminate: Callable[[], None] | None = None,
        troubles: Iterable[Trouble] = (),
        behind: str = "",
    ) -> Host:
        """Add a host and start it. Hosts that are `behind` one name are reached by it too, in turn."""
        assert name not in self.hosts, f"two hosts named {name!r}"
        declared = {trouble.name: trouble for trouble in troubles}
        address = self.network.add_host(name, behind)
        host = self.hosts[name] = Host(name, address, main, on_crash, on_terminate, declared)
        self._start(host)
        return host

    def crash(self, name: str, *, silently: bool = False) -> None:
        """From this instant nothing the host does is seen by anyone.

        Its connections are cut first (peers see a reset; nothing at all when `silently`), then unsynced data is lost,
        then its tasks are cancelled: their `finally` blocks run and change nothing outside.
        """
        host = self.hosts[name]
        host.crashes += 1
        self._take_down(host, silently=silently)

    def _take_down(self, host: Host, *, silently: bool) -> None:
        incarnation = host.incarnation
        if incarnation is None or not incarnation.alive:
            return
        incarnation.alive = False
        self.network.cut(host.name, silently=silently)
        if host.on_crash is not None:
            host.on_crash()
        if incarnation.nursery is not None:
            incarnation.nursery.cancel_scope.cancel()

    def terminate(self, name: str) -> None:
        """Tell the host's program to end, as SIGTERM does: its `on_terminate` runs now, once in a life of the host.

        When its main has returned, the host is down until `relaunch`. A host that is down is told nothing.
        """
        host = self.hosts[name]
        host.crashes += 1
        incarnation = host.incarnation
        assert incarnation is not None
        assert host.on_terminate is not None, f"host {name!r} has no on_terminate"
        if incarnation.alive and not incarnation.told_to_end:
            incarnation.told_to_end = True
            self._start_on(incarnation, incarnation.terminate, "terminate")

    def relaunch(self, name: str) -> None:
        """Undo one `terminate`: crash what was told to end and has not, then `restart`."""
        host = self.hosts[name]
        if host.incarnation is not None and host.incarnation.told_to_end:
            self._take_down(host, silently=False)
        self.restart(name)

    def restart(self, name: str) -> None:
        """Undo one `crash`; with the last, or after a main that ended, start the main afresh, unless it runs."""
        host = self.hosts[name]
        host.crashes = max(0, host.crashes - 1)
        if not host.up and not host.crashes:
            self.network.revive(name)
            self._start(host)

    def freeze(self, name: str) -> None:
        """Keep back everything to and from the host."""
        self.network.freeze(name)

    def thaw(self, name: str) -> None:
        """Undo one `freeze`: with the last, what was kept back arrives, in order."""
        self.network.thaw(name)

    def begin_trouble(self, host: str, name: str) -> None:
        """Let the host's service get into a declared trouble, whether the host is up or not."""
        self.hosts[host].begin_trouble(name)

    def end_trouble(self, host: str, name: str) -> None:
        """Undo one `begin_trouble`; the last ends it."""
        self.hosts[host].end_trouble(name)

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

    def unseen(self) -> Unseen:
        """Return what has decided the run so far."""
        return Unseen(self.now_s, self.weather.digest, self._queue.steps, self._chance.drawn, self._chance.random)

    def waiting(self) -> list[str]:
        """Describe each task that is still there: its host, its name and the line it waits at."""
        return self._describe_tasks(dead_too=False)

    def tasks_of(self, name: str) -> int:
        """How many tasks a host's present program has."""
        incarnation = self.hosts[name].incarnation
        return sum(host_of(task) is incarnation for task in self._names.paths)

    def sockets_of(self, name: str) -> dict[str, int]:
        """How many sockets a host's present program has open, by the host at their other end ("" for none)."""
        incarnation = self.hosts[name].incarnation
        assert incarnation is not None
        return dict(sorted(Counter(socket.peer for socket in incarnation.sockets).items()))

    def _describe_tasks(self, *, dead_too: bool) -> list[str]:
        lines = []
        for task, path in sorted(self._names.paths.items(), key=lambda item: item[1]):
            incarnation = host_of(task)
            if incarnation is not None and (incarnation.alive or dead_too):
                lines.append(f"{incarnation.host.name}/{path}: {' > '.join(_waits_at(task)[-4:])}")
        return lines

    def who_waits(self) -> str:
        """Return `waiting` as one sentence for an error message."""
        return f"simulated_s={self.now_s:.6f}. Waiting: " + "; ".join(self.waiting()[:12])

    # Beginning and end

    def close(self) -> None:
        """End the run: cancel every task, and give back wall clock, randomness and Trio's own parts."""
        if self not in _alive:
            return
        assert not self._pumping, "the world cannot be closed from inside itself"
        self._interrupts_wait = True  # in the middle of Trio's end they would leave it running for ever
        try:
            if self._ended is None and self._ticks:
                self._main_scope.cancel()
                for host in self.hosts.values():
                    if host.incarnation is not None:
                        host.incarnation.alive = False
                self.weather.change(0)
                self._pump_until_ended()
        finally:
            _alive.remove(self)
            with self._bystanders:
                self._collect()
                self._restore()
        if self._interrupted:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> None:
        # Trio finishes an asynchronous generator that nobody holds any more. One that is part of a cycle would come to
        # that whenever the collector happens to run, which depends on all that this process has done before.
        gc.disable()
        self._seams.install()
        self._chance.install()
        self._wall.install()
        if threading.current_thread() is threading.main_thread() and is_ours(signal.getsignal(signal.SIGINT)):
            # Trio's own handler would raise inside whichever task runs; ours lets the pump raise, where it is clean.
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)
        self._interrupts_wait = True  # in the middle of Trio's beginning they would leave it running for ever
        try:
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self._ticks.append,
                run_sync_soon_not_threadsafe=self._ticks.append,
                done_callback=self._on_ended,
                host_uses_signal_set_wakeup_fd=True,
                clock=self.clock,
                instruments=[self._names],
            )
            self._seams.attach(self.clock, self._ticks[0])
        finally:
            self._interrupts_wait = False
        self._pump(0.0, None)

    async def _main(self) -> None:
        trio.socket.set_custom_socket_factory(SocketFactory(self.network))
        trio.socket.set_custom_hostname_resolver(Resolver(self.network))
        self._names.root = trio.lowlevel.current_task()
        with self._main_scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await trio.sleep_forever()

    def _start(self, host: Host) -> None:
        host.lives += 1
        host.incarnation = Incarnation(host, host.lives, self._on_host_end)
        self._nursery.start_soon(host.incarnation.live, name=host.name)
        if not self._pumping:  # from outside, so that `start` finds the host running
            self._settle()

    def _settle(self) -> None:
        self._pump(self.clock.now_s, None)

    def _on_host_end(self, host: Host, error: BaseException | None) -> None:
        """A process has ended, and its kernel closes what it had open: with resets when it ended by an error.

        A host whose main returned unasked stays up, so that calls can still run there; one that was told to end is
        down from now on.
        """
        incarnation = host.incarnation
        assert incarnation is not None
        assert incarnation.nursery is not None
        if error is not None:
            self._take_down(host, silently=False)
            self.on_failure(host.name, describe(error))
        else:
            self.network.close_all(host.name)
            if incarnation.told_to_end:
                incarnation.alive = False
                incarnation.nursery.cancel_scope.cancel()

    def _on_ended(self, run_outcome: outcome.Outcome[None]) -> None:
        self._ended = run_outcome

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        is_held_up = self._interrupted  # asked twice: a task that never gives way holds up the pump
        if not self._interrupts_wait and (not self._pumping or is_held_up):
            self._previous_handler(number, frame)
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
            self._chance.look()
        if clock.error is not None:
            error, clock.error = clock.error, None
            raise error
        if self._ended is not None:
            if isinstance(self._ended, outcome.Error) and _is_interrupt(self._ended.error):
                raise KeyboardInterrupt
            self._ended.unwrap()
            raise SystemFailedError("the world ended by itself")

    def _pump_until_ended(self) -> None:
        """Let every task see its cancellation; those that shield themselves for ever see it after `CLEAN_UP_S_MAX`."""
        stuck: list[str] = []
        self._pumping = True
        try:
            self._turn_until_ended()
            if self._ended is None:
                stuck = self._describe_tasks(dead_too=True)
                self._seams.unshield(sorted(self._names.paths, key=self._names.paths.__getitem__))
                self._turn_until_ended()
        finally:
            self._pumping = False
            if self._ended is None:
                self._seams.abandon()
        if stuck and not self._interrupted:
            raise SystemFailedError(
                f"tasks that shield themselves from cancellation never ended: {'; '.join(stuck[:12])}"
            )

    def _turn_until_ended(self) -> None:
        clock, steps_max = self.clock, self._queue.steps + 5 * STEPS_WITHOUT_TIME_MAX
        clock.horizon_s = clock.now_s + CLEAN_UP_S_MAX
        idle_turns = 0  # a few: Trio wakes itself through a real socket as it ends
        while self._ended is None and idle_turns < 4 and self._queue.steps < steps_max:
            clock.idle = False
            self._ticks.popleft()()
            idle_turns += clock.idle

    def _collect(self) -> None:
        """Free what the run leaves behind, and let the collector go on by itself if it did before.

        While interrupts still wait: raised in a function that watches the collector, as Hypothesis has one, one would
        be lost.
        """
        if self._collected_before:
            gc.collect(0)  # everything is as young as the run
            gc.enable()

    def _restore(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        self._wall.remove()
        self._chance.remove()
        self._seams.remove()


def _is_interrupt(error: BaseException) -> bool:
    """Whether a second Ctrl-C ended the run from inside a task that never gave way."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_interrupt(each) for each in error.exceptions)
    return isinstance(error, KeyboardInterrupt)


def _waits_at(task: trio.lowlevel.Task) -> list[str]:
    """Name the functions and lines at which a task waits, down to its call into Trio."""
    frames = []
    for frame, line in task.iter_await_frames():
        frames.append(f"{frame.f_code.co_name}:{line}")
        if frame.f_globals.get("__name__", "").startswith("trio."):
            break
    return frames
