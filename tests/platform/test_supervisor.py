"""Workflows on real services: exact results, what fails and what then happens, cancelling, and death in between.

The expected words are restated here: a change of wording that nobody meant must not pass.
"""

import hashlib

import trio

from models.client import Outcome
from models.protocol import Reply
from simulator.services.llm import SimulatedLLM
from tests.platform.stage import GATEWAYS, HOST, NOWHERE, Graph, Services, Stage, User, staged, until

# 12 characters: the fact is the first of three.
TEXT = "how is it?!?"
CHAIN: Graph = {"action-1": (), "triage-2": ("action-1",), "action-3": ("triage-2",)}


def given(*results: str) -> str:
    return f"{TEXT} given {digest(*results)}"


def digest(*results: str) -> str:
    return hashlib.sha256("\n".join(results).encode()).hexdigest()[:8]


def actions(services: Services) -> list[tuple[object, ...]]:
    return services.rows("SELECT run, node, user_id FROM actions ORDER BY run, node")


async def ask_and_hold(stage: Stage, user: User) -> None:
    """Ask something of a chain, and return while its second agent waits for the LLM."""
    stage.llm.slow(True)
    assert await user.ask("alice-1", TEXT, CHAIN) is Outcome.OK
    await stage.wait_for("llm_asked", user="alice")


def test_a_diamond_gives_each_agent_what_those_before_it_found(services: Services) -> None:
    """Both sides get the top's result, and the bottom gets both in the order of their names."""
    graph = {
        "triage-1": (),
        "data-2": ("triage-1",),
        "action-3": ("triage-1",),
        "report-4": ("data-2", "action-3"),
    }
    top = f"{TEXT} -> triage for alice/1"
    data = f"data-2 found uptime=99 given {digest(top)} for alice/1"
    action = f"action-3 did {given(top)} for alice/1"
    bottom = f"{given(action, data)} -> report for alice/1"

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            reply = await alice.answer("alice-1", TEXT, graph)
            assert (reply.status, reply.text) == ("done", bottom)
            assert reply.nodes == dict.fromkeys(graph, "completed")
            stored = services.rows("SELECT node, status, result FROM results WHERE run = 'alice:alice-1' ORDER BY node")
            assert stored == [
                ("action-3", "completed", action),
                ("data-2", "completed", data),
                ("report-4", "completed", bottom),
                ("triage-1", "completed", top),
            ]
            assert actions(services) == [("alice:alice-1", "action-3", "alice")]

    trio.run(main)


def test_a_fan_is_answered_with_the_results_of_all_whom_nobody_needs(services: Services) -> None:
    """Joined in the order of their names, whoever was first."""
    graph = {"optimisation": (), "data-2": (), "action-3": (), "data-10": ()}
    words = [
        f"action-3 did {TEXT} for alice/1",
        f"data-10 found uptime=99 given {digest()} for alice/1",
        f"data-2 found uptime=99 given {digest()} for alice/1",
        f"{TEXT} -> optimisation for alice/1",
    ]

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            reply = await alice.answer("alice-1", TEXT, graph)
            assert (reply.status, reply.text) == ("done", "; ".join(words))

    trio.run(main)


def test_a_question_that_the_llm_failed_to_answer_is_asked_again(services: Services) -> None:
    """One failure is nobody's business but the agent's; the user sees an attempt more."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            stage.llm.fail(True)
            assert await alice.ask("alice-1", TEXT) is Outcome.OK
            await stage.wait_for("llm_answered", outcome="llm-failing")
            stage.llm.fail(False)
            await until(lambda: bool(alice.replies))
            assert alice.replies[0].text == f"{TEXT} -> triage for alice/1"
            assert alice.replies[0].nodes == {"triage": "completed"}
            attempts = [each["attempt"] for each in stage.happened("agent_event", name="agent_thinking")]
            assert attempts == list(range(1, len(attempts) + 1))
            assert len(attempts) == len(stage.happened("llm_answered")) > 1

    trio.run(main)


def test_without_the_llm_agents_answer_degraded_and_those_who_need_them_go_on(services: Services) -> None:
    """Something is better than nothing, as long as it says what it is."""
    graph = {"triage": (), "action": ("triage",)}
    words = f"{TEXT}: nobody to ask for triage for alice/1"

    async def main() -> None:
        async with staged(services, llm_url=f"http://{HOST}:{NOWHERE}/v1") as stage:
            alice = await stage.user("alice")
            reply = await alice.answer("alice-1", TEXT, graph)
            assert (reply.status, reply.nodes) == ("done", {"triage": "degraded", "action": "completed"})
            assert reply.text == f"action did {given(words)} for alice/1"

    trio.run(main)


def test_without_clickhouse_data_fails_and_takes_its_dependents_along_and_nobody_else(services: Services) -> None:
    """A chat needs no ClickHouse, and the half of a workflow that needs none is worth telling."""
    graph = {"data": (), "report-1": ("data",), "action-2": ("report-1",), "triage-3": ()}

    async def main() -> None:
        async with staged(services, clickhouse_url=f"http://{HOST}:{NOWHERE}") as stage:
            alice, bob = await stage.user("alice"), await stage.user("bob", at="gateway-b")
            reply = await alice.answer("alice-1", TEXT, graph)
            assert reply.nodes == {
                "data": "failed",
                "report-1": "skipped",
                "action-2": "skipped",
                "triage-3": "completed",
            }
            assert (reply.status, reply.text) == ("partial", f"{TEXT} -> triage for alice/1")
            assert actions(services) == []
            started = {each["node"] for each in stage.happened("agent_event", name="agent_started")}
            assert started == {"data", "triage-3"}
            assert (await bob.answer("bob-1", TEXT)).status == "done"

    trio.run(main)


def test_an_answer_that_belongs_to_another_conversation_is_never_passed_on(services: Services) -> None:
    """The LLM repeats what it told somebody else: that is an answer which did not come."""

    async def main() -> None:
        async with staged(services) as stage:
            bob, alice = await stage.user("bob"), await stage.user("alice")
            await bob.answer("bob-1", TEXT)
            stage.llm.cross_talk(True)
            reply = await alice.answer("alice-1", TEXT)
            assert stage.happened("llm_answered", user="alice", outcome="llm-cross-talk")
            assert reply.text == f"{TEXT}: nobody to ask for triage for alice/1"
            assert reply.nodes == {"triage": "degraded"}
            assert "bob/1" not in str(alice.frames)
            async with services.redis_client() as client:
                assert [await client.get(key) async for key in client.scan_iter(match="cache:alice:*")] == []

    trio.run(main)


def test_a_question_too_long_for_the_llm_fails_at_once_and_counts_against_nobody(services: Services) -> None:
    """It would be as long the second time; and one user's mistake must not open the breaker for all."""

    async def main() -> None:
        llm = SimulatedLLM(port=0, host=HOST, context_characters_max=100)
        async with staged(services, llm=llm) as stage:
            alice = await stage.user("alice")
            for number in range(1, 5):
                reply = await alice.answer(f"alice-{number}", "and then? " * 40)
                assert (reply.status, reply.text, reply.nodes) == ("partial", "", {"triage": "failed"})
            assert [event["detail"] for event in stage.happened("agent_event", name="agent_failed")] == ["refused"] * 4
            assert len(stage.happened("agent_event", name="agent_thinking")) == 4
            assert not stage.happened("breaker_moved", breaker="llm")
            assert (await alice.answer("alice-5", TEXT)).status == "done"

    trio.run(main)


def test_a_message_cancelled_before_its_run_is_answered_as_cancelled_and_never_worked_on(services: Services) -> None:
    """It is answered all the same: a user waits for every message."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice = await stage.user("alice")
            assert await alice.ask("alice-1", TEXT, {"action": ()}) is Outcome.OK
            assert await alice.client.cancel("alice-1") is Outcome.OK
            await stage.start("agents")
            await until(lambda: bool(alice.replies))
            assert alice.replies == [Reply(to="alice-1", seq=1, status="cancelled", text="", nodes={})]
            assert not stage.happened("agent_event")
            assert actions(services) == []
            assert services.rows("SELECT open FROM users") == [(0,)]

    trio.run(main)


def test_a_run_that_is_cancelled_ends_before_its_next_agent(services: Services) -> None:
    """What was done stays done; what was not begun never is."""

    async def main() -> None:
        async with staged(services, llm_timeout_s=10.0) as stage:
            alice = await stage.user("alice")
            await ask_and_hold(stage, alice)
            assert await alice.client.cancel("alice-1") is Outcome.OK
            await until(lambda: bool(alice.replies))
            assert alice.replies == [Reply(to="alice-1", seq=1, status="cancelled", text="", nodes={})]
            assert actions(services) == [("alice:alice-1", "action-1", "alice")]
            stage.llm.slow(False)
            assert (await alice.answer("alice-2", TEXT)).seq == 2

    trio.run(main)


def test_a_message_that_is_answered_or_unknown_cannot_be_cancelled(services: Services) -> None:
    """To say otherwise would contradict the reply."""

    async def main() -> None:
        async with staged(services) as stage:
            alice, bob = await stage.user("alice"), await stage.user("bob")
            await alice.answer("alice-1", TEXT)
            assert await alice.client.cancel("alice-1") is Outcome.FAIL
            assert await alice.client.cancel("alice-2") is Outcome.FAIL
            assert await bob.client.cancel("alice-1") is Outcome.FAIL
            assert alice.errors == ["too_late", "too_late"]

    trio.run(main)


def test_killed_between_two_agents_another_supervisor_goes_on_without_repeating_effects(services: Services) -> None:
    """What is in the ledger has happened, and only that."""

    async def main() -> None:
        async with staged(services, llm_timeout_s=10.0) as stage:
            alice = await stage.user("alice")
            await ask_and_hold(stage, alice)
            await stage.processes["agents"].kill()
            assert services.rows("SELECT node FROM results") == [("action-1",)]
            stage.llm.slow(False)
            await stage.start("agents")
            await until(lambda: bool(alice.replies))
            first = f"action-1 did {TEXT} for alice/1"
            second = f"{given(first)} -> triage for alice/1"
            assert alice.replies[0].text == f"action-3 did {given(second)} for alice/1"
            assert alice.replies[0].nodes == dict.fromkeys(CHAIN, "completed")
            assert stage.happened("run_resumed", message="alice-1", known=1)
            assert len(stage.happened("agent_event", node="action-1", name="agent_started")) == 1
            assert [node for _, node, _ in actions(services)] == ["action-1", "action-3"]

    trio.run(main)


def test_told_to_stop_the_agents_finish_what_is_under_way_and_its_analytics(services: Services) -> None:
    """And leave what they have not begun to whoever comes next."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            await alice.answer("alice-1", TEXT)
            with services.locked("results"):
                await alice.ask("alice-2", TEXT, {"action": ()})
                await services.wait_somebody_waits()
                await alice.ask("alice-3", TEXT, {"action": ()})
                stage.processes["agents"].stop()
            await stage.processes["agents"].wait_ended()
            await until(lambda: len(alice.replies) == 2)
            assert await services.analytics() == ["alice alice-1", "alice alice-2"]
            await stage.start("agents")
            await until(lambda: len(alice.replies) == 3)

    trio.run(main)


def test_a_message_with_an_impossible_workflow_is_refused_and_not_stored(services: Services) -> None:
    """Before it is durable: afterwards somebody would have to answer it."""
    impossible: list[Graph] = [{}, {"nobody": ()}, {"data": ("data",)}, {"data": ("triage",)}]

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice = await stage.user("alice")
            for number, workflow in enumerate(impossible):
                assert await alice.ask(f"wrong-{number}", TEXT, workflow) is Outcome.FAIL
            assert alice.errors == ["bad_request"] * len(impossible)
            assert await alice.ask("alice-1", TEXT) is Outcome.OK
            assert services.rows("SELECT message_id FROM messages") == [("alice-1",)]

    trio.run(main)


def test_a_message_that_is_cancelled_while_it_waits_has_no_effect(services: Services) -> None:
    """It is behind another of the same user when its user changes their mind."""

    async def main() -> None:
        async with staged(services) as stage:
            alice = await stage.user("alice")
            stage.llm.slow(True)
            assert await alice.ask("alice-1", TEXT) is Outcome.OK
            assert await alice.ask("alice-2", TEXT, {"action": ()}) is Outcome.OK
            await stage.wait_for("llm_asked", user="alice")
            assert await alice.client.cancel("alice-2") is Outcome.OK
            stage.llm.slow(False)
            await until(lambda: len(alice.replies) == 2)
            assert [reply.status for reply in alice.replies] == ["done", "cancelled"]
            assert actions(services) == []

    trio.run(main)


def test_told_to_stop_the_agents_end_in_time_although_the_ledger_is_silent(services: Services) -> None:
    """What they could not store they would have to do again anyhow."""

    async def main() -> None:
        async with staged(services, drain_s=0.5) as stage:
            alice = await stage.user("alice")
            stage.llm.slow(True)
            assert await alice.ask("alice-1", TEXT) is Outcome.OK
            await stage.wait_for("llm_asked", user="alice")
            services.postgresql.freeze()
            try:
                stage.processes["agents"].stop()
                await stage.processes["agents"].wait_ended()
            finally:
                services.postgresql.thaw()
            stage.llm.slow(False)
            await stage.start("agents")
            await until(lambda: [reply.to for reply in alice.replies] == ["alice-1"])

    trio.run(main)


def test_two_users_whose_names_and_ids_run_together_are_two(services: Services) -> None:
    """`acme` with `bob:1`, and `acme:bob` with `1`: each gets an answer of their own."""

    async def main() -> None:
        async with staged(services) as stage:
            one, other = await stage.user("acme"), await stage.user("acme:bob")
            assert (await other.answer("1", "mine")).text == "mine -> triage for acme:bob/1"
            assert (await one.answer("bob:1", TEXT)).text == f"{TEXT} -> triage for acme/1"

    trio.run(main)


def test_an_answer_is_not_taken_for_that_of_a_conversation_whose_name_begins_alike(services: Services) -> None:
    """The LLM repeats what it told carl, and dora's conversation has no name at all."""

    async def main() -> None:
        async with staged(services) as stage:
            carl, dora = await stage.user("carl"), await stage.user("dora")
            await carl.answer("carl-1", "a secret")
            stage.llm.cross_talk(True)
            assert await dora.client.send("dora-1", TEXT, "", {"triage": ()}) is Outcome.OK
            await until(lambda: bool(dora.replies))
            assert dora.replies[0].nodes == {"triage": "degraded"}
            assert "secret" not in dora.replies[0].text

    trio.run(main)
