"""What Redis keeps: the work stream, a reply stream per user, sessions, the cache, the buffer.

Every function either returns what Redis answered in time or raises StoreUnavailableError; after that a write
may or may not have happened. Nothing is retried here: a write that is repeated blindly is a write that
happens twice.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import trio
from coredis import Redis
from coredis.exceptions import ResponseError
from coredis.response.types import StreamEntry
from coredis.retry import NoRetryPolicy

from models.config import PlatformConfig
from models.pool import StorePool
from models.protocol import Reply

__all__ = ["STREAM_START", "Store", "StoreUnavailableError", "Work", "open_store"]

T = TypeVar("T")

STREAM_START = "0-0"
WORK = "work"
CURSOR = "agent:cursor"
BUFFER = "analytics:buffer"
# How many replies one read may bring; more come with the next.
REPLY_BATCH = 100
ALREADY_STORED = "equal or smaller"


class StoreUnavailableError(Exception):
    """Redis did not answer properly in time. The outcome of a write is unknown."""


@attrs.frozen
class Work:
    """One stored message. Its sequence number is its id in the work stream, and its reply's id too."""

    seq: str
    user: str
    message: str
    text: str
    context: str


class Store:
    """The platform's vocabulary over one Redis client."""

    def __init__(self, client: Redis[str], config: PlatformConfig) -> None:
        self._client = client
        self._config = config

    async def _ask(self, command: Awaitable[T], *, extra_s: float = 0.0) -> T:
        try:
            with trio.fail_after(self._config.redis_timeout_s + extra_s):
                return await command
        except ResponseError as error:
            if ALREADY_STORED in str(error):
                raise
            raise StoreUnavailableError(str(error)) from error
        except Exception as error:
            # Whatever the client library raises (its own errors, OSError, a timeout, groups of them), to the
            # platform it is one fact.
            raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error

    async def _read_stream(self, key: str, after: str, *, count: int) -> Sequence[StreamEntry]:
        block_s = self._config.block_s
        answer = await self._ask(
            self._client.xread({key: after}, count=count, block=int(block_s * 1000)), extra_s=block_s
        )
        return answer[key] if answer else ()

    async def store_session(self, user: str, connection: int) -> None:
        """Remember which connection of the user is the present one."""
        await self._ask(self._client.set(f"session:{user}", str(connection), ex=self._config.session_s))

    async def store_message(self, *, user: str, message: str, text: str, context: str) -> str:
        """Append a message to the work stream; return its sequence number."""
        fields: Mapping[str | bytes, str] = {"user": user, "id": message, "text": text, "context": context}
        seq = await self._ask(self._client.xadd(WORK, fields))
        assert seq is not None
        return seq

    async def wait_work(self, after: str) -> list[Work]:
        """Return the messages after a sequence number, oldest first; nothing when none came in time."""
        return [_work(entry) for entry in await self._read_stream(WORK, after, count=self._config.work_batch)]

    async def load_cursor(self) -> str:
        """Return the sequence number of the last message whose reply the agent stored."""
        return await self._ask(self._client.get(CURSOR)) or STREAM_START

    async def store_reply(self, work: Work, text: str) -> None:
        """Append the reply to its user's stream under the message's own sequence number.

        Redis refuses a number that is not greater than the last one; as messages are handled in order, that
        means the reply is there already: handling a message again after a crash changes nothing.
        """
        fields: Mapping[str | bytes, str] = {"to": work.message, "text": text}
        try:
            await self._ask(self._client.xadd(_replies(work.user), fields, identifier=work.seq))
        except ResponseError:
            return

    async def finish_work(self, work: Work, text: str) -> None:
        """Cache the answer and move the agent's cursor past the message, in one round trip."""
        await self._ask(self._finish(work, text))

    async def _finish(self, work: Work, text: str) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(self._cache_key(work.user, work.text), text, ex=self._config.cache_s)
            pipeline.set(CURSOR, work.seq)

    async def cached_answer(self, user: str, question: str) -> str | None:
        """Return what the agent answered to the same question of the same user a short while ago."""
        return await self._ask(self._client.get(self._cache_key(user, question)))

    def _cache_key(self, user: str, question: str) -> str:
        digest = hashlib.sha256(question.encode()).hexdigest()[:32]
        if self._config.has("cache-without-user"):
            return f"cache:{digest}"
        return f"cache:{user}:{digest}"

    async def replies_after(self, user: str, after: str) -> list[Reply]:
        """Return the replies a user has missed, oldest first, without waiting."""
        return [_reply(entry) for entry in await self._ask(self._client.xrange(_replies(user), f"({after}", "+"))]

    async def last_reply(self, user: str) -> str:
        """Return the sequence number of the newest reply to a user."""
        entries = await self._ask(self._client.xrevrange(_replies(user), "+", "-", count=1))
        return str(entries[0].identifier) if entries else STREAM_START

    async def wait_replies(self, user: str, after: str) -> list[Reply]:
        """Return the replies after a sequence number, oldest first; nothing when none came in time."""
        return [_reply(entry) for entry in await self._read_stream(_replies(user), after, count=REPLY_BATCH)]

    async def buffer(self, row: str) -> None:
        """Append one analytics row to the fallback buffer."""
        await self._ask(self._client.rpush(BUFFER, [row]))

    async def buffered(self, count: int) -> list[str]:
        """Return the oldest rows of the fallback buffer and leave them there; a negative count means all."""
        return list(await self._ask(self._client.lrange(BUFFER, 0, count - 1 if count > 0 else -1)))

    async def unbuffer(self, rows: Sequence[str]) -> None:
        """Remove exactly these rows from the fallback buffer.

        By value rather than by position: a trim whose answer was lost may reach Redis late, after its rows
        are gone, and would then cut off rows that nobody has read.
        """
        await self._ask(self._unbuffer(rows))

    async def _unbuffer(self, rows: Sequence[str]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for row in rows:
                pipeline.lrem(BUFFER, 1, row)

    async def clear_buffer(self) -> None:
        """Delete the fallback buffer whole (only a planted defect does that)."""
        await self._ask(self._client.delete([BUFFER]))


@asynccontextmanager
async def open_store(config: PlatformConfig) -> AsyncIterator[Store]:
    """Provide the store. Redis need not be there: connections are made when they are wanted."""
    pool = StorePool(config.redis_host, config.redis_port)
    # coredis's default policy repeats a command after a lost connection, which duplicates an XADD. The
    # version check would make the first command of a client different from the others.
    client: Redis[str] = Redis(
        connection_pool=pool, decode_responses=True, retry_policy=NoRetryPolicy(), verify_version=False
    )
    async with client:
        yield Store(client, config)


def _replies(user: str) -> str:
    return f"replies:{user}"


def _reply(entry: StreamEntry) -> Reply:
    fields = entry.field_values
    return Reply(to=str(fields["to"]), seq=str(entry.identifier), text=str(fields["text"]))


def _work(entry: StreamEntry) -> Work:
    fields = entry.field_values
    return Work(
        seq=str(entry.identifier),
        user=str(fields["user"]),
        message=str(fields["id"]),
        text=str(fields["text"]),
        context=str(fields["context"]),
    )
