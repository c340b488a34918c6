"""Conversations of several sessions with a PostgreSQL at once, and how cases of them are written.

A case is written a step a line, first the session, then the statement. A statement that waits does not hold up the
next step of another session; its answer is noted with the step after which it came.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs
import trio

from tests.conformance.postgresql_client import Client, Reply, extended, query

__all__ = ["SMALL", "TYPES", "Blockers", "Case", "Step", "call", "case", "conversation", "raw", "steps"]

Blockers = Callable[[int], Awaitable[Sequence[int]]]
"""Says which sessions one session waits for, by their process ids."""

ANSWER_WITHIN_S = 20.0
ANSWER_AT_ONCE_S = 0.003

SMALL = """
    a CREATE TABLE t (k text PRIMARY KEY, n integer, u bigint UNIQUE)
    a INSERT INTO t VALUES ('x', 1, 10), ('y', 2, 20), ('z', 3, 30)
"""
TYPES = """
    a CREATE TABLE v (t text, i integer, b bigint, o boolean, d double precision)
    a INSERT INTO v VALUES ('x', 1, 2, true, 0.5), (NULL, NULL, NULL, NULL, NULL)
    a INSERT INTO v VALUES ('', -2147483648, 9223372036854775807, false, -1e300)
"""


@attrs.frozen
class Step:
    """What one session sends: messages after which the server says once that it is ready."""

    session: str
    data: bytes
    shown: str = ""


@attrs.frozen
class Case:
    """A named conversation. `last` is the last answer's rows, where they are short enough to say."""

    name: str
    steps: Sequence[Step]
    last: Sequence[tuple[str | None, ...]] | None = None


async def conversation(
    steps: Sequence[Step], clients: Mapping[str, Client], blockers: Blockers, *, ends_in_doubt: bool = False
) -> list[tuple[str, Mapping[str, Reply]]]:
    """Take the steps; return for each which sessions had their answers after it, and what they were.

    A step of a session that waits is left out. With `ends_in_doubt` the conversation ends where two sessions wait:
    who of them goes on first, or is the victim of a deadlock, the real server may leave to chance.
    """
    transcript: list[tuple[str, Mapping[str, Reply]]] = []
    async with trio.open_nursery() as nursery:
        for step in steps:
            client = clients[step.session]
            if client.is_busy:
                transcript.append((f"{step.session} waits", {}))
                continue
            await client.begin(step.data, nursery)
            waiting = await _settled(clients, blockers, ends_in_doubt=ends_in_doubt)
            answers: dict[str, Reply] = {}
            for name, each in clients.items():
                if each.is_busy and each.reply is not None:
                    answers[name] = _comparable(each.reply)
                    each.is_busy = False
            transcript.append((f"{step.session} {step.shown}", answers))
            if ends_in_doubt and waiting > 1:
                break
        nursery.cancel_scope.cancel()
    return transcript


def _comparable(reply: Reply) -> Reply:
    """Leave out what is answered just before an error: at which step an error of constants comes is not modelled."""
    found: Reply = []
    for each in reply:
        while each[0] == "E" and found and found[-1][0] in ("2", "T", "n"):
            found.pop()
        found.append(each)
    return found


async def _settled(clients: Mapping[str, Client], blockers: Blockers, *, ends_in_doubt: bool) -> int:
    """Wait until every session has its answer or waits for another one; return how many wait.

    A circle is not settled, but left by its victim, unless it is to be the end.
    """
    before = None
    with trio.fail_after(ANSWER_WITHIN_S):
        while True:
            busy = [each for each in clients.values() if each.is_busy and each.reply is None]
            if not busy:
                return 0
            with trio.move_on_after(ANSWER_AT_ONCE_S):
                await busy[-1].answered.wait()
            waits = {each.process_id: list(await blockers(each.process_id)) for each in busy}
            # Seen twice, because the waits of several sessions cannot be seen at one instant.
            is_still = all(waits.values()) and waits == before and all(each.reply is None for each in busy)
            if is_still and (ends_in_doubt or not _is_circle(waits)):
                return len(waits)
            before = waits


def _is_circle(waits: Mapping[int, Sequence[int]]) -> bool:
    reached = {start: {*targets} for start, targets in waits.items()}
    for _ in waits:
        for targets in reached.values():
            targets |= {further for each in targets for further in waits.get(each, ())}
    return any(start in targets for start, targets in reached.items())


def steps(text: str) -> list[Step]:
    """Read steps a line each: the session, then the statement, sent as a simple query."""
    lines = [line.strip().partition(" ") for line in text.strip().splitlines()]
    return [Step(session, query(statement), statement) for session, _, statement in lines]


def case(name: str, *parts: str | Step, last: Sequence[tuple[str | None, ...]] | None = None) -> Case:
    found: list[Step] = []
    for part in parts:
        found += steps(part) if isinstance(part, str) else [part]
    return Case(name, found, last)


def raw(session: str, *messages: bytes) -> Step:
    return Step(session, b"".join(messages), "messages")


def call(session: str, text: str, *values: str | bytes | None, oids: Sequence[int] = ()) -> Step:
    return Step(session, extended(text, *values, oids=oids), text)
