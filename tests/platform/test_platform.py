"""The platform end to end on a real Redis and a real ClickHouse."""

import trio

from models.client import Outcome
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.process import free_port
from simulator.live.redis import RedisServer
from tests.platform.stage import WAIT_MAX_S, config_for, rows_of, staged, until


def test_a_message_is_acknowledged_answered_and_counted(redis: RedisServer, clickhouse: ClickHouseServer) -> None:
    """The whole path once: what every other test varies."""

    async def main() -> None:
        async with staged(config_for(redis, clickhouse)) as stage:
            alice = await stage.connected_user("alice")
            assert await alice.ask("m1", "how deep?") is Outcome.OK
            await until(lambda: bool(alice.replies))
            [reply] = alice.replies
            assert (reply.to, reply.text) == ("m1", "how deep? -> noted for alice/m1")
            await stage.wait_for("analytics_written", message="m1", path="direct")
            assert await rows_of(clickhouse) == ["alice m1"]
            [stored] = stage.happened("message_stored", user="alice", message="m1")
            assert stage.happened("reply_stored", user="alice", message="m1", seq=stored["seq"])
            assert stage.happened("message_acknowledged", user="alice", message="m1")

    trio.run(main)


def test_a_resumed_connection_gets_what_it_missed_in_order(redis: RedisServer) -> None:
    """Delivery across reconnects: nothing is skipped and nothing comes twice."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            alice = await stage.connected_user("alice")
            await alice.ask("m1", "one")
            await until(lambda: len(alice.replies) == 1)
            await alice.client.leave(clean=False)
            await stage.wait_for("connection_closed", user="alice")
            other = stage.absent_user("alice")
            stage.nursery.start_soon(other.client.run)
            await until(lambda: other.client.is_connected)
            await other.ask("m2", "two")
            await other.ask("m3", "three")
            await until(lambda: len(other.replies) == 3)
            await other.client.leave(clean=True)
            stage.nursery.start_soon(alice.client.run)
            await stage.wait_for("resumed", user="alice", missed=2)
            await until(lambda: len(alice.replies) == 3)
            assert [reply.to for reply in alice.replies] == ["m1", "m2", "m3"]
            await alice.ask("m4", "four")
            await until(lambda: len(alice.replies) == 4)

    trio.run(main)


def test_users_never_see_each_others_replies(redis: RedisServer) -> None:
    """Isolation, with the same questions from both, so that a shared cache would show."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            users = [await stage.connected_user(name) for name in ("alice", "bob")]
            for number in range(5):
                for user in users:
                    assert await user.ask(f"m{number}", "same question") is Outcome.OK
            for user in users:
                await until(lambda user=user: len(user.replies) == 5)  # type: ignore[misc]
                assert all(f"noted for {user.client.user}/" in reply.text for reply in user.replies)

    trio.run(main)


def test_an_invalid_token_is_refused_and_told_nothing(redis: RedisServer) -> None:
    """No data without a valid token: one error frame, then the end."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            mallory = stage.user("alice", token="no token")
            await until(lambda: mallory.states == ["refused"])
            assert [type(frame).__name__ for frame in mallory.frames] == ["ErrorFrame"]
            await stage.wait_for("refused", reason="unauthorised")

    trio.run(main)


def test_a_newer_connection_replaces_the_older(redis: RedisServer) -> None:
    """A half-dead device must not keep its user from coming back."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            older = await stage.connected_user("alice")
            newer = await stage.connected_user("alice")
            await until(lambda: "disconnected" in older.states)
            await older.client.leave(clean=False)
            await until(lambda: newer.client.is_connected)
            assert await newer.ask("m1", "still there?") in (Outcome.OK, Outcome.INFO)

    trio.run(main)


def test_leaving_while_connecting_ends_the_attempt(redis: RedisServer) -> None:
    """Also after an earlier conversation was broken off, which must not be mistaken for the present one."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            alice = await stage.connected_user("alice")
            await alice.client.leave(clean=False)
            stage.nursery.start_soon(alice.client.run)
            await trio.lowlevel.checkpoint()
            with trio.fail_after(WAIT_MAX_S):
                await alice.client.leave(clean=True)
            assert not alice.client.is_connected
            assert await alice.ask("m1", "anyone?") is Outcome.FAIL

    trio.run(main)


def test_garbage_on_the_port_ends_only_its_own_connection(redis: RedisServer) -> None:
    """Whoever can reach the port must not be able to stop the platform."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            for garbage in (b"", b"\x00\xff" * 50, b"GET / HTTP/1.1\r\n\r\n"):
                stream = await trio.open_tcp_stream("127.0.0.1", stage.port)
                if garbage:
                    await stream.send_all(garbage)
                await stream.aclose()
            alice = await stage.connected_user("alice")
            assert await alice.ask("m1", "alive?") is Outcome.OK

    trio.run(main)


def test_analytics_survive_a_clickhouse_crash_exactly_once(redis: RedisServer, clickhouse: ClickHouseServer) -> None:
    """Fallback: breaker opens, rows wait in Redis, come in after the restart, and the breaker recloses."""

    async def main() -> None:
        async with staged(config_for(redis, clickhouse)) as stage:
            alice = await stage.connected_user("alice")
            await alice.ask("m0", "before")
            await stage.wait_for("analytics_written", message="m0")
            await trio.to_thread.run_sync(clickhouse.kill)
            for number in range(1, 7):
                assert await alice.ask(f"m{number}", f"question {number}") is Outcome.OK
            await stage.wait_for("breaker_moved", old="closed", new="open")
            await until(lambda: len(stage.happened("analytics_buffered")) == 6)
            await until(lambda: len(alice.replies) == 7)
            await trio.to_thread.run_sync(clickhouse.start)
            await stage.wait_for("breaker_moved", old="half-open", new="closed")
            await until(lambda: len(stage.happened("analytics_written", path="drain")) >= 6)
            assert await rows_of(clickhouse) == [f"alice m{number}" for number in range(7)]
            assert not stage.happened("analytics_lost")

    trio.run(main)


def test_the_platform_goes_on_after_a_redis_crash(redis: RedisServer) -> None:
    """No connection made before the crash may keep anything from working after it."""

    async def main() -> None:
        async with staged(config_for(redis)) as stage:
            alice = await stage.connected_user("alice")
            assert await alice.ask("m1", "before") is Outcome.OK
            await until(lambda: len(alice.replies) == 1)
            await trio.to_thread.run_sync(redis.kill)
            assert await alice.ask("m2", "during") is Outcome.INFO
            await trio.to_thread.run_sync(redis.start)
            assert await alice.ask("m3", "after") is Outcome.OK
            await until(lambda: [reply.to for reply in alice.replies][-1:] == ["m3"])
            assert [reply.to for reply in alice.replies] == ["m1", "m3"]

    trio.run(main)


def test_the_platform_starts_before_redis(redis: RedisServer) -> None:
    """The order in which a deployment's parts come up must not matter."""

    async def main() -> None:
        late = RedisServer(port=free_port())
        try:
            async with staged(config_for(late)) as stage:
                alice = stage.user("alice")
                await stage.wait_for("refused", reason="unavailable")
                await trio.to_thread.run_sync(late.start)
                await until(lambda: alice.client.is_connected)
                assert await alice.ask("m1", "at last") is Outcome.OK
                await until(lambda: bool(alice.replies))
        finally:
            late.close()

    trio.run(main)
