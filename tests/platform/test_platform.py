"""The platform end to end on real services: what is accepted is stored once, and answered once, in order."""

import trio

from models.client import Outcome
from models.protocol import ErrorFrame, Hello
from tests.platform.stage import GATEWAYS, NOWHERE, Services, staged, until


def test_a_message_is_acknowledged_answered_and_counted(services: Services) -> None:
    """The whole path once: what every other test varies."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            assert await alice.ask("alice-1", "how deep?") is Outcome.OK
            await until(lambda: bool(alice.replies))
            [reply] = alice.replies
            assert (reply.to, reply.seq, reply.status) == ("alice-1", 1, "done")
            assert reply.text == "how deep? -> triage for alice/1"
            assert reply.nodes == {"triage": "completed"}
            await until(lambda: len(alice.events) == 3)
            assert [event.event for event in alice.events] == ["agent_started", "agent_thinking", "agent_completed"]
            await stage.wait_for("analytics_written", message="alice-1", path="direct", host="agents")
            assert await services.analytics() == ["alice alice-1"]
            assert services.rows("SELECT user_id, message_id, state FROM messages") == [
                ("alice", "alice-1", "answered")
            ]

    trio.run(main)


def test_a_message_sent_twice_is_stored_once_and_acknowledged_again(services: Services) -> None:
    """A user who never saw the acknowledgement asks again, and must be neither refused nor answered twice."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "how deep?")
            again = await stage.user("alice", at="gateway-b", after=alice)
            assert await again.ask("alice-1", "how deep?") is Outcome.OK
            await again.answer("alice-2", "how high?")
            assert [(reply.to, reply.seq) for reply in again.replies] == [("alice-2", 2)]
            assert services.rows("SELECT message_id FROM messages ORDER BY n") == [("alice-1",), ("alice-2",)]
            assert services.rows("SELECT open FROM users") == [(0,)]

    trio.run(main)


def test_a_message_sent_again_by_a_user_with_too_many_open_ones_is_acknowledged(services: Services) -> None:
    """It takes no place of its own; to refuse it would tell that what is stored is not."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, open_messages_max=1) as stage:
            alice = await stage.user("alice")
            assert await alice.ask("alice-1", "how deep?") is Outcome.OK
            assert await alice.ask("alice-2", "how high?") is Outcome.FAIL
            assert await alice.ask("alice-1", "how deep?") is Outcome.OK

    trio.run(main)


def test_each_user_is_answered_in_the_order_of_asking(services: Services) -> None:
    """A conversation has an order, whatever the others on both gateways do meanwhile."""
    slow = {"triage-1": (), "report-2": ("triage-1",)}
    quick = {"action": ()}

    async def main() -> None:
        async with staged(services) as stage:
            names = ("alice", "bob", "carol")
            users = [await stage.user(name, at=GATEWAYS[place % 2]) for place, name in enumerate(names)]
            for number in range(6):
                for user in users:
                    workflow = quick if number % 2 else slow
                    assert await user.ask(f"{user.client.user}-{number}", "same?", workflow) is Outcome.OK
            for user in users:
                await until(lambda user=user: len(user.replies) == 6)  # type: ignore[misc]
                assert [reply.to for reply in user.replies] == [f"{user.client.user}-{number}" for number in range(6)]
                assert [reply.seq for reply in user.replies] == [1, 2, 3, 4, 5, 6]
                assert all(f"for {user.client.user}/1" in reply.text for reply in user.replies)

    trio.run(main)


def test_who_resumes_on_the_other_gateway_gets_exactly_what_was_missed(services: Services) -> None:
    """Delivery across reconnects: nothing is skipped and nothing comes twice."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "one")
            await alice.client.leave(clean=False)
            other = await stage.user("alice")
            await other.answer("alice-2", "two")
            await other.answer("alice-3", "three")
            back = await stage.user("alice", at="gateway-b", after=alice)
            await back.answer("alice-4", "four")
            assert [(reply.to, reply.seq) for reply in back.replies] == [
                ("alice-2", 2),
                ("alice-3", 3),
                ("alice-4", 4),
            ]
            assert stage.happened("caught_up", host="gateway-b", user="alice", missed=2)

    trio.run(main)


def test_a_reply_that_redis_was_never_told_of_is_found_in_the_ledger(services: Services) -> None:
    """News may be lost both ways: here the agents neither hear of the message nor can pass the reply on."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            await stage.start("agents", redis_port=NOWHERE)
            alice = await stage.user("alice")
            reply = await alice.answer("alice-1", "how deep?")
            assert reply.text == "how deep? -> triage for alice/1"
            assert stage.happened("reply_not_published", message="alice-1")

    trio.run(main)


def test_a_flushed_redis_loses_nothing_but_sessions_and_news(services: Services) -> None:
    """Redis holds conveniences: who is connected stays so and is answered, who comes back logs in and has it all."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", "one")
            async with services.redis_client() as client:
                await client.flushall()
            await alice.answer("alice-2", "two")
            assert alice.states == ["connected"]
            assert alice.client.token is not None
            assert await stage.say(Hello(token=alice.client.token), at="gateway-b") == [ErrorFrame(code="unauthorised")]
            back = await stage.user("alice", at="gateway-b")
            await until(lambda: len(back.replies) == 2)
            assert back.replies == alice.replies

    trio.run(main)


def test_leaving_while_connecting_ends_the_attempt(services: Services) -> None:
    """Also after an earlier conversation was broken off, which must not be mistaken for the present one."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice = await stage.user("alice")
            await alice.client.leave(clean=False)
            stage.nursery.start_soon(alice.client.run)
            await trio.lowlevel.checkpoint()
            await alice.client.leave(clean=True)
            assert not alice.client.is_connected
            assert await alice.ask("alice-1", "anyone?") is Outcome.FAIL

    trio.run(main)
