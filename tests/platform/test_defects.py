"""Each planted defect does what it says, and the same scene without it goes well."""

from collections.abc import Awaitable, Callable

import httpx
import msgspec
import pytest
import trio

from models.analytics import Analytics, Event
from models.client import Outcome
from models.config import PlatformConfig
from models.defects import DEFECTS
from models.streams import Store, open_store
from simulator.live.redis import RedisServer
from tests.platform.stage import WAIT_MAX_S, config_for, staged, until

Respond = Callable[[Store, list[Event]], Awaitable[int]]


def test_the_table_names_each_defect_once() -> None:
    """The name is how a defect is switched on."""
    names = [defect.name for defect in DEFECTS]
    assert len(set(names)) == len(names) == 6


@pytest.mark.parametrize("defect", [None, "cache-without-user"])
def test_cache_without_user_leaks_a_context(redis: RedisServer, defect: str | None) -> None:
    """The second user is answered with the first one's context."""

    async def main() -> None:
        async with staged(config_for(redis, defect=defect)) as stage:
            alice, bob = await stage.connected_user("alice"), await stage.connected_user("bob")
            await alice.ask("m1", "same")
            await until(lambda: bool(alice.replies))
            await until(lambda: len(stage.happened("reply_stored")) == 1)
            await bob.ask("m1", "same")
            await until(lambda: bool(bob.replies))
            assert ("alice/m1" in bob.replies[0].text) == (defect is not None)

    trio.run(main)


@pytest.mark.parametrize("defect", [None, "resume-skips-missed"])
def test_resume_skips_missed_loses_replies(redis: RedisServer, defect: str | None) -> None:
    """What was answered while the user was away never comes."""

    async def main() -> None:
        async with staged(config_for(redis, defect=defect)) as stage:
            alice = await stage.connected_user("alice")
            await alice.ask("m1", "one")
            await until(lambda: len(alice.replies) == 1)
            await alice.client.leave(clean=True)
            async with open_store(stage.config) as store:
                await store.store_message(user="alice", message="m2", text="two", context="alice/m2")
            await stage.wait_for("reply_stored", message="m2")
            stage.nursery.start_soon(alice.client.run)
            await stage.wait_for("resumed", missed=1 if defect is None else 0)
            await alice.ask("m3", "three")
            await until(lambda: alice.replies[-1].to == "m3")
            assert [reply.to for reply in alice.replies] == ["m1", *(["m2"] if defect is None else []), "m3"]

    trio.run(main)


@pytest.mark.parametrize("defect", [None, "ack-before-store"])
def test_ack_before_store_acknowledges_what_is_not_durable(redis: RedisServer, defect: str | None) -> None:
    """The user is told that a message is safe which was never stored."""

    async def main() -> None:
        async with staged(config_for(redis, defect=defect)) as stage:
            alice = await stage.connected_user("alice")
            redis.kill()
            expected = Outcome.INFO if defect is None else Outcome.OK
            assert await alice.ask("m1", "lost?") is expected
            assert not stage.happened("message_stored")

    trio.run(main)


async def drained(config: PlatformConfig, respond: Respond, attempts: int) -> tuple[list[Event], list[str]]:
    """Drain a buffer of one event until quiet; return what was inserted, in `attempts` inserts, and what is left."""
    inserted: list[Event] = []
    tries: list[int] = []
    left: list[str] = []
    async with open_store(config) as store:

        async def handle(request: httpx.Request) -> httpx.Response:
            if not request.content:
                return httpx.Response(200)
            events = [msgspec.json.decode(line, type=Event) for line in request.content.splitlines()]
            inserted.extend(events)
            tries.append(len(events))
            return httpx.Response(await respond(store, events))

        await store.buffer(row_of("e1"))
        transport = httpx.MockTransport(handle)
        async with httpx.AsyncClient(transport=transport, base_url="http://clickhouse") as http:
            async with trio.open_nursery() as nursery:
                analytics = Analytics(store=store, http=http, nursery=nursery, config=config)
                nursery.start_soon(analytics.drain_forever)
                with trio.fail_after(WAIT_MAX_S):
                    while len(tries) < attempts or await store.buffered(-1):
                        await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        left += await store.buffered(-1)
    return inserted, left


def row_of(event: str) -> str:
    return msgspec.json.encode(Event(event_id=event, user="alice", message=event, at=0)).decode()


@pytest.mark.parametrize("defect", [None, "drain-read-then-delete"])
def test_drain_read_then_delete_loses_what_comes_in_between(redis: RedisServer, defect: str | None) -> None:
    """A row that is buffered during the drain's insert is deleted unread."""

    async def respond(store: Store, events: list[Event]) -> int:
        if events[0].event_id == "e1":
            await store.buffer(row_of("e2"))
        return 200

    config = config_for(redis, defect=defect)
    attempts = 2 if defect is None else 1
    inserted, left = trio.run(drained, config, respond, attempts)
    assert [event.event_id for event in inserted] == (["e1", "e2"] if defect is None else ["e1"])
    assert left == []


@pytest.mark.parametrize("defect", [None, "drain-without-deduplication"])
def test_drain_without_deduplication_repeats_an_event_under_a_new_id(redis: RedisServer, defect: str | None) -> None:
    """An insert that took place, but was answered with an error, is made again as another event."""
    answers = iter([500, 200])

    async def respond(store: Store, events: list[Event]) -> int:
        return next(answers)

    inserted, left = trio.run(drained, config_for(redis, defect=defect), respond, 2)
    assert [event.message for event in inserted] == ["e1", "e1"]
    assert len({event.event_id for event in inserted}) == (1 if defect is None else 2)
    assert left == []
