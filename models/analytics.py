"""Analytics: one ClickHouse row per answered message, with a fallback buffer in Redis while ClickHouse is away.

An event's id is made once, so the table (ReplacingMergeTree, read with FINAL) shows an event once however
often an insert of unknown outcome is repeated. Events of a short while are inserted together, as ClickHouse wants it.
"""

import time
import uuid
from collections.abc import Sequence
from typing import NoReturn, Self

import msgspec
import structlog
import trio

from models.buffer import Buffer
from models.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from models.config import PlatformConfig
from models.ledger import OpenMessage
from models.store import StoreUnavailableError

__all__ = ["Analytics", "Event"]

CREATE = (
    "CREATE TABLE IF NOT EXISTS analytics (event_id String, user String, message String, at DateTime) "
    "ENGINE = ReplacingMergeTree() ORDER BY event_id"
)
INSERT = "INSERT INTO analytics FORMAT JSONEachRow"
FAILURES = (ClickHouseUnavailableError, ClickHouseRefusedError)
log = structlog.get_logger()


class Event(msgspec.Struct, frozen=True):
    """A row of the analytics table; `at` is in seconds since the epoch."""

    event_id: str
    user: str
    message: str
    at: int

    @classmethod
    def of(cls, message: OpenMessage) -> Self:
        """Return the event of an answered message. Its id is always the same."""
        return cls(event_id=message.run, user=message.user, message=message.id, at=int(time.time()))


class Analytics:
    """Writes events without delaying whoever records them."""

    def __init__(
        self, *, buffer: Buffer, clickhouse: ClickHouse, nursery: trio.Nursery, config: PlatformConfig
    ) -> None:
        self._buffer = buffer
        self._clickhouse = clickhouse
        self._nursery = nursery
        self._config = config
        self._limit = trio.CapacityLimiter(config.analytics_concurrency)
        self._has_table = False
        self._gathered: list[Event] = []  # what the next insert takes
        self._under_way = 0
        self._all_written = trio.Event()
        # Set while there may be something to drain, so that a quiet platform asks Redis nothing. Set at first:
        # an earlier incarnation may have left rows behind.
        self._trouble = trio.Event()
        self._trouble.set()

    def record(self, event: Event) -> None:
        """Write an event in the background: to ClickHouse, or else to the buffer."""
        self._gathered.append(event)
        if len(self._gathered) == 1:
            self._under_way += 1
            self._nursery.start_soon(self._write_gathered)

    async def wait_written(self) -> None:
        """Wait until everything recorded is in ClickHouse or in the buffer, or was given up."""
        while self._under_way and not self._config.has("shutdown-drops-analytics"):
            self._all_written = trio.Event()
            await self._all_written.wait()

    async def write_directly(self, event: Event) -> None:
        """Write an event to ClickHouse, however long that takes (only a planted defect does that)."""
        while True:
            try:
                await self._insert((event,))
            except FAILURES:
                await trio.sleep(self._config.retry_s)
            else:
                _log_written(event, path="direct")
                return

    async def wait_for_table(self) -> None:
        """Create the table, however long that takes (only a planted defect does that)."""
        while True:
            try:
                await self._clickhouse.query((CREATE, b""))
            except FAILURES:
                await trio.sleep(self._config.retry_s)
            else:
                return

    async def _write_gathered(self) -> None:
        try:
            await trio.sleep(self._config.analytics_linger_s)
            events, self._gathered = self._gathered, []
            await self._write(events)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._all_written.set()

    async def _write(self, events: Sequence[Event]) -> None:
        """Write events: to ClickHouse, or else to the buffer."""
        try:
            async with self._limit:
                await self._insert(events)
        except FAILURES:
            await self._put_aside(events)
        else:
            for event in events:
                _log_written(event, path="direct")

    async def _put_aside(self, events: Sequence[Event]) -> None:
        rows = [msgspec.json.encode(event).decode() for event in events]
        for _ in range(self._config.buffer_tries):
            try:
                is_added = await self._buffer.add(rows)
            except StoreUnavailableError:
                await trio.sleep(self._config.retry_s)
            else:
                if not is_added:
                    break
                for event in events:
                    log.info("analytics_buffered", **msgspec.structs.asdict(event))
                self._trouble.set()
                return
        # It is full; or they may be in it all the same, as the outcome of each attempt is unknown.
        self._trouble.set()
        for event in events:
            log.info("analytics_lost", event_id=event.event_id, message=event.message)

    async def drain_forever(self) -> NoReturn:
        """Drain the buffer whenever there is something in it, until cancelled."""
        while True:
            await self._trouble.wait()
            await trio.sleep(self._config.drain_interval_s)
            # Before the buffer is read: what is buffered during the reading sets the new one.
            self._trouble = trio.Event()
            try:
                is_empty = self._clickhouse.breaker.admits and await self._drain()
            except (*FAILURES, StoreUnavailableError) as error:
                is_empty = False
                log.info("drain_failed", error=type(error).__name__)
            if not is_empty:
                self._trouble.set()

    async def _drain(self) -> bool:
        """Move one batch from the buffer to ClickHouse; say whether there was nothing to move."""
        rows = await self._buffer.oldest(self._batch())
        if not rows:
            return True
        events = [msgspec.json.decode(row, type=Event) for row in rows]
        if self._config.has("drain-without-deduplication"):
            events = [msgspec.structs.replace(event, event_id=uuid.uuid4().hex) for event in events]
        await self._insert(events)
        for event in events:
            _log_written(event, path="drain")
        await self._buffer.remove(rows)
        log.info("drained", count=len(rows))
        return False

    def _batch(self) -> int:
        return -1 if self._config.has("drain-read-then-delete") else self._config.drain_batch

    async def _insert(self, events: Sequence[Event]) -> None:
        insert = (INSERT, b"\n".join(map(msgspec.json.encode, events)))
        try:
            await self._clickhouse.query(*(() if self._has_table else ((CREATE, b""),)), insert)
        except FAILURES:
            # Perhaps the table is gone; creating it again costs one request and does no harm.
            self._has_table = False
            raise
        self._has_table = True


def _log_written(event: Event, *, path: str) -> None:
    log.info("analytics_written", **msgspec.structs.asdict(event), path=path)
