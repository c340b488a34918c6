"""The cache of answers in Redis: a convenience, without which everything works."""

import hashlib

import trio

from models.config import PlatformConfig
from models.store import Store, StoreUnavailableError

__all__ = ["AnswerCache"]


class AnswerCache:
    """What the LLM answered to a prompt a short while ago. Nothing here fails; at worst nothing is known."""

    def __init__(self, store: Store, config: PlatformConfig) -> None:
        self._store = store
        self._config = config

    async def load(self, user: str, system: str, question: str) -> str | None:
        """Return the answer to the same prompt of the same user."""
        key = self._key(user, system, question)
        while True:
            try:
                return await self._store.ask(lambda client: client.get(key))
            except StoreUnavailableError:
                if not self._config.has("cache-is-mandatory"):
                    return None
            await trio.sleep(self._config.retry_s)

    async def keep(self, user: str, system: str, question: str, answer: str) -> None:
        """Remember an answer."""
        key = self._key(user, system, question)
        try:
            await self._store.ask(lambda client: client.set(key, answer, ex=self._config.cache_s))
        except StoreUnavailableError:
            return

    def _key(self, user: str, system: str, question: str) -> str:
        if self._config.has("cache-without-user"):
            return f"cache:{_digest(question)}"
        return f"cache:{user}:{_digest(system)}:{_digest(question)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
