"""The three great scenes on real services, as the platform's specification names them."""

import hashlib
import math
from collections.abc import Sequence

import trio

from models.client import Outcome
from models.protocol import AgentEvent, Reply
from tests.platform.stage import GATEWAYS, Services, Stage, User, staged, until

USERS, MESSAGES = 10, 5


def test_clickhouse_fails_breaker_opens_fallback_buffers_and_all_is_drained(services: Services) -> None:
    """Analytics cost nobody an answer while ClickHouse is down, and each is there once afterwards."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-0", "before")
            await stage.wait_for("analytics_written", message="alice-0", path="direct")
            services.clickhouse.kill()
            for number in range(1, 7):
                assert (await alice.answer(f"alice-{number}", f"question {number}")).status == "done"
            await stage.wait_for("breaker_moved", breaker="clickhouse", old="closed", new="open")
            await until(lambda: len(stage.happened("analytics_buffered")) == 6)
            async with services.redis_client() as client:
                assert await client.llen("analytics:buffer") == 6
                await trio.to_thread.run_sync(services.clickhouse.start)
                await stage.wait_for("breaker_moved", breaker="clickhouse", old="half-open", new="closed")
                await until(lambda: sum(int(str(each["count"])) for each in stage.happened("drained")) == 6)
                assert await client.llen("analytics:buffer") == 0
            assert await services.analytics() == [f"alice alice-{number}" for number in range(7)]
            assert len(stage.happened("analytics_written", path="drain")) == 6
            assert not stage.happened("analytics_lost")

    trio.run(main)


def test_ten_users_with_five_messages_each_all_routed_none_crossed(services: Services) -> None:
    """Everybody asks the same at once, on both gateways, so that whatever is shared by mistake would show."""

    async def main() -> None:
        async with staged(services) as stage:
            names = [f"user{number}" for number in range(USERS)]
            users = [await stage.user(name, at=GATEWAYS[place % 2]) for place, name in enumerate(names)]
            sent_at_s: dict[str, float] = {}

            async def ask_all(user: User) -> None:
                for number in range(1, MESSAGES + 1):
                    message = f"{user.client.user}-{number}"
                    sent_at_s[message] = trio.current_time()
                    assert await user.ask(message, "who is on call?") is Outcome.OK

            async with trio.open_nursery() as nursery:
                for user in users:
                    nursery.start_soon(ask_all, user)
            await until(lambda: all(len(user.replies) == MESSAGES for user in users))
            for user in users:
                check_own(user)
            latencies_s = [at_s - sent_at_s[message] for user in users for message, at_s in user.answered_at_s.items()]
            assert len(latencies_s) == USERS * MESSAGES
            assert all(0 < each < math.inf for each in latencies_s)
            await until(lambda: len(stage.happened("analytics_written")) == USERS * MESSAGES)
            assert len(await services.analytics()) == USERS * MESSAGES
            print(summary(latencies_s))

    trio.run(main)


def check_own(user: User) -> None:
    """A user was told of all their own messages, in order, and of nobody else's."""
    name = user.client.user
    own = [f"{name}-{number}" for number in range(1, MESSAGES + 1)]
    assert [reply.to for reply in user.replies] == own
    assert {reply.text for reply in user.replies} == {f"who is on call? -> triage for {name}/1"}
    assert {event.to for event in user.events} <= set(own)


def summary(latencies_s: Sequence[float]) -> str:
    ordered_ms = [1000 * each for each in sorted(latencies_s)]
    p50, p95 = (ordered_ms[int(len(ordered_ms) * share)] for share in (0.5, 0.95))
    return (
        f"{len(ordered_ms)} messages of {USERS} users: delivered after p50={p50:.0f} ms p95={p95:.0f} ms "
        f"max={ordered_ms[-1]:.0f} ms"
    )


def test_a_workflow_resolves_dependencies_propagates_context_and_sends_events(services: Services) -> None:
    """What a user sees of it live agrees with what it did."""
    graph = {
        "triage-1": (),
        "data-2": ("triage-1",),
        "optimisation-3": ("triage-1",),
        "report-4": ("data-2", "optimisation-3"),
    }
    text = "why is it slow?"
    top = f"{text} -> triage for alice/1"
    data = f"data-2 found uptime=99 given {digest(top)} for alice/1"
    advice = f"{text} given {digest(top)} -> optimisation for alice/1"

    async def main() -> None:
        async with staged(services) as stage:
            alice, bob = await stage.user("alice"), await stage.user("bob")
            reply = await alice.answer("alice-1", text, graph)
            assert reply == Reply(
                to="alice-1",
                seq=1,
                status="done",
                text=f"{text} given {digest(data, advice)} -> report for alice/1",
                nodes=dict.fromkeys(graph, "completed"),
            )
            emitted = stage.happened("agent_event", user="alice")
            await until(lambda: len(alice.events) == len(emitted))
            assert [(event.node, event.event) for event in alice.events] == [
                (event["node"], event["name"]) for event in emitted
            ]
            check_events(alice.events, graph)
            assert bob.events == []
            check_contexts(stage)

    trio.run(main)


def check_events(events: Sequence[AgentEvent], graph: dict[str, tuple[str, ...]]) -> None:
    """Each agent told what it did, and began after all that it needs had ended."""
    told = [(event.node, event.event) for event in events]
    tools = ["tool_executing", "tool_completed"]
    for node, needed in graph.items():
        work = tools if node.startswith("data") else ["agent_thinking"]
        assert [event for who, event in told if who == node] == ["agent_started", *work, "agent_completed"]
        for each in needed:
            assert told.index((each, "agent_completed")) < told.index((node, "agent_started"))
    places = [tuple(map(int, event.id.split("-"))) for event in events]
    assert places == sorted(set(places))


def check_contexts(stage: Stage) -> None:
    """The LLM was told the conversation with every question."""
    systems = [each["system"] for each in stage.happened("llm_asked", user="alice")]
    assert systems == ["triage for alice/1", "optimisation for alice/1", "report for alice/1"]


def digest(*results: str) -> str:
    return hashlib.sha256("\n".join(results).encode()).hexdigest()[:8]
