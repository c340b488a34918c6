"""Asynchronous inserts: gathered in memory, flushed together; what was not flushed at a crash is gone.

Modelled: one block per table, list of columns and settings, flushed when `async_insert_busy_timeout_ms` has passed
since its first insert (the longest that the real server waits; left to adapt, it waits between 50 ms and that).
An insert that cannot be read is left out, and the others take place. Not modelled: a flush because of the
number or size of inserts, and deduplication.
"""

from collections.abc import Callable, Sequence

import attrs
import trio

from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.settings import Settings
from simulator.services.clickhouse.table import Row, Table

__all__ = ["Gathering", "Insertion"]

INSERTIONS_MAX = 450  # async_insert_max_query_number


@attrs.define(eq=False)
class Insertion:
    """One accepted insert: its rows, or why they cannot be read. One that is gathered has a `flushed` event."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Row]
    error: ClickHouseError | None = None
    flushed: trio.Event | None = None

    async def outcome(self) -> ClickHouseError | None:
        """Wait for the flush; return why the insert failed, if it did."""
        assert self.flushed is not None, "only what is gathered is flushed"
        await self.flushed.wait()
        return self.error


Key = tuple[str, tuple[str, ...], Settings]


class Gathering:
    """The queue of one run of the server; its flushes are tasks of the given nursery."""

    def __init__(self, nursery: trio.Nursery, insert: Callable[[Sequence[Insertion]], None]) -> None:
        self._nursery = nursery
        self._insert = insert
        self._waiting: dict[Key, list[Insertion]] = {}
        self._is_lost = False

    def add(self, insertion: Insertion, settings: Settings) -> None:
        """Keep an insert until the flush of those like it, which its first one starts the clock for."""
        key = (insertion.table.name, insertion.columns, settings)
        alike = self._waiting.setdefault(key, [])
        if len(alike) == INSERTIONS_MAX:
            refuse(f"more than {INSERTIONS_MAX} asynchronous inserts in one flush")
        insertion.flushed = trio.Event()
        alike.append(insertion)
        if len(alike) == 1:
            self._nursery.start_soon(self._flush_later, key, settings.async_insert_busy_timeout_ms / 1000)

    def lose(self) -> None:
        """Forget everything: the process is gone, and its tasks, still to be cancelled, flush nothing any more."""
        self._is_lost = True

    def flush(self) -> None:
        """Flush everything, as at an orderly stop (async_insert_queue_flush_on_shutdown, on by default)."""
        for key in list(self._waiting):
            self._flush(key)

    async def _flush_later(self, key: Key, delay_s: float) -> None:
        await trio.sleep(delay_s)
        self._flush(key)

    def _flush(self, key: Key) -> None:
        if self._is_lost:
            return
        insertions = self._waiting.pop(key)
        self._insert(insertions)
        for insertion in insertions:
            assert insertion.flushed is not None  # since it was added
            insertion.flushed.set()
