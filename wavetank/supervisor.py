"""The staging's own process: real Redis, real ClickHouse and the served platform, with a proxy on each link.

It does what a control connection orders (one JSON object per line), and ends everything when it ends.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from simulator.errors import WavetankError
from simulator.history import Value
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.nemesis import strike_proxy
from simulator.live.process import ServerProcess
from simulator.live.proxy import Proxy
from simulator.live.redis import RedisServer
from simulator.live.target import Capabilities, ControlAddress, Target

__all__ = ["Supervisor", "supervise"]

LINE_BYTES_MAX = 65_536


class PlatformServer(ServerProcess):
    """`wavetank serve` as a child process."""

    name = "platform"

    def __init__(self, redis_port: int, clickhouse_port: int, defects: Sequence[str]) -> None:
        super().__init__()
        self._redis_port = redis_port
        self._clickhouse_port = clickhouse_port
        self._defects = defects

    def command(self) -> Sequence[str]:
        """Return the command line of the platform."""
        command = [sys.executable, "-m", "wavetank", "serve", "--port", str(self.port)]
        command += ["--redis", f"redis://127.0.0.1:{self._redis_port}"]
        command += ["--clickhouse", f"http://127.0.0.1:{self._clickhouse_port}"]
        for defect in self._defects:
            command += ["--defect", defect]
        return command

    def is_ready(self) -> bool:
        """Say whether users can connect."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
            return True


class Supervisor:
    """Runs the staging and carries out orders."""

    def __init__(self, defects: Sequence[str]) -> None:
        self.defects = tuple(defects)
        self.key = secrets.token_hex(16)
        self.redis = RedisServer()
        self.clickhouse = ClickHouseServer()
        self.proxies = {
            ("platform", "redis"): Proxy(("127.0.0.1", self.redis.port)),
            ("platform", "clickhouse"): Proxy(("127.0.0.1", self.clickhouse.port)),
        }
        self.servers: dict[str, ServerProcess] = {"redis": self.redis, "clickhouse": self.clickhouse}
        self._stopping = trio.Event()
        self._restarting = trio.Lock()

    async def run(self, target_file: Path) -> None:
        """Start everything, write the target file, and serve orders until told to stop."""
        try:
            async with trio.open_nursery() as nursery:
                await self._start(nursery)
                listeners = await nursery.start(self._listen)
                port = listeners[0].socket.getsockname()[1]
                write_target(target_file, self._target(port))
                nursery.start_soon(self._stop_on_signal)
                await self._stopping.wait()
                nursery.cancel_scope.cancel()
        finally:
            for server in self.servers.values():
                server.close()

    async def _start(self, nursery: trio.Nursery) -> None:
        await trio.to_thread.run_sync(self.redis.start)
        await trio.to_thread.run_sync(self.clickhouse.start)
        for proxy in self.proxies.values():
            await nursery.start(proxy.run)
        redis, clickhouse = self.proxies.values()
        self.servers["platform"] = PlatformServer(redis.port, clickhouse.port, self.defects)
        await trio.to_thread.run_sync(self.servers["platform"].start)

    def _target(self, control_port: int) -> Target:
        platform = self.servers["platform"]
        return Target(
            hosts={name: f"127.0.0.1:{server.port}" for name, server in self.servers.items()},
            control=ControlAddress(f"127.0.0.1:{control_port}", self.key),
            capabilities=Capabilities(tuple(self.servers), tuple("->".join(link) for link in self.proxies)),
            logs={"platform": str(platform.log)},
            defects=self.defects,
        )

    async def _stop_on_signal(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
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
                    return

    async def _answer(self, line: bytes) -> dict[str, Value]:
        try:
            order = msgspec.json.decode(line, type=dict[str, Value])
            if not secrets.compare_digest(str(order.get("key", "")), self.key):
                return {"error": "wrong key"}
            return await self._carry_out(str(order.get("do")), order)
        except (WavetankError, msgspec.MsgspecError, KeyError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _carry_out(self, do: str, order: Mapping[str, Value]) -> dict[str, Value]:
        if do in ("crash", "restart", "freeze", "thaw"):
            await self._strike_host(do, self.servers[str(order["host"])])
        elif do == "proxy":
            self._strike_link(order)
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
            "defects": list(self.defects),
            "up": {name: server.pid is not None for name, server in self.servers.items()},
        }

    async def _strike_host(self, do: str, server: ServerProcess) -> None:
        if do == "crash":
            server.kill()
        elif do == "restart":
            # The caller's users go on while the server starts: that it takes its time is part of a restart.
            trio.lowlevel.spawn_system_task(self._restart, server)
        elif server.pid is not None:
            os.killpg(server.pid, signal.SIGSTOP if do == "freeze" else signal.SIGCONT)

    async def _restart(self, server: ServerProcess) -> None:
        async with self._restarting:
            if server.pid is None and not self._stopping.is_set():
                with contextlib.suppress(WavetankError):  # `status` and the next order will show it
                    await trio.to_thread.run_sync(server.start)

    def _strike_link(self, order: Mapping[str, Value]) -> None:
        source, destination = str(order["source"]), str(order["destination"])
        seconds = order.get("seconds")
        forward = (source, destination) in self.proxies
        proxy = self.proxies[(source, destination) if forward else (destination, source)]
        direction = "to-upstream" if forward else "to-client"
        strike_proxy(proxy, str(order["action"]), direction, float(seconds) if isinstance(seconds, (int, float)) else 0.0)

    async def _heal(self) -> None:
        for proxy in self.proxies.values():
            proxy.heal()
        for server in self.servers.values():
            if server.pid is not None:
                os.killpg(server.pid, signal.SIGCONT)
            await self._restart(server)

    async def _reset(self) -> None:
        """Return to the state in which the staging came up: healed, empty stores, a fresh platform."""
        platform = self.servers["platform"]
        platform.kill()
        await self._heal_stores()
        await trio.to_thread.run_sync(lambda: empty_stores(self.redis.port, self.clickhouse.port))
        await self._heal()

    async def _heal_stores(self) -> None:
        for server in (self.redis, self.clickhouse):
            if server.pid is not None:
                os.killpg(server.pid, signal.SIGCONT)
            await self._restart(server)


def empty_stores(redis_port: int, clickhouse_port: int) -> None:
    """Delete everything from a staging's Redis and ClickHouse."""
    with socket.create_connection(("127.0.0.1", redis_port), timeout=5.0) as redis:
        redis.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
        redis.recv(64)
    ask = _clickhouse(clickhouse_port)
    for table in ask("SHOW TABLES").split():
        ask(f"DROP TABLE {table}")


def _clickhouse(port: int) -> Callable[[str], str]:
    def ask(statement: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
        try:
            connection.request("POST", "/", statement)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    return ask


def write_target(path: Path, target: Target) -> None:
    """Write a target file whole or not at all, readable by its owner only: it holds the control's key."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    header = b"# A staging on this machine, written by `wavetank staging up` and gone with `wavetank staging down`.\n"
    part.write_bytes(header + msgspec.toml.encode(target))
    part.replace(path)


def supervise(target_file: Path, defects: Sequence[str]) -> None:
    """Run a staging until it is told to stop."""
    supervisor = Supervisor(defects)
    try:
        trio.run(supervisor.run, target_file)
    finally:
        target_file.unlink(missing_ok=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), sys.argv[2:])
