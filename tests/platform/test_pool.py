"""The store's connections: what a cancellation, a crash or a silent Redis leaves in the pool."""

import os
import signal

import pytest
import trio

from models.streams import StoreUnavailableError, open_store
from simulator.live.redis import RedisServer
from tests.platform.stage import config_for


def signalled(server: RedisServer, number: signal.Signals) -> None:
    assert server.pid is not None
    os.kill(server.pid, number)


def test_the_reply_of_a_cancelled_command_is_never_read_by_the_next(redis: RedisServer) -> None:
    """Otherwise one user would be answered with another's data."""

    async def main() -> None:
        async with open_store(config_for(redis)) as store:
            for user in ("alice", "bob"):
                await store.store_message(user=user, message="m", text="t", context="c")
            first, second = await store.wait_work("0-0")
            await store.finish_work(first, "for alice")
            await store.finish_work(second, "for bob")
            signalled(redis, signal.SIGSTOP)
            try:
                for _ in range(5):
                    with trio.move_on_after(0.01) as cancelled:
                        await store.cached_answer("alice", "t")
                    assert cancelled.cancelled_caught
            finally:
                signalled(redis, signal.SIGCONT)
            for _ in range(20):
                assert await store.cached_answer("bob", "t") == "for bob"

    trio.run(main)


def test_cancelled_blocking_reads_do_not_use_the_pool_up(redis: RedisServer) -> None:
    """Each user who leaves cancels one; the library's own pool is empty after 64."""

    async def main() -> None:
        async with open_store(config_for(redis)) as store:
            for _ in range(100):
                with trio.move_on_after(0.003):
                    await store.wait_replies("alice", "0-0")
            assert await store.cached_answer("alice", "t") is None

    trio.run(main)


def test_a_connection_to_a_silent_redis_is_given_up(redis: RedisServer) -> None:
    """A peer that went silent must not stay in the pool and swallow one command after another."""

    async def main() -> None:
        async with open_store(config_for(redis)) as store:
            assert await store.load_cursor() == "0-0"
            signalled(redis, signal.SIGSTOP)
            try:
                with pytest.raises(StoreUnavailableError):
                    await store.load_cursor()
            finally:
                signalled(redis, signal.SIGCONT)
            assert await store.load_cursor() == "0-0"

    trio.run(main)


def test_the_first_command_after_a_crash_and_restart_works(redis: RedisServer) -> None:
    """Connections that died while idle are not handed out."""

    async def main() -> None:
        async with open_store(config_for(redis)) as store:
            seq = await store.store_message(user="alice", message="m1", text="t", context="c")
            redis.kill()
            with pytest.raises(StoreUnavailableError):
                await store.load_cursor()
            redis.start()
            assert [work.seq for work in await store.wait_work("0-0")] == [seq]

    trio.run(main)


def test_a_reply_that_is_stored_again_changes_nothing(redis: RedisServer) -> None:
    """The agent may handle a message twice around a crash; its user must not be answered twice."""

    async def main() -> None:
        async with open_store(config_for(redis)) as store:
            await store.store_message(user="alice", message="m1", text="t", context="c")
            [work] = await store.wait_work("0-0")
            await store.store_reply(work, "answer")
            await store.store_reply(work, "another")
            assert [reply.text for reply in await store.replies_after("alice", "0-0")] == ["answer"]

    trio.run(main)
