"""Connections to Redis: a pool for coredis that neither leaks nor keeps a silent peer."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from anyio.abc import ByteStream
from coredis.connection import TCPConnection, TCPLocation
from coredis.connection._request import Request
from coredis.exceptions import RedisError
from coredis.pool import ConnectionPool
from coredis.typing import RedisValueT

__all__ = ["StorePool"]

# coredis reports every broken connection with a traceback, which the standard library prints to standard
# error when nobody listens. A store that is away is an expected state here, told by events of the platform's
# own.
logging.getLogger("coredis").addHandler(logging.NullHandler())


class StoreConnection(TCPConnection):
    """A connection that is discarded when a command on it is given up.

    coredis discards it for blocking commands only. The late reply of a cancelled command would be skipped
    correctly, but a peer that went silent would stay in the pool and swallow one command after another.
    """

    async def _connect(self) -> ByteStream:
        try:
            return await super()._connect()
        except BaseException:
            # coredis closes these only for a connection that was made; unclosed they are warned about one by
            # one.
            for channel in (self._write_buffer_in, self._push_message_buffer_in, self._streamed_message_buffer_in):
                channel.close()
            for end in (self._write_buffer_out, self._push_message_buffer_out, self._streamed_message_buffer_out):
                end.close()
            raise

    def create_request(
        self,
        command: bytes,
        *args: RedisValueT,
        noreply: bool | None = None,
        decode: RedisValueT | None = None,
        encoding: str | None = None,
        raise_exceptions: bool = True,
        timeout: float | None = None,
        disconnect_on_cancellation: bool = True,
    ) -> Request:
        """Queue a command, as the base class does; giving up its reply gives up the connection."""
        return super().create_request(
            command,
            *args,
            noreply=noreply,
            decode=decode,
            encoding=encoding,
            raise_exceptions=raise_exceptions,
            timeout=timeout,
            disconnect_on_cancellation=True,
        )


class StorePool(ConnectionPool[StoreConnection]):
    """As many connections as are wanted at once, the last used first, each for one command at a time.

    Replaces coredis's own pool, which (6.9) loses one of its places for good whenever a blocking read is
    cancelled or a connection dies in use: after 64 users went away it would be empty. It also shares one between
    the commands of many users, and the user who goes away takes the others' with them. There is no upper limit
    here: there are as many connections as blocking reads, one per connected user, and a few for the rest.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            connection_class=StoreConnection,
            location=TCPLocation(host, port),
            connect_timeout=None,
            decode_responses=True,
        )
        self._idle: list[StoreConnection] = []

    async def get_connection(self, **_: object) -> StoreConnection:
        """Return an idle connection or a new one, ready for commands. Safe to cancel at any point."""
        for connection in reversed(self._idle):
            if connection.statistics.requests_pending:
                continue  # the library gives a connection back before its command is answered
            self._idle.remove(connection)
            if connection.reusable:
                return connection
            connection.invalidate()
        assert isinstance(self.location, TCPLocation)
        connection = StoreConnection(self.location, **self.connection_kwargs)
        error = await self.task_group.start(self._run, connection)
        if error is not None:
            # coredis reports a cancelled handshake as a failed one; it must stay a cancellation to the caller.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise error
        return connection

    @asynccontextmanager
    async def acquire(self, **_: object) -> AsyncGenerator[StoreConnection, None]:
        """Lend a connection for a block."""
        connection = await self.get_connection()
        try:
            yield connection
        finally:
            self.release(connection)

    def release(self, connection: StoreConnection) -> None:
        """Take a connection back; a broken one is forgotten."""
        if connection.usable:
            self._idle.append(connection)

    def disconnect(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().invalidate()

    def _reset(self) -> None:
        self._idle.clear()

    async def _run(
        self,
        connection: StoreConnection,
        *,
        task_status: trio.TaskStatus[RedisError | None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            await connection.run(task_status=task_status)
        except RedisError as error:
            # Only before it was ready: afterwards a connection ends silently and fails its requests instead.
            task_status.started(error)
