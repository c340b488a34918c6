"""A few planted defects on real services: each does what it says, and the same scene without it goes well.

That every one of them breaks its promise is shown in simulation.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

import models
from models.client import Outcome
from models.defects import DEFECTS
from models.protocol import Hello, Welcome
from models.tokens import issue_login
from tests.platform.stage import NOWHERE, SECRET, Services, Stage, staged, until

ASKED_FOR = re.compile(r'has\("([a-z-]+)"\)')


def test_the_table_names_each_defect_once_and_each_is_in_the_code() -> None:
    """The name is how a defect is switched on: one that nothing asks for would never be found."""
    sources = sorted(Path(models.__file__).parent.glob("*.py"))
    asked_for = {name for source in sources for name in ASKED_FOR.findall(source.read_text())}
    names = [defect.name for defect in DEFECTS]
    assert sorted(names) == sorted(asked_for)


async def cached_for_somebody_else(stage: Stage) -> bool:
    alice, bob = await stage.user("alice"), await stage.user("bob")
    await alice.answer("alice-1", "same?")
    return "alice/1" in (await bob.answer("bob-1", "same?")).text


async def passed_on_what_was_meant_for_another(stage: Stage) -> bool:
    bob, alice = await stage.user("bob"), await stage.user("alice")
    await bob.answer("bob-1", "whose?")
    stage.llm.cross_talk(True)
    return "bob/1" in (await alice.answer("alice-1", "whose?")).text


async def acknowledged_what_is_nowhere(stage: Stage) -> bool:
    await stage.start("gateway-c", postgres_port=NOWHERE)
    alice = await stage.user("alice", at="gateway-c")
    return await alice.ask("alice-1", "lost?") is Outcome.OK


async def took_a_session_from_outside(stage: Stage) -> bool:
    [answer] = await stage.say(Hello(token=issue_login("alice", SECRET), session="known to mallory"))
    return isinstance(answer, Welcome)


async def kept_the_place_of_what_was_cancelled(stage: Stage) -> bool:
    await stage.processes["agents"].kill()
    alice = await stage.user("alice")
    await alice.ask("alice-1", "never mind?")
    assert await alice.client.cancel("alice-1") is Outcome.OK
    await stage.start("agents")
    await until(lambda: bool(alice.replies))
    return stage.services.rows("SELECT open FROM users") == [(1,)]


@pytest.mark.parametrize("is_planted", [False, True], ids=["without", "with"])
@pytest.mark.parametrize(
    ("defect", "shows"),
    [
        ("cache-without-user", cached_for_somebody_else),
        ("answer-not-checked", passed_on_what_was_meant_for_another),
        ("ack-before-store", acknowledged_what_is_nowhere),
        ("session-fixation", took_a_session_from_outside),
        ("place-not-given-back", kept_the_place_of_what_was_cancelled),
    ],
)
def test_a_defect_shows_when_it_is_planted_and_only_then(
    services: Services, defect: str, shows: Callable[[Stage], Awaitable[bool]], is_planted: bool
) -> None:
    """Without the second half the first would prove nothing."""

    async def main() -> None:
        async with staged(services, defects=frozenset({defect} if is_planted else ())) as stage:
            assert await shows(stage) is is_planted

    trio.run(main)
