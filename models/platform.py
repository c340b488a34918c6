"""The platform in one process: gateway, agent and analytics over one store."""

import trio

from models.agent import answer_forever
from models.analytics import Analytics
from models.config import PlatformConfig
from models.gateway import Gateway
from models.streams import open_store

__all__ = ["serve"]


async def serve(config: PlatformConfig, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Run until cancelled; report the port listened on. Redis and ClickHouse may be away, also at first."""
    async with (
        open_store(config) as store,
        Analytics.opened(store=store, config=config) as analytics,
        trio.open_nursery() as nursery,
    ):

        async def answer() -> None:
            await answer_forever(store=store, analytics=analytics, config=config)

        port = await nursery.start(Gateway(store=store, config=config).serve)
        nursery.start_soon(answer)
        task_status.started(port)
