"""Redis, as the platform uses it: every command in time and behind a breaker, and reads that wait for news.

A command either returns what Redis answered in time or raises StoreUnavailableError; after that a write may or may not
have happened. What Redis refuses counts as well, for it refuses only when it is out of memory or disk, or has become a
replica. Nothing is retried here: a write that is repeated blindly is a write that happens twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

import trio
from coredis import Redis
from coredis.response.types import StreamEntry
from coredis.retry import NoRetryPolicy

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig
from models.pool import StorePool

__all__ = ["STREAM_START", "Store", "StoreUnavailableError", "open_store"]

T = TypeVar("T")

STREAM_START = "0-0"
# How many entries of a stream one read may bring; more come with the next.
READ_MAX = 100


class StoreUnavailableError(Exception):
    """Redis did not answer properly in time. The outcome of a write is unknown."""


class Store:
    """One Redis client behind a breaker."""

    def __init__(self, client: Redis[str], breaker: Breaker, config: PlatformConfig) -> None:
        self._client = client
        self._breaker = breaker
        self._config = config
        self._waiting: dict[int, trio.CancelScope] = {}
        self._reads = 0

    async def ask(self, command: Callable[[Redis[str]], Awaitable[T]]) -> T:
        """Return the answer to a command. Raises StoreUnavailableError."""
        try:
            return await self._breaker.call(lambda: self._attempt(command))
        except BreakerOpenError as error:
            raise StoreUnavailableError("the breaker is open") from error

    async def wait_entries(self, after: Mapping[str, str]) -> Mapping[str, Sequence[StreamEntry]]:
        """Return the entries of streams after an id each, oldest first; nothing when none came in time.

        Not through the breaker, for which a call that waits for seconds is no probe. But when Redis fails anybody, all
        who wait are told at once, so that nobody trusts a connection that went silent.
        """
        if self._breaker.state != "closed":
            raise StoreUnavailableError("the breaker is not closed")
        block_s = self._config.block_s
        self._reads += 1
        number = self._reads
        scope = self._waiting[number] = trio.CancelScope(
            deadline=trio.current_time() + block_s + self._config.redis_timeout_s
        )
        try:
            with scope:
                entries = await self._client.xread(after, count=READ_MAX, block=int(block_s * 1000))
                return entries or {}
        except Exception as error:
            raise _unavailable(error) from error
        finally:
            del self._waiting[number]
        raise StoreUnavailableError("no news in time, or Redis failed somebody else")

    async def probe_forever(self) -> NoReturn:
        """Ask Redis for nothing whenever the breaker is not closed, until cancelled."""
        await self._breaker.probe_forever(lambda: self.ask(lambda client: client.ping()))

    async def _attempt(self, command: Callable[[Redis[str]], Awaitable[T]]) -> T:
        try:
            with trio.fail_after(self._config.redis_timeout_s):
                return await command(self._client)
        except Exception as error:
            for scope in self._waiting.values():
                scope.cancel()
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> StoreUnavailableError:
    """Whatever the client library raises (its own errors, OSError, a timeout, groups of them) is one fact to us."""
    return StoreUnavailableError(f"{type(error).__name__}: {error}")


@asynccontextmanager
async def open_store(breaker: Breaker, config: PlatformConfig) -> AsyncIterator[Store]:
    """Provide a store. Redis need not be there yet."""
    pool = StorePool(config.redis_host, config.redis_port)
    # The version check would ask Redis before its first command; a failure of that is not repeated.
    client: Redis[str] = Redis(
        connection_pool=pool, decode_responses=True, verify_version=False, retry_policy=NoRetryPolicy()
    )
    async with client:
        yield Store(client, breaker, config)
