"""The platform in one process: a gateway, the agents, or both, over the same stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from models.agents import Agents
from models.analytics import Analytics
from models.breaker import Breaker
from models.buffer import Buffer
from models.cache import AnswerCache
from models.clickhouse import ClickHouse
from models.config import PlatformConfig
from models.database import Database
from models.events import Events
from models.gateway import Gateway
from models.ledger import Ledger
from models.llm import LLM
from models.sessions import Sessions
from models.store import Store, open_store
from models.streams import Streams
from models.supervisor import Supervisor

__all__ = ["ROLES", "serve"]

ROLES = ("gateway", "agents")


async def serve(
    config: PlatformConfig,
    *,
    database: Database,
    roles: tuple[str, ...] = ROLES,
    stopping: trio.Event | None = None,
    task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until cancelled, or until `stopping` and everything begun is finished; report the gateway's port.

    No dependency need be there, also at first.
    """
    stopping = trio.Event() if stopping is None else stopping
    async with _opened_stores(config, database) as stores, trio.open_nursery() as background:
        background.start_soon(stores.store.probe_forever)
        background.start_soon(stores.ledger.probe_forever)
        async with trio.open_nursery() as roles_nursery:
            if "agents" in roles:
                roles_nursery.start_soon(_run_agents, config, stores, background, stopping)
            port = None
            if "gateway" in roles:
                gateway = Gateway(
                    ledger=stores.ledger,
                    streams=stores.streams,
                    sessions=Sessions(stores.store, stores.streams, config),
                    config=config,
                )
                port = await roles_nursery.start(gateway.serve, stopping)
            task_status.started(port)
        background.cancel_scope.cancel()


@attrs.frozen
class _Stores:
    """What both roles need."""

    store: Store
    streams: Streams
    ledger: Ledger


@asynccontextmanager
async def _opened_stores(config: PlatformConfig, database: Database) -> AsyncIterator[_Stores]:
    async with open_store(Breaker("redis", config), config) as store:
        yield _Stores(store, Streams(store), Ledger(database, Breaker("postgres", config), config))


async def _run_agents(config: PlatformConfig, stores: _Stores, background: trio.Nursery, stopping: trio.Event) -> None:
    async with (
        ClickHouse.opened(Breaker("clickhouse", config), config) as clickhouse,
        LLM.opened(
            base_url=config.llm_url, api_key=config.llm_key, model=config.llm_model, timeout_s=config.llm_timeout_s
        ) as llm,
        trio.open_nursery() as nursery,
    ):
        buffer = Buffer(stores.store, config)
        analytics = Analytics(buffer=buffer, clickhouse=clickhouse, nursery=nursery, config=config)
        events = Events(stores.streams)
        agents = Agents(
            llm=llm,
            llm_breaker=Breaker("llm", config),
            clickhouse=clickhouse,
            cache=AnswerCache(stores.store, config),
            events=events,
            config=config,
        )
        supervisor = Supervisor(
            ledger=stores.ledger, streams=stores.streams, agents=agents, analytics=analytics, config=config
        )
        nursery.start_soon(clickhouse.probe_forever)
        nursery.start_soon(agents.probe_forever)
        nursery.start_soon(analytics.drain_forever)
        nursery.start_soon(events.pass_on_forever)
        await supervisor.run(stopping)
        with trio.move_on_after(config.drain_s):
            await analytics.wait_written()
            await events.wait_passed_on()
        nursery.cancel_scope.cancel()
