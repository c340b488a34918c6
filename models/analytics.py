"""Analytics: one ClickHouse row per answered message, behind a breaker, with a fallback buffer in Redis.

An event's id is made once, so the table (ReplacingMergeTree, read with FINAL) shows an event once however
often an insert of unknown outcome is repeated. What is not modelled: batching of rows from several messages
in one insert.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn, Self

import httpx
import msgspec
import structlog
import trio

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig
from models.streams import Store, StoreUnavailableError, Work

__all__ = ["Analytics", "Event"]

CREATE = (
    "CREATE TABLE IF NOT EXISTS analytics (event_id String, user String, message String, at DateTime) "
    "ENGINE = ReplacingMergeTree() ORDER BY event_id"
)
INSERT = "INSERT INTO analytics FORMAT JSONEachRow"
log = structlog.get_logger()


class ClickHouseUnavailableError(Exception):
    """ClickHouse refused, or did not answer in time. Whether an insert took place is then unknown."""


class Event(msgspec.Struct, frozen=True):
    """A row of the analytics table; `at` is in seconds since the epoch."""

    event_id: str
    user: str
    message: str
    at: int

    @classmethod
    def of(cls, work: Work) -> Self:
        """Return the event of an answered message: the same one each time."""
        return cls(event_id=work.seq, user=work.user, message=work.message, at=int(work.seq.split("-")[0]) // 1000)


class Analytics:
    """Writes events without delaying whoever records them."""

    def __init__(self, *, store: Store, http: httpx.AsyncClient, nursery: trio.Nursery, config: PlatformConfig) -> None:
        self._store = store
        self._http = http
        self._nursery = nursery
        self._config = config
        self._breaker = Breaker("clickhouse", config)
        self._limit = trio.CapacityLimiter(config.analytics_concurrency)
        self._has_table = False
        # Set while there may be something to drain or to probe, so that a quiet platform asks Redis nothing.
        # Set at first: an earlier incarnation may have left rows behind.
        self._trouble = trio.Event()
        self._trouble.set()

    @classmethod
    @asynccontextmanager
    async def opened(cls, *, store: Store, config: PlatformConfig) -> AsyncIterator[Self]:
        """Provide a writer that drains its buffer in the background."""
        # No proxies from the environment; no expiry by the process's own clock, which is not the platform's:
        # the client notices by itself when the server has closed an idle connection. Certificates are loaded
        # for HTTPS only.
        http = httpx.AsyncClient(
            base_url=config.clickhouse_url,
            timeout=None,
            trust_env=False,
            verify=config.clickhouse_url.startswith("https:"),
            limits=httpx.Limits(keepalive_expiry=None),
        )
        async with http, trio.open_nursery() as nursery:
            analytics = cls(store=store, http=http, nursery=nursery, config=config)
            nursery.start_soon(analytics.drain_forever)
            yield analytics
            nursery.cancel_scope.cancel()

    def record(self, event: Event) -> None:
        """Write an event in the background: to ClickHouse, or else to the buffer."""
        self._nursery.start_soon(self._write, event)

    async def _write(self, event: Event) -> None:
        try:
            async with self._limit:
                await self._breaker.call(partial(self._insert, (event,)))
        except (BreakerOpenError, ClickHouseUnavailableError):
            await self._buffer(event)
        else:
            _log_written(event, path="direct")

    async def _buffer(self, event: Event) -> None:
        row = msgspec.json.encode(event).decode()
        for _ in range(self._config.buffer_tries):
            try:
                await self._store.buffer(row)
            except StoreUnavailableError:
                await trio.sleep(self._config.retry_s)
            else:
                log.info("analytics_buffered", event_id=event.event_id, message=event.message, user=event.user)
                self._trouble.set()
                return
        # It may be in the buffer all the same, as the outcome of each attempt is unknown.
        self._trouble.set()
        log.info("analytics_lost", event_id=event.event_id, message=event.message)

    async def drain_forever(self) -> NoReturn:
        """Drain the buffer whenever there is something in it, and probe an open breaker, until cancelled."""
        while True:
            await self._trouble.wait()
            await trio.sleep(self._config.drain_interval_s)
            # Before the buffer is read: what is buffered during the reading sets the new one.
            self._trouble = trio.Event()
            try:
                is_quiet = await self._drain()
            except (BreakerOpenError, ClickHouseUnavailableError, StoreUnavailableError) as error:
                is_quiet = False
                log.info("drain_failed", error=type(error).__name__)
            if not is_quiet:
                self._trouble.set()

    async def _drain(self) -> bool:
        """Move one batch from the buffer to ClickHouse, or probe it; say whether nothing is left to do."""
        if not self._breaker.admits:
            return False
        try:
            rows = await self._store.buffered(self._batch())
        except StoreUnavailableError:
            # The breaker must close again in time even if Redis, too, is away.
            await self._probe()
            raise
        if rows:
            await self._drain_rows(rows)
        else:
            await self._probe()
        return not rows and self._breaker.state == "closed"

    def _batch(self) -> int:
        return -1 if self._config.has("drain-read-then-delete") else self._config.drain_batch

    async def _drain_rows(self, rows: Sequence[str]) -> None:
        events = [msgspec.json.decode(row, type=Event) for row in rows]
        if self._config.has("drain-without-deduplication"):
            events = [msgspec.structs.replace(event, event_id=uuid.uuid4().hex) for event in events]
        await self._breaker.call(partial(self._insert, events))
        for event in events:
            _log_written(event, path="drain")
        if self._config.has("drain-read-then-delete"):
            await self._store.clear_buffer()
        else:
            await self._store.unbuffer(rows)
        log.info("drained", count=len(rows))

    async def _probe(self) -> None:
        if self._breaker.state != "closed":
            await self._breaker.call(partial(self._post, "SELECT 1"))

    async def _insert(self, events: Sequence[Event]) -> None:
        try:
            if not self._has_table:
                await self._post(CREATE)
            await self._post(INSERT, b"\n".join(map(msgspec.json.encode, events)))
        except ClickHouseUnavailableError:
            # Perhaps the table is gone; creating it again costs one request and does no harm.
            self._has_table = False
            raise
        self._has_table = True

    async def _post(self, statement: str, body: bytes = b"") -> None:
        try:
            with trio.fail_after(self._config.clickhouse_timeout_s):
                response = await self._http.post("/", params={"query": statement}, content=body)
            response.raise_for_status()
        except Exception as error:
            # Whatever the client library raises, to the breaker it is one fact.
            raise ClickHouseUnavailableError(f"{type(error).__name__}: {error}") from error


def _log_written(event: Event, *, path: str) -> None:
    log.info("analytics_written", event_id=event.event_id, message=event.message, user=event.user, path=path)
