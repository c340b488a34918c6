"""What goes on without a service that is away, what does not, and that all of it comes back by itself."""

import trio

from models.client import Outcome
from models.protocol import ErrorFrame, Hello, LoggedOut, Logout
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.process import free_port
from simulator.live.redis import RedisServer
from tests.platform.stage import NOWHERE, PROCESSES, Services, login, staged, until


def test_without_redis_who_is_connected_chats_on_and_nobody_new_comes_in(services: Services) -> None:
    """The ledger has what matters; sessions cannot be checked, so nobody is believed."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "before")
            services.redis.kill()
            reply = await alice.answer("alice-2", "during")
            assert reply.text == "during -> triage for alice/1"
            assert await stage.say(login("bob"), at="gateway-b") == [ErrorFrame(code="unavailable")]
            services.redis.start()
            bob = await stage.user("bob", at="gateway-b")
            await bob.answer("bob-1", "after")
            await alice.answer("alice-3", "after")
            assert [reply.seq for reply in alice.replies] == [1, 2, 3]
            assert alice.states == ["connected"]

    trio.run(main)


def test_without_clickhouse_agents_lack_data_and_nothing_else(services: Services) -> None:
    """One who needs it fails, those who need him are skipped, and the others answer."""
    workflow = {"data": (), "report": ("data",), "triage": ()}

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            services.clickhouse.kill()
            try:
                reply = await alice.answer("alice-1", "how fast?", workflow)
            finally:
                services.clickhouse.start()
            assert reply.nodes == {"data": "failed", "report": "skipped", "triage": "completed"}

    trio.run(main)


def test_without_redis_nobody_can_log_out_and_without_postgresql_everybody(services: Services) -> None:
    """A session is ended where it is kept."""

    async def main() -> None:
        async with staged(services) as stage:
            alice, bob = await stage.user("alice"), await stage.user("bob")
            services.postgresql.kill()
            try:
                answers = await stage.say(Hello(token=bob.client.token or ""), Logout())
            finally:
                services.postgresql.start()
            assert isinstance(answers[-1], LoggedOut)
            services.redis.kill()
            try:
                answers = await stage.say(Hello(token=alice.client.token or ""), Logout())
            finally:
                services.redis.start()
            assert answers == [ErrorFrame(code="unavailable")]

    trio.run(main)


def test_without_postgresql_nothing_is_accepted_and_with_it_again_everything_goes_on(services: Services) -> None:
    """A message is told to be safe when it is, and not before; the connection outlives the outage."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "before")
            services.postgresql.kill()
            assert await alice.ask("alice-2", "during") is Outcome.FAIL
            assert alice.errors == ["try_later"]
            await stage.wait_for("breaker_moved", breaker="postgres", host="agents", new="open")
            services.postgresql.start()
            for host in stage.processes:
                await until(
                    lambda host=host: (  # type: ignore[misc]
                        len(stage.happened("breaker_moved", breaker="postgres", host=host, new="open")) == 0
                        or bool(stage.happened("breaker_moved", breaker="postgres", host=host, new="closed"))
                    )
                )
            await alice.answer("alice-3", "after")
            assert services.rows("SELECT message_id FROM messages ORDER BY n") == [("alice-1",), ("alice-3",)]
            assert alice.states == ["connected"]

    trio.run(main)


def test_the_platform_starts_before_its_stores(services: Services) -> None:
    """The order in which a deployment's parts come up must not matter."""

    async def main() -> None:
        redis, postgresql = RedisServer(port=free_port()), PostgreSQLServer(port=free_port())
        try:
            async with staged(services, processes=(), redis_port=redis.port) as stage:
                for name in PROCESSES:
                    await stage.start(name, postgres_port=postgresql.port)
                alice = stage.absent_user("alice")
                stage.nursery.start_soon(alice.client.run)
                await stage.wait_for("refused", reason="unavailable")
                await trio.to_thread.run_sync(redis.start)
                await until(lambda: alice.client.is_connected)
                assert await alice.ask("alice-1", "too early?") is Outcome.FAIL
                await trio.to_thread.run_sync(postgresql.start)
                while await alice.ask("alice-2", "now?") is not Outcome.OK:
                    await trio.lowlevel.checkpoint()
                await until(lambda: [reply.to for reply in alice.replies] == ["alice-2"])
        finally:
            redis.close()
            postgresql.close()

    trio.run(main)


def test_the_llm_is_asked_again_after_an_outage_although_nobody_has_a_question(services: Services) -> None:
    """The first user after an outage must not be the one who finds out that it is over."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            stage.llm.fail(True)
            assert (await alice.answer("alice-1", "during")).nodes == {"triage": "degraded"}
            await stage.wait_for("breaker_moved", breaker="llm", new="open")
            stage.llm.fail(False)
            await stage.wait_for("breaker_moved", breaker="llm", old="half-open", new="closed")
            assert (await alice.answer("alice-2", "after")).nodes == {"triage": "completed"}
            assert stage.happened("llm_asked", user="platform", question="ping")

    trio.run(main)


def test_an_llm_that_limits_our_rate_is_obeyed_and_not_taken_for_broken(services: Services) -> None:
    """A service that says "later" answers; to open the breaker would punish those who could be served."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            stage.llm.rate_limit(True)
            assert await alice.ask("alice-1", "how deep?") is Outcome.OK
            await stage.wait_for("llm_answered", outcome="llm-rate-limited")
            stage.llm.rate_limit(False)
            await until(lambda: bool(alice.replies))
            assert alice.replies[0].nodes == {"triage": "completed"}
            assert not stage.happened("breaker_moved", breaker="llm")

    trio.run(main)


def test_a_gateway_without_a_ledger_delivers_what_redis_still_has(services: Services) -> None:
    """What is known need not wait for what is away."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "before")
            await stage.start("gateway-c", postgres_port=NOWHERE)
            elsewhere = await stage.user("alice", at="gateway-c")
            await until(lambda: elsewhere.replies == alice.replies)

    trio.run(main)
