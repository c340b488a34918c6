"""News through Redis: which user has new work, each user's replies and events as they come, which sessions ended.

None of this is the truth, and any of it may be lost: replies are in the ledger under the same numbers, so that who
reads notices a gap; work that nobody announced is found there, too. Events are news and nothing else.
"""

from collections.abc import Mapping, Sequence

import attrs
import msgspec
from coredis import PureToken, Redis
from coredis.exceptions import ResponseError
from coredis.response.types import StreamEntry

from models.protocol import AgentEvent, Reply
from models.store import STREAM_START, Store

__all__ = ["News", "Streams"]

WORK = "work"
REVOKED = "revoked"
# How many entries a stream keeps. Who was away for longer finds replies in the ledger.
WORK_KEPT = 100
REPLIES_KEPT = 1000
EVENTS_KEPT = 200
REVOKED_KEPT = 1000
ALREADY_THERE = "equal or smaller"

_event_decoder = msgspec.json.Decoder(AgentEvent)
_reply_decoder = msgspec.json.Decoder(Reply)


@attrs.frozen
class News:
    """What came for a user: events and replies, each in their order."""

    events: Sequence[AgentEvent]
    replies: Sequence[Reply]


class Streams:
    """The streams of the platform. Everything here may raise StoreUnavailableError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def announce_work(self) -> None:
        """Tell the supervisor that there are new messages in the ledger."""
        await self._append(WORK, {"new": "1"}, kept=WORK_KEPT)

    async def wait_work(self, after: str) -> str:
        """Wait until work is announced; return the announcement's id, or the given one when none came in time."""
        entries = (await self._store.wait_entries({WORK: after})).get(WORK, ())
        return str(entries[-1].identifier) if entries else after

    async def publish_reply(self, user: str, reply: Reply) -> None:
        """Pass a stored reply on. Redis refuses a number that is not greater than the last: it is there already."""
        fields = {"body": msgspec.json.encode(reply).decode()}
        await self._append(_replies(user), fields, kept=REPLIES_KEPT, identifier=f"{reply.seq}-0")

    async def publish_events(self, events: Sequence[tuple[str, AgentEvent]]) -> None:
        """Pass on what agents do, each with the user whom it concerns, in one round trip."""

        async def append_all(client: object) -> None:
            async with client.pipeline(transaction=False) as pipeline:  # type: ignore[attr-defined]
                for user, event in events:
                    pipeline.xadd(
                        _events(user),
                        {"body": msgspec.json.encode(event).decode()},
                        trim_strategy=PureToken.MAXLEN,
                        threshold=EVENTS_KEPT,
                    )

        await self._store.ask(append_all)

    async def wait_news(self, user: str, *, after_seq: int, after_event: str) -> News:
        """Wait for a user's replies and events; nothing when none came in time."""
        found = await self._store.wait_entries({_events(user): after_event, _replies(user): f"{after_seq}-0"})
        return News(
            [_event(entry) for entry in found.get(_events(user), ())],
            [_reply(entry) for entry in found.get(_replies(user), ())],
        )

    async def replies_after(self, user: str, seq: int) -> list[Reply]:
        """Return the replies that are still in the stream, without waiting."""
        entries = await self._store.ask(lambda client: client.xrange(_replies(user), f"({seq}-0", "+"))
        return [_reply(entry) for entry in entries]

    async def last_event(self, user: str) -> str:
        """Return the id of a user's newest event."""
        entries = await self._store.ask(lambda client: client.xrevrange(_events(user), "+", "-", count=1))
        return str(entries[0].identifier) if entries else STREAM_START

    async def announce_revoked(self, session: str) -> None:
        """Tell every gateway that a session has ended."""
        await self._append(REVOKED, {"session": session}, kept=REVOKED_KEPT)

    async def wait_revoked(self, after: str) -> tuple[str, list[str]]:
        """Wait until sessions end; return the last announcement's id and the sessions, none when none came in time."""
        entries = (await self._store.wait_entries({REVOKED: after})).get(REVOKED, ())
        last = str(entries[-1].identifier) if entries else after
        return last, [str(entry.field_values["session"]) for entry in entries]

    async def _append(self, key: str, fields: Mapping[str, str], *, kept: int, identifier: str | None = None) -> None:
        async def append(client: Redis[str]) -> None:
            try:
                await client.xadd(
                    key, dict(fields), identifier=identifier, trim_strategy=PureToken.MAXLEN, threshold=kept
                )
            except ResponseError as error:
                if ALREADY_THERE not in str(error):
                    raise

        await self._store.ask(append)


def _replies(user: str) -> str:
    return f"replies:{user}"


def _events(user: str) -> str:
    return f"events:{user}"


def _reply(entry: StreamEntry) -> Reply:
    return _reply_decoder.decode(str(entry.field_values["body"]))


def _event(entry: StreamEntry) -> AgentEvent:
    event = _event_decoder.decode(str(entry.field_values["body"]))
    return msgspec.structs.replace(event, id=str(entry.identifier))
