"""The fallback buffer in Redis: analytics rows that wait for ClickHouse, oldest first."""

from collections.abc import Sequence

from models.config import PlatformConfig
from models.store import Store

__all__ = ["BUFFER", "Buffer"]

BUFFER = "analytics:buffer"


class Buffer:
    """A list of rows. Everything here may raise StoreUnavailableError."""

    def __init__(self, store: Store, config: PlatformConfig) -> None:
        self._store = store
        self._config = config
        self._counted = 0  # for a planted defect only

    async def add(self, rows: Sequence[str]) -> bool:
        """Append rows, unless the buffer is full; say whether they are in it."""
        if await self._store.ask(lambda client: client.llen(BUFFER)) + len(rows) > self._config.buffer_rows_max:
            return False
        await self._store.ask(lambda client: client.rpush(BUFFER, rows))
        return True

    async def oldest(self, count: int) -> list[str]:
        """Return the oldest rows and leave them there; a negative count means all."""
        if self._config.has("buffer-trimmed-by-count"):
            self._counted = await self._store.ask(lambda client: client.llen(BUFFER))
        return list(await self._store.ask(lambda client: client.lrange(BUFFER, 0, count - 1 if count > 0 else -1)))

    async def remove(self, rows: Sequence[str]) -> None:
        """Remove exactly these rows.

        By value rather than by position: a trim whose answer was lost may reach Redis late, after its rows
        are gone, and would then cut off rows that nobody has read.
        """
        if self._config.has("drain-read-then-delete"):
            await self._store.ask(lambda client: client.delete([BUFFER]))
            return
        if self._config.has("buffer-trimmed-by-count"):
            kept = self._counted - len(rows)
            await self._store.ask(lambda client: client.ltrim(BUFFER, -kept, -1) if kept else client.delete([BUFFER]))
            return

        async def remove_all(client: object) -> None:
            async with client.pipeline(transaction=False) as pipeline:  # type: ignore[attr-defined]
                for row in rows:
                    pipeline.lrem(BUFFER, 1, row)

        await self._store.ask(remove_all)
