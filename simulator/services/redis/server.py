"""A Redis server in the world: real RESP over Trio's sockets, with a disk that decides what a crash loses."""

import enum
import math
import time
from functools import partial

import trio

from simulator.services.answer import send_answer
from simulator.services.capacity import Capacity
from simulator.services.redis.keyspace import Contents
from simulator.services.redis.process import Process
from simulator.services.redis.resp import ProtocolError, RequestParser
from simulator.services.redis.session import Session

__all__ = ["Persistence", "SimulatedRedis"]

SHOWN_BYTES = 400


class Persistence(enum.Enum):
    """What survives a crash, by the name of what Redis is told (`appendonly`, `appendfsync`)."""

    ALWAYS = "always"
    """Every acknowledged write (`appendfsync always`)."""
    EVERY_SECOND = "every second"
    """What was written before the last whole second (`appendfsync everysec`)."""
    NEVER = "never"
    """Nothing: the server starts empty (`appendonly no`, `save ""`)."""


class SimulatedRedis:
    """The machine of one Redis server with its disk; it outlives the server's process. `main` is one such process.

    The replies are those of Redis 7.0 for the commands in `commands.COMMANDS`, and a refusal for all others.
    Not modelled: replication, cluster, scripts, ACLs, memory limits and eviction, limits of output buffers, keyspace
    notifications, a slow disk, a partial last write, and the time that loading takes; of modelled commands, SUBSCRIBE
    and the like within MULTI, and XPENDING with a range. Where Redis promises no order, KEYS and SMEMBERS tell the
    order of insertion, and SCAN a sorted one.
    """

    def __init__(
        self,
        *,
        port: int = 6379,
        host: str | None = None,
        persistence: Persistence = Persistence.ALWAYS,
        capacity: Capacity | None = None,
    ) -> None:
        self._port = port
        self._host = host
        self._persistence = persistence
        self._capacity = capacity if capacity is not None else Capacity()
        self._durable: Contents = {}
        self._process: Process | None = None
        self._unsynced_second: int | None = None

    @property
    def port(self) -> int:
        """The port; if 0 was asked for, from the first start on the one that was free then."""
        return self._port

    async def main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve what the disk holds until cancelled. `task_status` says when the server listens.

        Cancelled without a `crash`, the server stops in an orderly way and writes what it has.
        """
        assert self._process is None, "this Redis is running already"
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        process = self._process = Process(self._durable, self._before_write)
        self._unsynced_second = None
        try:
            task_status.started()
            await trio.serve_listeners(partial(_serve, process, self._capacity), listeners)
        finally:
            if self._process is process:
                self._durable = {} if self._persistence is Persistence.NEVER else process.keyspace.take_contents()
                self._process = None

    def crash(self) -> None:
        """Lose what is not durable, now. Tasks of `main` that still run change the data of a dead process only."""
        process, self._process = self._process, None
        if process is None:
            return
        contents = process.keyspace.take_contents()
        if self._persistence is Persistence.NEVER:
            self._durable = {}
        elif self._persistence is Persistence.ALWAYS or self._unsynced_second != _second():
            self._durable = contents

    def _before_write(self) -> None:
        """Do what the sync at the last whole second did, if there was a write since the one before it.

        Nothing changed between that sync and this first write after it, so it can be made up for now.
        """
        if self._persistence is not Persistence.EVERY_SECOND or self._process is None:
            return
        second = _second()
        if second != self._unsynced_second:
            self._durable = self._process.keyspace.copy_contents()
            self._unsynced_second = second


def _second() -> int:
    return math.floor(time.time())


async def _serve(process: Process, capacity: Capacity, stream: trio.SocketStream) -> None:
    connection = _Connection(process, capacity, stream)
    try:
        await connection.run()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client went away while it was being answered
    finally:
        connection.session.close()


class _Connection:
    """One connection in one task: reads, executes, and sends the replies to all it read at once."""

    def __init__(self, process: Process, capacity: Capacity, stream: trio.SocketStream) -> None:
        self.session = Session(process, self._wake)
        self._capacity = capacity
        self._stream = stream
        self._parser = RequestParser()
        self._receiving: trio.CancelScope | None = None

    async def run(self) -> None:
        """Serve until the client closes, quits, or sends what is not a request."""
        session = self.session
        while True:
            self._execute_received()
            if session.out:
                data, session.out = session.out, bytearray()
                await self._capacity.work()
                await send_answer(self._stream, data)
                continue  # more may have been told meanwhile, or a wait ended
            if session.closing:
                return
            received = await self._receive()
            if received is not None:
                if not received:
                    return
                self._parser.feed(received)

    def _execute_received(self) -> None:
        session = self.session
        try:
            while session.waiter is None and not session.closing:
                request = self._parser.next_request()
                if request is None:
                    return
                self._execute(request)
        except ProtocolError as error:
            session.fail(f"ERR Protocol error: {error}")

    def _execute(self, request: list[bytes]) -> None:
        """Execute a request. What nobody foresaw, which ends the run, is told with what caused it."""
        try:
            self.session.execute(request)
        except Exception as error:
            error.add_note(f"The simulated Redis failed at {b' '.join(request)[:SHOWN_BYTES]!r}.")
            raise

    async def _receive(self) -> bytes | bytearray | None:
        """Return received bytes, empty when the client closed; or None when there is something to send instead."""
        session = self.session
        if session.waiter is None and not session.listening:
            return await self._stream.receive_some()
        # Another task's command may produce what this client waits for. Cancelling the read costs no second task,
        # and loses no bytes.
        deadline_s = math.inf if session.waiter is None else session.waiter.deadline_s
        with trio.CancelScope(deadline=deadline_s) as self._receiving:
            try:
                return await self._stream.receive_some()
            finally:
                self._receiving = None
        if session.waiter is not None and trio.current_time() >= session.waiter.deadline_s:
            session.end_wait()
        return None

    def _wake(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
