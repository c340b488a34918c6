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
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from simulator.errors import EnvironmentFailedError, WavetankError
from simulator.history import Value
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.nemesis import strike_proxy
from simulator.live.process import ServerProcess
from simulator.live.proxy import Proxy
from simulator.live.redis import RedisServer
from simulator.live.target import Capabilities, ControlAddress, Target
from wavetank.ungrouped import ungrouped

__all__ = ["Supervisor", "supervise"]

LINE_BYTES_MAX = 65_536
BUSY_S = 10.0  # how long a replay waits for what the last one did to be undone
WATCH_EVERY_S = 0.5
STORE_ANSWERS_WITHIN_S = 5.0
HEADER = b"# A staging on this machine, written by `wavetank staging up` and gone with `wavetank staging down`.\n"


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

    def environment(self) -> Mapping[str, str]:
        """Return our own, so that the same code is found; but tokens are signed with the demonstration secret."""
        kept = {name: value for name, value in os.environ.items() if name != "WAVETANK_SECRET"}
        return {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}

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
        self._nursery: trio.Nursery
        self._stopping = trio.Event()
        self._restarting = trio.Lock()
        self._in_use = trio.Lock()  # by the conversation that ordered the last `reset`, until it hangs up

    async def run(self, target_file: Path) -> None:
        """Start everything, write the target file, and serve orders until told to stop."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._start()
                listeners = await self._nursery.start(self._listen)
                await self._nursery.start(self._stop_on_signal)
                write_target(target_file, self._target(listeners[0].socket.getsockname()[1]))
                self._nursery.start_soon(self._stop_without, target_file)
                await self._stopping.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            for server in self.servers.values():
                server.close()
            if self._is_described(target_file):
                target_file.unlink()  # noqa: ASYNC240  # nothing else goes on by then

    async def _start(self) -> None:
        for proxy in self.proxies.values():
            await self._nursery.start(proxy.run)
        redis, clickhouse = self.proxies.values()
        self.servers["platform"] = PlatformServer(redis.port, clickhouse.port, self.defects)
        for server in self.servers.values():
            await trio.to_thread.run_sync(server.start)

    def _target(self, control_port: int) -> Target:
        return Target(
            hosts={name: f"127.0.0.1:{server.port}" for name, server in self.servers.items()},
            control=ControlAddress(f"127.0.0.1:{control_port}", self.key),
            capabilities=Capabilities(tuple(self.servers), tuple("->".join(link) for link in self.proxies)),
            logs={"platform": str(self.servers["platform"].log)},
            defects=self.defects,
        )

    async def _stop_on_signal(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._stopping.set()

    def _is_described(self, target_file: Path) -> bool:
        try:
            return self.key.encode() in target_file.read_bytes()
        except OSError:
            return False

    async def _stop_without(self, target_file: Path) -> None:
        """Stop when the target file is gone or another's: nobody could find this staging any more."""
        while self._is_described(target_file):
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
        except (msgspec.MsgspecError, KeyError, OSError, http.client.HTTPException) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _carry_out(self, do: str, order: Mapping[str, Value]) -> dict[str, Value]:
        if do in ("crash", "restart", "freeze", "thaw"):
            self._strike_host(do, self.servers[str(order["host"])])
        elif do == "proxy":
            self._strike_link(order)
        elif do == "revive":
            await self._revive()
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

    def _strike_host(self, do: str, server: ServerProcess) -> None:
        if do == "crash":
            server.kill()
        elif do == "restart":
            # The caller's users go on while the server starts: that it takes its time is part of a restart.
            self._nursery.start_soon(self._restart_if_possible, server)
        elif do == "freeze":
            server.freeze()
        else:
            server.thaw()

    async def _restart_if_possible(self, server: ServerProcess) -> None:
        with contextlib.suppress(WavetankError):  # crashed again meanwhile, or else `heal` will say why
            await self._restart(server)

    async def _restart(self, server: ServerProcess) -> None:
        async with self._restarting:
            if server.pid is None:
                await trio.to_thread.run_sync(server.start)

    def _strike_link(self, order: Mapping[str, Value]) -> None:
        source, destination = str(order["source"]), str(order["destination"])
        seconds = order.get("seconds")
        forward = (source, destination) in self.proxies
        proxy = self.proxies[(source, destination) if forward else (destination, source)]
        direction = "to-upstream" if forward else "to-client"
        strike_proxy(
            proxy, str(order["action"]), direction, float(seconds) if isinstance(seconds, (int, float)) else 0.0
        )

    async def _revive(self) -> None:
        """Return when every server answers; start those that do not run. Raises EnvironmentFailedError."""
        for server in self.servers.values():
            server.thaw()
            await self._restart(server)

    async def _heal(self) -> None:
        """Undo every fault."""
        for proxy in self.proxies.values():
            proxy.heal()
        await self._revive()

    async def _reset(self) -> None:
        """Return to the state in which the staging came up: healed, empty stores, a fresh platform."""
        if not self._is_mine():
            with trio.move_on_after(BUSY_S) as waiting:
                await self._in_use.acquire()
            if waiting.cancelled_caught:
                raise EnvironmentFailedError(
                    "another replay uses this staging. Wait for its end, or start one elsewhere."
                )
        self.servers["platform"].kill()
        for store in (self.redis, self.clickhouse):
            store.thaw()
            await self._restart(store)
        await trio.to_thread.run_sync(empty_stores, self.redis.port, self.clickhouse.port)
        await self._heal()


def empty_stores(redis_port: int, clickhouse_port: int) -> None:
    """Delete everything from a staging's Redis and ClickHouse."""
    with socket.create_connection(("127.0.0.1", redis_port), timeout=STORE_ANSWERS_WITHIN_S) as redis:
        redis.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
        redis.recv(64)
    for table in _ask_clickhouse(clickhouse_port, "SHOW TABLES").split():
        _ask_clickhouse(clickhouse_port, f"DROP TABLE {table}")


def _ask_clickhouse(port: int, statement: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STORE_ANSWERS_WITHIN_S)
    try:
        connection.request("POST", "/", statement)
        response = connection.getresponse()
        answer = response.read().decode()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise EnvironmentFailedError(f"clickhouse refused {statement!r}: {answer.strip()}")
    return answer


def write_target(path: Path, target: Target) -> None:
    """Write a target file, whole or not at all, readable by its owner only: it holds the control's key.

    Raises EnvironmentFailedError when one is there already: it is another staging's.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.touch(mode=0o600)
        part.write_bytes(HEADER + msgspec.toml.encode(target))
        os.link(part, path)
    except FileExistsError as error:
        raise EnvironmentFailedError(
            f"{path} was written by another staging meanwhile. See wavetank staging status."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def supervise(target_file: Path, defects: Sequence[str]) -> int:
    """Run a staging until it is told to stop. Returns the exit code; why it could not run is said in one line."""
    try:
        with ungrouped():
            trio.run(Supervisor(defects).run, target_file)
    except (WavetankError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), sys.argv[2:]))
