"""The live run: the same steps, the same client code and the same properties, in real time on real services.

Steps are anchored to what the users saw, not to the clock: a step waits until every completion and observation that
preceded it in simulation has happened for real (or a bound has passed), and then as long as the plan says.
"""

import itertools
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio.abc
import trio.socket

from simulator.history import History, Kind, Value
from simulator.live.nemesis import LiveNemesis
from simulator.live.proxy import Proxy
from simulator.live.target import Control, Target
from simulator.plan import Plan, Wait
from simulator.property import Property
from simulator.run import OBSERVER, Result, Run, judge
from simulator.system import Observer, System, user_name

__all__ = ["anchors_of", "run_live"]

QUIET_POLL_S = 0.1
LOG_POLL_S = 0.02
LOG_CATCH_UP_S = 0.3
ANCHOR_POLL_S = 0.005
ANCHOR_WAIT_MAX_S = 3.0
_LOG_NOISE = ("timestamp", "level", "logger")

Seen = Counter[tuple[str, str]]


def anchors_of(plan: Plan, events: Sequence[dict[str, Value]]) -> list[Seen]:
    """Return, per step, what users had seen and completed before it began in simulation."""
    before: list[Seen] = []
    seen: Seen = Counter()
    for event in events:
        if _begins_step(event):
            before.append(seen.copy())
        elif _is_users(str(event["host"]), str(event["kind"])):
            seen[str(event["host"]), str(event["name"])] += 1
    acting = iter(before)
    return [Counter() if isinstance(step.action, Wait) else next(acting, Counter()) for step in plan.steps]


def _begins_step(event: dict[str, Value]) -> bool:
    data = event.get("data")
    begins = isinstance(data, dict) and data.get("phase") == "begin"
    return event["kind"] == Kind.INVOKE.value or (event["kind"] == Kind.FAULT.value and begins)


def _is_users(host: str, kind: str) -> bool:
    return host.startswith("user:") and kind != Kind.INVOKE.value


class LiveRun(Run):
    """A run on a deployment, inside a Trio run of its own. Made and driven by `run_live`."""

    def __init__(
        self, system: System, plan: Plan, control: Control, proxies: Mapping[str, Proxy], nursery: trio.Nursery
    ) -> None:
        begun_s = trio.current_time()
        super().__init__(system, plan.setting, History(lambda: trio.current_time() - begun_s))
        self.nemesis = LiveNemesis(control, proxies)
        self._nursery = nursery
        for number in range(plan.setting.users):
            self.add_user(number)

    def start_task(self, host: str, task: Callable[[], Awaitable[None]]) -> None:
        """Start an async function for a host: `_current_host` tells the resolver whose proxies it goes through."""

        async def on_host() -> None:
            _current_host.set(host)
            await task()

        self._nursery.start_soon(on_host)

    def call_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action` once, in real time."""

        async def later() -> None:
            await trio.sleep(delay_s)
            action()

        self._nursery.start_soon(later)

    def knows_host(self, name: str) -> bool:
        """Whether a fault can name it was settled before anything was touched."""
        return True

    async def play(self, plan: Plan, anchors: Sequence[Seen]) -> None:
        """Take every step, each after what preceded it in simulation."""
        for step, anchor in zip(plan.steps, anchors, strict=True):
            await self._reach(anchor)
            if self.applicable(step):
                self.begin(step)
                await trio.sleep(step.after_s)

    async def rest(self) -> None:
        """Heal, and wait until nothing is pending."""
        self.heal()
        healed_s = trio.current_time()
        while pending := self.pending():
            waited_s = trio.current_time() - healed_s
            if waited_s >= self.system.quiet_within_s:
                self.record_pending(pending, waited_s)
                break
            await trio.sleep(QUIET_POLL_S)
        await trio.sleep(LOG_CATCH_UP_S)
        self.history.record(Kind.MARK, "", "quiet")

    async def follow_log(self, host: str, path: Path) -> None:
        """Record what a host logs from now on as its observations."""
        with path.open("rb") as log:
            log.seek(0, 2)
            rest = b""
            while True:
                *lines, rest = (rest + log.read()).split(b"\n")
                for line in lines:
                    self._observe_line(host, line)
                await trio.sleep(LOG_POLL_S)

    def _observe_line(self, host: str, line: bytes) -> None:
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return  # a traceback, or another program's words
        name = fields.pop("event", None)
        if isinstance(name, str):
            self.observe(host, name, {key: value for key, value in fields.items() if key not in _LOG_NOISE})

    async def _reach(self, anchor: Seen) -> None:
        with trio.move_on_after(ANCHOR_WAIT_MAX_S):
            while not self._seen() >= anchor:
                await trio.sleep(ANCHOR_POLL_S)

    def _seen(self) -> Seen:
        return Counter(
            (event.host, event.name) for event in self.history.events if _is_users(event.host, event.kind.value)
        )


_current_host: ContextVar[str] = ContextVar("wavetank_live_host", default="")


class _Names(trio.abc.HostnameResolver):
    """Resolves the system's host names: each gets a loopback address of its own, and a proxy that listens there.

    So client code runs unchanged: the port is the one it names, whatever the real one is. (To answer with
    another port would not do: AnyIO keeps the asked one.) A user reaches the system through a proxy of
    their own.
    """

    def __init__(self, target: Target, users: Iterable[str], entry: str, nursery: trio.Nursery) -> None:
        self._target = target
        self._entry = entry
        self._nursery = nursery
        self._addresses = itertools.count(1)
        self.user_proxies = {user: self._proxy(entry) for user in users}
        self._started: dict[tuple[str, str, int], Proxy] = {}
        self._starting = trio.Lock()

    async def getaddrinfo(  # type: ignore[override]
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self._target.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {name}")
        user = _current_host.get() if name == self._entry else ""
        async with self._starting:
            proxy = self._started.get((user, name, port))
            if proxy is None:
                proxy = self.user_proxies.get(user) or self._proxy(name)
                proxy.port = port
                await self._nursery.start(proxy.run)
                self._started[user, name, port] = proxy
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (proxy.host, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        return str(sockaddr[0]), str(sockaddr[1])

    def _proxy(self, host: str) -> Proxy:
        # The process's own part of 127/8, so that two replays at once do not meet.
        network = f"127.{100 + os.getpid() % 100}"
        number = next(self._addresses)
        return Proxy(self._target.address(host), host=f"{network}.{number // 250}.{number % 250 + 1}")


async def run_live(
    system: System, plan: Plan, anchors: Sequence[Seen], target: Target, properties: Iterable[Property]
) -> Result:
    """Apply a plan to a deployment, judge what was seen, and undo everything, also when interrupted."""
    entry = next(system.topology().successors("user"))
    users = [f"user:{user_name(number)}" for number in range(plan.setting.users)]
    control = Control(target.control.address, target.control.key)
    try:
        await trio.to_thread.run_sync(lambda: control.order("reset"))
        async with trio.open_nursery() as nursery:
            names = _Names(target, users, entry, nursery)
            trio.socket.set_custom_hostname_resolver(names)
            run = LiveRun(system, plan, control, names.user_proxies, nursery)
            for host, path in target.logs.items():
                nursery.start_soon(run.follow_log, host, Path(path))
            await run.play(plan, anchors)
            await run.rest()
            with trio.fail_after(system.quiet_within_s):
                await run.system.inspect(Observer(lambda name, data: run.observe(OBSERVER, name, data)))
            nursery.cancel_scope.cancel()
        return Result(run.history, judge(properties, run.history), run.history.events[-1].at_s)
    finally:
        control.order("heal")
        control.close()
