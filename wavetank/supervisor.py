"""The staging's own process: real stores, the LLM's stand-in and the served platform, with a proxy on each link.

It does what a control connection orders (one JSON object per line), and ends everything when it ends.
"""

import contextlib
import gc
import json
import math
import os
import secrets
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec
import psutil
import trio

from models.system import CONFIG, LLM_CHARACTERS_MAX, LLM_LATENCY_S, LLM_PROBED, NEXT_RELEASE, TOKEN_S
from models.system import system as chat
from simulator.errors import EnvironmentFailedError, WavetankError
from simulator.history import Value
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.credential import Credential
from simulator.live.framing import framing_of
from simulator.live.nemesis import strike_proxy
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.process import ServerProcess
from simulator.live.proxy import Direction, Proxy
from simulator.live.redis import RedisServer
from simulator.live.target import AnyMeans, ByStaging, ByToxiproxy, HostTarget, Protocol, Target, described
from simulator.live.toxiproxy_api import ToxiproxyAPI
from wavetank.preloaded import Preloaded
from wavetank.processes import LLM_TIMEOUT_S, LLMProcess, PlatformProcess
from wavetank.staged import Staged
from wavetank.stores import empty_clickhouse, empty_postgres, empty_redis
from wavetank.troubles import STAGED, ServiceTroubles
from wavetank.ungrouped import run_ungrouped

__all__ = ["Supervisor", "supervise"]

LINE_BYTES_MAX = 65_536
BUSY_S = 10.0  # how long a replay waits for what the last one did to be undone
WATCH_EVERY_S = 0.5
AT_REST_FOR_S = 0.1
AT_REST_WITHIN_S = 2.0
PROTOCOLS: Mapping[str, Protocol] = {"redis": "resp", "postgres": "postgresql", "clickhouse": "http", "llm": "http"}
"""What is spoken to each host; to gateways it is WebSocket."""
STORES = ("redis", "postgres", "clickhouse")
HEADER = b"# A staging on this machine, written by `wavetank staging up` and gone with `wavetank staging down`.\n"


class Supervisor:
    """Runs the staging and carries out orders.

    `servers` are the processes by the host whose part they play, and `proxies` the links between them, as the
    simulated system has them.
    """

    def __init__(self, target_file: Path, staged: Staged) -> None:
        self.target_file = target_file
        self.staged = staged
        self.key = secrets.token_hex(16)
        self.key_file = target_file.resolve().parent / ".wavetank" / f"staging-{secrets.token_hex(4)}.key"
        self.redis, self.postgres, self.clickhouse = RedisServer(), PostgreSQLServer(), ClickHouseServer()
        self.preloaded = Preloaded()
        self.servers: dict[str, ServerProcess] = {
            "redis": self.redis,
            "postgres": self.postgres,
            "clickhouse": self.clickhouse,
        }
        if not staged.llm:
            self.servers["llm"] = LLMProcess(
                self.preloaded, latency_s=LLM_LATENCY_S, context_characters_max=LLM_CHARACTERS_MAX
            )
        self.proxies = {
            (source, destination): Proxy(
                ("127.0.0.1", self.servers[destination].port), framing=framing_of(PROTOCOLS[destination])
            )
            for source, destination in chat.topology().edges
            if source != "user" and destination in self.servers
        }
        self.toxiproxy = ToxiproxyAPI({proxy_name(*link): proxy for link, proxy in self.proxies.items()})
        self.platform: list[PlatformProcess] = []
        llm = self.servers.get("llm")
        self.troubles = ServiceTroubles(
            postgres_port=self.postgres.port, llm_port=llm.port if llm is not None else None
        )
        self._nursery: trio.Nursery
        self._stopping = trio.Event()
        self._starting: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)
        self._told_to_end: dict[str, None] = {}
        self._in_use = trio.Lock()  # by the conversation that ordered the last `reset`, until it hangs up

    async def run(self, signals: AsyncIterator[int]) -> None:
        """Start everything, write the target file, and serve orders until told to stop, by order or by signal."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._stop_on_signal, signals)
                await self._start()
                listeners = await self._nursery.start(self._listen)
                write_key(self.key_file, self.key)
                write_target(self.target_file, self._target(listeners[0].socket.getsockname()[1]))
                self._nursery.start_soon(self._stop_without_target)
                await self._stopping.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            for server in self.servers.values():
                server.close()
            self.preloaded.close()
            if self._is_described():
                self.target_file.unlink()
            self.key_file.unlink(missing_ok=True)

    async def _start(self) -> None:
        for proxy in self.proxies.values():
            await self._nursery.start(proxy.run)
        await self._nursery.start(self.toxiproxy.run)
        for name in chat.topology().nodes:
            if name not in ("user", "llm", *self.servers):
                self.platform.append(self._platform_process(name))
        self.servers.update({each.name: each for each in self.platform})
        await self._all_up(STORES)
        await empty_postgres(self.postgres.port)  # which makes the platform's role
        await self._all_up(self.servers)

    def _platform_process(self, name: str) -> PlatformProcess:
        ports = {store: proxy.port for (source, store), proxy in self.proxies.items() if source == name}
        role = "gateway" if chat.topology().has_edge("user", name) else "agents"
        return PlatformProcess(self.preloaded, name, role, ports, token_s=TOKEN_S, staged=self.staged)

    def _target(self, port: int) -> Target:
        logs = {each.name: each.log for each in self.servers.values() if each.name not in STORES}
        silent = [each.name for each in self.platform if not each.listens]
        return Target(
            hosts={
                name: HostTarget(
                    "" if name in silent else f"127.0.0.1:{each.port}",
                    protocol=PROTOCOLS.get(name, "websocket"),
                    log=logs.get(name),
                )
                for name, each in self.servers.items()
            },
            means=tuple(self._means(port)),
            constants={LLM_PROBED: 2 * LLM_TIMEOUT_S + CONFIG.breaker_reset_s} if self.staged.llm else {},
            defects=self.staged.defects,
        )

    def _means(self, port: int) -> Iterator[AnyMeans]:
        """Yield what may be done to the staging and how: to links by its own orders, or by Toxiproxy's."""
        links = {"->".join(link): proxy_name(*link) for link in self.proxies}
        if self.staged.toxiproxy:
            yield ByToxiproxy(f"http://127.0.0.1:{self.toxiproxy.port}", links)
            links = {}
        yield ByStaging(
            address=f"127.0.0.1:{port}",
            key=Credential(file=self.key_file),
            hosts=tuple(self.servers),
            links=tuple(links),
            troubles={
                **{host: names for host, names in STAGED.items() if host in self.servers},
                **{each.name: (NEXT_RELEASE,) for each in self.platform if self.staged.next_release},
            },
        )

    async def _stop_on_signal(self, signals: AsyncIterator[int]) -> None:
        await anext(signals)
        for server in self.servers.values():
            server.kill()  # the thread that waits until one is ready cannot be cancelled, but then waits no longer
        self._nursery.cancel_scope.cancel()

    def _is_described(self) -> bool:
        try:
            return self.key_file.name in self.target_file.read_text()
        except OSError:
            return False

    async def _stop_without_target(self) -> None:
        """Stop when the target file is gone or another's: nobody could find this staging any more."""
        while self._is_described():
            await trio.sleep(WATCH_EVERY_S)
        self._stopping.set()

    # Orders

    async def _listen(self, *, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        await trio.serve_tcp(self._converse, 0, host="127.0.0.1", task_status=task_status)

    async def _converse(self, stream: trio.SocketStream) -> None:
        buffer = b""
        with contextlib.suppress(trio.BrokenResourceError):
            async for chunk in stream:
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    await stream.send_all(json.dumps(await self._answer(line)).encode() + b"\n")
                if len(buffer) > LINE_BYTES_MAX:
                    break
        if self._is_mine():
            # A replay that was killed cannot undo what it did.
            with contextlib.suppress(WavetankError, OSError):
                await self._heal()
            self._in_use.release()

    def _is_mine(self) -> bool:
        return self._in_use.statistics().owner is trio.lowlevel.current_task()

    async def _answer(self, line: bytes) -> dict[str, Value]:
        try:
            order = msgspec.json.decode(line, type=dict[str, Value])
            if not secrets.compare_digest(str(order.get("key", "")).encode(), self.key.encode()):
                return {"error": "wrong key"}
            return await self._carry_out(str(order.get("do")), order)
        except WavetankError as error:
            return {"error": str(error)}
        except (msgspec.MsgspecError, KeyError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _carry_out(self, do: str, order: Mapping[str, Value]) -> dict[str, Value]:
        if do in ("crash", "restart", "terminate", "freeze", "thaw"):
            await self._strike_host(do, str(order["host"]))
        elif do == "proxy":
            self._strike_link(order)
        elif do == "awaited":
            proxy, direction = self._proxy_of(order)
            return {"awaited": proxy.messages_awaited(direction)}
        elif do == "trouble" and order["name"] == NEXT_RELEASE:
            self._install(str(order["host"]), self.staged.next_release if order["on"] is True else "")
        elif do == "trouble":
            await self.troubles.switch(str(order["host"]), str(order["name"]), on=order["on"] is True)
        elif do == "revive":
            broken = msgspec.convert(order.get("broken", []), list[str])
            await self._all_up([name for name in self.servers if name not in broken])
        elif do == "heal":
            await self._heal()
        elif do == "reset":
            await self._reset()
        elif do == "stop":
            self._stopping.set()
        elif do != "status":
            return {"error": f"no order {do!r}"}
        return {
            "pid": os.getpid(),
            "staged": msgspec.to_builtins(self.staged),
            "up": {name: server.pid is not None for name, server in self.servers.items()},
            "pids": {name: server.pid for name, server in self.servers.items() if server.pid is not None},
        }

    async def _strike_host(self, do: str, name: str) -> None:
        server = self.servers[name]
        if do == "crash":
            self._told_to_end.pop(name, None)
            server.kill()
        elif do == "terminate" and server.pid is not None:
            self._told_to_end[name] = None
            os.kill(server.pid, signal.SIGTERM)
        elif do == "restart":
            if name in self._told_to_end:
                await self._strike_host("crash", name)
            # The caller's users go on while the server starts: that it takes its time is part of a restart.
            self._nursery.start_soon(self._start_if_possible, name)
        elif do == "freeze":
            server.freeze()
        elif do == "thaw":
            server.thaw()
            await self.troubles.tell(name)

    async def _start_if_possible(self, name: str) -> None:
        with contextlib.suppress(WavetankError, OSError):  # crashed again meanwhile, or else `heal` will say why
            await self._start_server(name)

    async def _start_server(self, name: str) -> None:
        async with self._starting[name]:
            if self.servers[name].pid is None:
                await trio.to_thread.run_sync(self.servers[name].start)
                await self.troubles.tell(name)

    async def _all_up(self, names: Iterable[str]) -> None:
        """Return when these answer; start those that do not run. Raises the error of the first that cannot."""
        failures: dict[str, WavetankError | OSError] = {}

        async def up(name: str) -> None:
            self.servers[name].thaw()
            try:
                await self._start_server(name)
            except (WavetankError, OSError) as error:
                failures[name] = error

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(up, name)
        for name in names:
            if name in failures:
                raise failures[name]

    def _install(self, name: str, interpreter: str) -> None:
        """Let a process of the platform run another release from its next start on, or ours again."""
        process = next((each for each in self.platform if each.name == name), None)
        if process is None:
            raise EnvironmentFailedError(f"host {name!r} is no process of the platform, and has no next release")
        process.interpreter = interpreter

    def _strike_link(self, order: Mapping[str, Value]) -> None:
        seconds, nth = (msgspec.convert(order.get(key, 0), float) for key in ("seconds", "nth"))
        proxy, direction = self._proxy_of(order)
        strike_proxy(proxy, str(order["action"]), direction, seconds, int(nth), self._nursery)

    def _proxy_of(self, order: Mapping[str, Value]) -> tuple[Proxy, Direction]:
        """Return at which proxy the link of an order is, and which way of it is meant."""
        source, destination = str(order["source"]), str(order["destination"])
        if (source, destination) in self.proxies:
            return self.proxies[source, destination], Direction.TO_UPSTREAM
        return self.proxies[destination, source], Direction.TO_CLIENT

    async def _heal(self) -> None:
        """Undo every fault."""
        self.toxiproxy.reset()
        for proxy in self.proxies.values():
            proxy.heal()
        for name in list(self._told_to_end):
            await self._strike_host("crash", name)
        for each in self.platform:
            each.interpreter = ""
            if each.runs:
                await self._strike_host("crash", each.name)
        await self._all_up(self.servers)
        await self.troubles.end_all()

    async def _reset(self) -> None:
        """Return to the state in which the staging came up: healed, empty stores, fresh processes of our own."""
        if not self._is_mine():
            with trio.move_on_after(BUSY_S) as waiting:
                await self._in_use.acquire()
            if waiting.cancelled_caught:
                raise EnvironmentFailedError(
                    "another replay uses this staging. Wait for its end, or start one elsewhere."
                )
        for name in self.servers:
            if name not in STORES:
                await self._strike_host("crash", name)
        await self._all_up(STORES)
        await empty_redis(self.redis.port)
        await empty_clickhouse(self.clickhouse.port)
        await empty_postgres(self.postgres.port)
        await self._heal()
        await self._come_to_rest()

    async def _come_to_rest(self) -> None:
        """Wait a while until our processes do nothing: they are ready before all that they begin with is done."""
        busy_s = math.inf
        with trio.move_on_after(AT_REST_WITHIN_S):
            while busy_s > 0:
                before_s = self._worked_s()
                await trio.sleep(AT_REST_FOR_S)
                busy_s = self._worked_s() - before_s

    def _worked_s(self) -> float:
        """Return for how long our processes have worked, in seconds of a processor."""
        worked_s = 0.0
        for server in self.servers.values():
            with contextlib.suppress(psutil.Error):
                if server.pid is not None:
                    times = psutil.Process(server.pid).cpu_times()
                    worked_s += times.user + times.system
        return worked_s


def proxy_name(source: str, destination: str) -> str:
    """Return how a link's proxy is called by clients of Toxiproxy."""
    return f"{source}_{destination}"


def write_key(path: Path, key: str) -> None:
    """Write what orders are known by, readable by its owner only."""
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(key)


def write_target(path: Path, target: Target) -> None:
    """Write a target file, whole or not at all.

    Raises EnvironmentFailedError when one is there already: it is another staging's.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(HEADER + described(target).encode())
        os.link(part, path)
    except FileExistsError as error:
        raise EnvironmentFailedError(
            f"{path} was written by another staging meanwhile. See wavetank staging status."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def supervise(target_file: Path, staged: Staged) -> int:
    """Run a staging until it is told to stop. Returns the exit code; why it could not run is said in one line."""
    gc.freeze()  # proxies wait for whatever looks at all that is loaded
    try:
        run_ungrouped(_supervise, partial(Supervisor, target_file, staged))
    except (WavetankError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _supervise(make: Callable[[], Supervisor]) -> None:
    # A signal is an order before there is anything that it could leave behind.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await make().run(signals)


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Staged)))
