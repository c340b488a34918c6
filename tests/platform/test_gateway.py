"""The gateway under load and at its end: whom it admits, whom it drops, and what it still does when told to stop."""

from contextlib import AsyncExitStack

import trio

from models.client import Outcome
from models.protocol import Ack, ErrorFrame, Welcome, encode
from tests.platform.stage import (
    GATEWAYS,
    HOST,
    Services,
    exchange,
    hear,
    login,
    raw_connection,
    staged,
    until,
)

# More than the buffers of both sockets hold: 100 replies of 80 kB.
ADD_REPLIES = (
    "INSERT INTO replies SELECT 'alice', n, 'old-' || n, json_build_object('type', 'reply', 'to', 'old-' || n, "
    "'seq', n, 'status', 'done', 'text', repeat('x', 80000), 'nodes', json_build_object())::text "
    "FROM generate_series(1, 100) AS n"
)


def test_more_connections_than_it_may_have_are_refused_as_overloaded(services: Services) -> None:
    """Whom it has, it goes on serving; a place that is given back is taken by the next."""

    async def main() -> None:
        async with staged(services, connections_max=1) as stage:
            alice = await stage.user("alice")
            assert await stage.say(login("bob")) == [ErrorFrame(code="overloaded")]
            await alice.answer("alice-1", "still there?")
            await alice.client.leave(clean=True)
            await stage.wait_for("connection_closed", host="gateway-a")
            assert isinstance((await stage.say(login("bob")))[0], Welcome)

    trio.run(main)


def test_more_open_messages_than_a_user_may_have_are_refused_and_not_stored(services: Services) -> None:
    """One who asks without end must not fill the ledger; others are not touched, and answers make room."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, open_messages_max=2) as stage:
            alice, bob = await stage.user("alice"), await stage.user("bob")
            outcomes = [await alice.ask(f"alice-{number}", "how deep?") for number in (1, 2, 3)]
            assert outcomes == [Outcome.OK, Outcome.OK, Outcome.FAIL]
            assert alice.errors == ["overloaded"]
            assert await bob.ask("bob-1", "how deep?") is Outcome.OK
            assert services.rows("SELECT message_id FROM messages ORDER BY n") == [
                ("alice-1",),
                ("alice-2",),
                ("bob-1",),
            ]
            assert services.rows("SELECT open FROM users ORDER BY user_id") == [(2,), (1,)]
            await stage.start("agents")
            await until(lambda: len(alice.replies) == 2)
            await alice.answer("alice-3", "and now?")

    trio.run(main)


def test_a_user_who_does_not_read_is_dropped_and_hurts_nobody(services: Services) -> None:
    """A device that fell asleep holds a connection and the gateway's memory, for as long as it may and no longer."""

    async def main() -> None:
        async with staged(services, send_timeout_s=1.0) as stage:
            bob = await stage.user("bob")
            await bob.answer("bob-1", "before")
            add_missed_replies(services)
            async with raw_connection(stage.port("gateway-a"), receive_bytes=4096) as asleep:
                await asleep.send_message(encode(login("alice")))
                await stage.wait_for("connection_opened", user="alice")
                await bob.answer("bob-2", "during")
                await stage.wait_for("slow_consumer_dropped", user="alice", host="gateway-a")
                await bob.answer("bob-3", "after")
            assert bob.states == ["connected"]
            assert len(stage.happened("slow_consumer_dropped")) == 1

    trio.run(main)


def add_missed_replies(services: Services) -> None:
    """Let alice have missed more than her connection takes unread."""
    with services.connection() as connection:
        connection.execute(ADD_REPLIES)


def test_garbage_on_the_port_ends_only_its_own_connection(services: Services) -> None:
    """Whoever can reach the port must not be able to stop the platform."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            for garbage in (b"", b"\x00\xff" * 50, b"GET / HTTP/1.1\r\n\r\n"):
                stream = await trio.open_tcp_stream(HOST, stage.port("gateway-a"))
                if garbage:
                    await stream.send_all(garbage)
                await stream.aclose()
            alice = await stage.user("alice")
            assert await alice.ask("alice-1", "alive?") is Outcome.OK

    trio.run(main)


def test_a_connection_that_does_not_begin_with_a_hello_is_refused(services: Services) -> None:
    """Nothing is done for somebody of whom nothing is known."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            for text, code in (("{}", "bad_request"), ('{"type":"logout"}', "unauthorised")):
                async with raw_connection(stage.port("gateway-a")) as socket:
                    await socket.send_message(text)
                    assert await hear(socket) == ErrorFrame(code=code)

    trio.run(main)


def test_what_is_being_stored_when_it_is_told_to_stop_is_acknowledged_first(services: Services) -> None:
    """A deployment must not turn what is known into what is unknown; its user goes on at the other gateway."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "before")
            outcomes: list[Outcome] = []

            async def ask() -> None:
                outcomes.append(await alice.ask("alice-2", "during"))

            async with trio.open_nursery() as nursery:
                with services.locked("messages"):
                    nursery.start_soon(ask)
                    await services.wait_somebody_waits()
                    stage.processes["gateway-a"].stop()
                    await stage.wait_for("gateway_stopping", connections=1)
                    assert outcomes == []
            assert outcomes == [Outcome.OK]
            await until(lambda: alice.errors == ["going_away"])
            assert alice.frames.index(Ack(id="alice-2")) < alice.frames.index(ErrorFrame(code="going_away"))
            await stage.processes["gateway-a"].wait_ended()
            resumed = await stage.user("alice", at="gateway-b", after=alice)
            await until(lambda: len(alice.replies + resumed.replies) == 2)
            assert [reply.to for reply in alice.replies + resumed.replies] == ["alice-1", "alice-2"]

    trio.run(main)


def test_it_stops_in_time_although_something_cannot_be_finished(services: Services) -> None:
    """Whoever told it to stop will not wait: here the ledger is locked until the process has ended."""

    async def main() -> None:
        async with staged(services, drain_s=0.3) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "before")
            with services.locked("messages"):
                stage.nursery.start_soon(alice.ask, "alice-2", "during")
                await services.wait_somebody_waits()
                stage.processes["gateway-a"].stop()
                await stage.processes["gateway-a"].wait_ended()
            await until(lambda: alice.states[-1] == "disconnected")
            await alice.client.leave(clean=False)

    trio.run(main)


def test_a_stopped_gateway_admits_nobody(services: Services) -> None:
    """Who comes while it ends finds nobody there, and tries the other."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice = await stage.user("alice")
            stage.processes["gateway-a"].stop()
            await until(lambda: alice.errors == ["going_away"])
            await stage.processes["gateway-a"].wait_ended()
            try:
                await stage.say(login("bob"))
            except* OSError:
                refused = True
            assert refused

    trio.run(main)


def test_who_connects_first_and_greets_later_counts_as_well(services: Services) -> None:
    """A reconnect storm is a crowd that has not greeted yet, and that is what the limit is for."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, connections_max=2) as stage, AsyncExitStack() as crowd:
            port = stage.port("gateway-a")
            first, second, third = [await crowd.enter_async_context(raw_connection(port)) for _ in range(3)]
            assert await hear(third) == ErrorFrame(code="overloaded")
            for socket, name in ((first, "alice"), (second, "bob")):
                assert isinstance(await exchange(socket, login(name)), Welcome)

    trio.run(main)


def test_who_greets_a_gateway_that_is_about_to_end_is_sent_away(services: Services) -> None:
    """Welcomed, they would be cut off a moment later without a word."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage, raw_connection(stage.port("gateway-a")) as socket:
            stage.processes["gateway-a"].stop()
            await stage.wait_for("gateway_stopping", host="gateway-a")
            assert await exchange(socket, login("late")) == ErrorFrame(code="going_away")

    trio.run(main)


def test_a_gap_that_nobody_can_fill_is_not_looked_at_all_the_time(services: Services) -> None:
    """The stream lacks a reply and has the next, and the ledger is away: Redis must not be asked without a pause."""

    async def main() -> None:
        async with staged(services, retry_s=0.2) as stage:
            alice = await stage.user("alice")
            for number in (1, 2):
                await alice.answer(f"alice-{number}", "what?")
            await alice.client.leave(clean=True)
            async with services.redis_client() as redis:
                await redis.xdel("replies:alice", ["1-0"])
            services.postgresql.freeze()
            try:
                again = await stage.user("alice")
                async with services.redis_client() as redis:
                    before = await redis.info("commandstats")
                    await trio.sleep(1.0)
                    after = await redis.info("commandstats")
                reads = [int(stats["cmdstat_xread"]["calls"]) for stats in (before, after)]  # type: ignore[index]
                assert reads[1] - reads[0] < 30
                assert again.replies == []
            finally:
                services.postgresql.thaw()
            await until(lambda: [reply.to for reply in again.replies] == ["alice-1", "alice-2"])

    trio.run(main)
