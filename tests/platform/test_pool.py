"""The store's connections: what a cancellation, a crash or a silent Redis leaves in the pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from models.breaker import Breaker
from models.config import PlatformConfig
from models.protocol import Reply
from models.store import Store, StoreUnavailableError, open_store
from models.streams import Streams
from tests.platform.stage import SECRET, Services


@asynccontextmanager
async def opened(services: Services, *, redis_timeout_s: float = 1.0) -> AsyncIterator[Store]:
    """Provide a store whose breaker does not get in the way."""
    config = PlatformConfig(
        redis_port=services.redis.port,
        secret=SECRET,
        redis_timeout_s=redis_timeout_s,
        block_s=10.0,
        breaker_failures_max=1000,
    )
    async with open_store(Breaker("redis", config), config) as store:
        yield store


async def get(store: Store, key: str) -> str | None:
    return await store.ask(lambda client: client.get(key))


async def put(store: Store, key: str, value: str) -> None:
    await store.ask(lambda client: client.set(key, value))


def test_the_answer_to_a_cancelled_command_is_never_read_by_the_next(services: Services) -> None:
    """Otherwise one user would be answered with another's data."""

    async def main() -> None:
        async with opened(services) as store:
            for user in ("alice", "bob"):
                await put(store, user, f"for {user}")
            services.redis.freeze()
            try:
                for _ in range(5):
                    with trio.move_on_after(0.01) as cancelled:
                        await get(store, "alice")
                    assert cancelled.cancelled_caught
            finally:
                services.redis.thaw()
            for _ in range(20):
                assert await get(store, "bob") == "for bob"

    trio.run(main)


def test_cancelled_blocking_reads_do_not_use_the_pool_up(services: Services) -> None:
    """Each user who leaves cancels one; the library's own pool is empty after 64."""

    async def main() -> None:
        async with opened(services) as store:
            for _ in range(100):
                with trio.move_on_after(0.003):
                    await store.wait_entries({"replies:alice": "0-0"})
            assert await get(store, "alice") is None

    trio.run(main)


def test_a_connection_to_a_silent_redis_is_given_up(services: Services) -> None:
    """A peer that went silent must not stay in the pool and swallow one command after another."""

    async def main() -> None:
        async with opened(services, redis_timeout_s=0.3) as store:
            await put(store, "alice", "here")
            services.redis.freeze()
            try:
                with pytest.raises(StoreUnavailableError):
                    await get(store, "alice")
            finally:
                services.redis.thaw()
            assert await get(store, "alice") == "here"

    trio.run(main)


def test_who_waits_for_news_is_told_at_once_when_redis_fails_somebody_else(services: Services) -> None:
    """A silent connection looks like one without news: nobody must trust theirs for longer than necessary."""

    async def main() -> None:
        async with opened(services, redis_timeout_s=0.3) as store:
            outcomes: list[str] = []

            async def wait() -> None:
                with pytest.raises(StoreUnavailableError, match="failed somebody else"):
                    await store.wait_entries({"replies:alice": "0-0"})
                outcomes.append("told")

            await put(store, "alice", "here")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.05)
                services.redis.freeze()
                try:
                    with pytest.raises(StoreUnavailableError):
                        await get(store, "alice")
                    await trio.testing.wait_all_tasks_blocked()
                    assert outcomes == ["told"]
                finally:
                    services.redis.thaw()

    trio.run(main)


def test_the_first_command_after_a_crash_and_restart_works(services: Services) -> None:
    """Connections that died while idle are not handed out."""

    async def main() -> None:
        async with opened(services) as store:
            await put(store, "alice", "here")
            services.redis.kill()
            with pytest.raises(StoreUnavailableError):
                await get(store, "alice")
            services.redis.start()
            assert await get(store, "alice") == "here"

    trio.run(main)


def test_a_reply_that_is_published_again_changes_nothing(services: Services) -> None:
    """Whether the first attempt arrived is unknown after an outage; its user must not be answered twice."""

    async def main() -> None:
        async with opened(services) as store:
            streams = Streams(store)
            replies = [Reply(to=f"m{seq}", seq=seq, status="done", text="t", nodes={}) for seq in (1, 2)]
            for reply in (*replies, *replies):
                await streams.publish_reply("alice", reply)
            assert await streams.replies_after("alice", 0) == replies
            assert await streams.replies_after("alice", 1) == replies[1:]

    trio.run(main)


def test_who_goes_away_takes_nobody_elses_command_along(services: Services) -> None:
    """Three such failures in a row would open the breaker for everybody."""

    async def main() -> None:
        async with opened(services) as store:
            await put(store, "bob", "for bob")
            found: list[str | None] = []

            async def ask() -> None:
                found.append(await get(store, "bob"))

            async with trio.open_nursery() as nursery:
                services.redis.freeze()
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(0.05):
                    await get(store, "alice")
                services.redis.thaw()
            assert found == ["for bob"]

    trio.run(main)
