"""A ClickHouse server in the world: HTTP over Trio's sockets, in front of tables on a disk that outlives a crash."""

from functools import partial

import trio

from simulator.fault import Trouble
from simulator.services.capacity import Capacity
from simulator.services.clickhouse.engine import Engine
from simulator.services.clickhouse.gathering import Gathering
from simulator.services.clickhouse.http import serve_connection
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.request import Answer, answer, answer_of_error
from simulator.services.clickhouse.troubles import SLOW_QUERY_S, VISIBILITY_DELAY_S
from simulator.services.http import Request

__all__ = ["SimulatedClickHouse"]


class SimulatedClickHouse:
    """The machine that runs ClickHouse, with its disk: this object outlives every crash of the process.

    In UTC. An insert is executed when its request is complete, at one instant, before its answer: so an acknowledged
    insert survives a crash (a process crash keeps the page cache) and one that is still being received is lost whole.
    A client that closes in the middle of a body ends it there: the real server, too, keeps the rows that were
    complete, if the cut falls between two rows, and so does this one. Whatever is not named here is refused with
    status 501.

    Release 18.16, held to Debian's server: MergeTree and ReplacingMergeTree; inserts as JSONEachRow and VALUES;
    selects from one table with FINAL, WHERE, GROUP BY, ORDER BY, LIMIT; every error in the server's own words; the
    settings of today, which it does not know, in its words too.

    The current release, held to the engine in chdb-core 26.9: the same statements, with today's JSON, zero dates,
    statuses and error codes (their texts only for databases, tables, settings, read-only requests and troubles);
    fields that the table does not have are skipped; a ReplacingMergeTree keeps one row of each key of an insert. Of
    its settings:

    - `insert_deduplication_token`, and without one the content of the block, in a table with
      `non_replicated_deduplication_window`; a repeated block is acknowledged and changes nothing, across crashes too.
    - `async_insert=1`, `wait_for_async_insert`, `async_insert_busy_timeout_ms`: see `gathering`. This alone is held to
      the documentation and source of ClickHouse only: the embedded engine has no such queue. Without the setting an
      insert is executed at once, though servers from 26.2 on gather by default, and acknowledge 50 to 200 ms later.

    Not modelled in either: background merges, loss of power, authentication, other settings, compression, pipelining,
    how long a statement takes of itself, and headers other than Content-Type and the error code.
    """

    def __init__(
        self,
        *,
        port: int = 8123,
        host: str | None = None,
        keep_alive_timeout_s: float = 60.0,
        release: Release = Release.V18_16,
        latency_s: float = 0.0,
        capacity: Capacity | None = None,
    ) -> None:
        """Make a server that is not started yet.

        It executes a statement at once, and answers `latency_s` later, or when its `capacity` says.
        """
        self._port = port
        self._host = host
        self._keep_alive_timeout_s = keep_alive_timeout_s
        self._latency_s = 0.0 if capacity is not None else latency_s
        self._capacity = capacity if capacity is not None else Capacity()
        self._engine = Engine(release)
        self._gathering: Gathering | None = None
        self._incarnation = 0

    @property
    def port(self) -> int:
        """The port; if 0 was asked for, from the first start on the one that was free then."""
        return self._port

    async def main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve what the disk holds until cancelled. `task_status` says when the server listens.

        Cancelled without a `crash`, the server stops in an orderly way and flushes what it has gathered.
        """
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        task_status.started()
        serve = partial(
            serve_connection,
            respond=partial(self._respond, self._incarnation),
            keep_alive_timeout_s=self._keep_alive_timeout_s,
        )
        async with trio.open_nursery() as nursery:
            gathering = self._gathering = Gathering(nursery, self._engine.insert_gathered)
            try:
                await trio.serve_listeners(serve, listeners)
            finally:
                gathering.flush()

    def crash(self) -> None:
        """Take the process down at this instant: its tasks, still to be cancelled, change nothing any more."""
        self._incarnation += 1
        if self._gathering is not None:
            self._gathering.lose()

    # Troubles. Each is a switch; what it does to requests begins and ends at once.

    def too_many_parts(self, on: bool) -> None:
        """Answer every INSERT with the error that merges do not keep up (code 252)."""
        self._engine.switches.too_many_parts = on

    def memory_limit(self, on: bool) -> None:
        """Answer every SELECT with the error that it would take too much memory (code 241)."""
        self._engine.switches.memory_limit = on

    def slow_queries(self, on: bool) -> None:
        """Answer every SELECT three seconds later, with what was there when it came."""
        self._engine.switches.slow_queries = on

    def delay_visibility(self, on: bool) -> None:
        """Show the rows of an acknowledged insert five seconds later, as a replica does; at the end of it, all."""
        self._engine.delay_visibility(on)

    def troubles(self) -> tuple[Trouble, ...]:
        """Return what can go wrong inside this server, for the search to switch on and off."""
        return tuple(
            Trouble(f"clickhouse-{name}", partial(switch, True), partial(switch, False), sentence)
            for name, switch, sentence in (
                ("too-many-parts", self.too_many_parts, "{0} refuses inserts for {for_s} s: too many parts"),
                ("memory-limit", self.memory_limit, "{0} refuses queries for {for_s} s: memory limit exceeded"),
                ("slow-queries", self.slow_queries, f"{{0}} takes {SLOW_QUERY_S:g} s longer per query for {{for_s}} s"),
                (
                    "delayed-visibility",
                    self.delay_visibility,
                    f"{{0}} shows what is inserted {VISIBILITY_DELAY_S:g} s later for {{for_s}} s",
                ),
            )
        )

    async def _respond(self, incarnation: int, request: Request) -> Answer | None:
        if incarnation != self._incarnation:
            return None
        response = answer(request, self._engine, self._gathering)
        if after_s := response.after_s + self._latency_s:
            await trio.sleep(after_s)
        await self._capacity.work()
        if response.awaits is not None:
            error = await response.awaits.outcome()
            if error is not None:
                return answer_of_error(error, self._engine.release)
        return response
