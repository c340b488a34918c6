"""The agent: answers stored messages strictly one after another, each exactly once in effect."""

from typing import NoReturn

import structlog
import trio

from models.analytics import Analytics, Event
from models.config import PlatformConfig
from models.streams import Store, StoreUnavailableError, Work

__all__ = ["answer_forever"]

log = structlog.get_logger()


async def answer_forever(*, store: Store, analytics: Analytics, config: PlatformConfig) -> NoReturn:
    """Answer messages until cancelled; after trouble with the store, go on from the cursor kept there."""
    while True:
        try:
            cursor = await store.load_cursor()
            while True:
                for work in await store.wait_work(cursor):
                    await _answer(work, store=store, analytics=analytics, config=config)
                    cursor = work.seq
        except StoreUnavailableError as error:
            log.info("agent_store_unavailable", error=str(error))
            await trio.sleep(config.retry_s)


async def _answer(work: Work, *, store: Store, analytics: Analytics, config: PlatformConfig) -> None:
    text = await store.cached_answer(work.user, work.text)
    if text is None:
        await trio.sleep(config.think_s)
        text = f"{work.text} -> noted for {work.context}"
    await store.store_reply(work, text)
    log.info("reply_stored", user=work.user, message=work.message, seq=work.seq)
    analytics.record(Event.of(work))
    await store.finish_work(work, text)
