"""Sessions in Redis: begun with a login, ended by whoever logs out, on whatever connection, or by their age."""

import secrets

import structlog

from models.config import PlatformConfig
from models.store import Store
from models.streams import Streams

__all__ = ["Sessions"]

log = structlog.get_logger()


class Sessions:
    """The sessions that are under way. Everything here may raise StoreUnavailableError."""

    def __init__(self, store: Store, streams: Streams, config: PlatformConfig) -> None:
        self._store = store
        self._streams = streams
        self._config = config

    async def begin(self, user: str, proposed: str | None = None) -> str:
        """Begin a session of a user and return its id. It is ours to choose: one that we are told may be known."""
        session = secrets.token_hex(16)
        if proposed is not None and self._config.has("session-fixation"):
            session = proposed
        await self._write(user, session)
        log.info("session_begun", user=user, session=session)
        return session

    async def is_live(self, session: str, user: str) -> bool:
        """Say whether a session is under way and that user's."""
        return await self._store.ask(lambda client: client.get(_key(session))) == user

    async def prolong(self, session: str, user: str) -> bool:
        """Let a live session last from now on; say whether it was one."""
        if self._config.has("refresh-revives-session"):
            await self._write(user, session)
            return True
        if not await self.is_live(session, user):
            return False
        # Ends nothing and revives nothing: a session that was ended meanwhile has no key any more.
        return bool(await self._store.ask(lambda client: client.expire(_key(session), self._config.session_s)))

    async def end(self, session: str) -> None:
        """End a session: first for new connections, then, by telling every gateway, for open ones."""
        await self._store.ask(lambda client: client.delete([_key(session)]))
        await self._streams.announce_revoked(session)
        log.info("session_ended", session=session)

    async def _write(self, user: str, session: str) -> None:
        lasts_s = None if self._config.has("sessions-never-pruned") else self._config.session_s
        await self._store.ask(lambda client: client.set(_key(session), user, ex=lasts_s))


def _key(session: str) -> str:
    return f"session:{session}"
