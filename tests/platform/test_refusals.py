"""Dependencies that say no: everybody stays up, and what cannot be is told to whoever wanted it."""

import trio

from models.client import Outcome
from tests.platform.stage import Services, staged, until


def test_a_redis_that_takes_no_writes_is_an_outage_and_no_end(services: Services) -> None:
    """Out of memory, out of disk, or a replica after a failover: it answers, and refuses."""

    async def main() -> None:
        async with staged(services) as stage, services.redis_client() as redis:
            alice, bob = await stage.user("alice"), await stage.user("bob", at="gateway-b")
            await redis.config_set({"maxmemory": 1})
            try:
                for user in (alice, bob):
                    assert await user.ask(f"{user.client.user}-1", "still there?") is Outcome.OK
                await until(lambda: len(alice.replies) == len(bob.replies) == 1)
                assert not any(process.has_ended for process in stage.processes.values())
            finally:
                await redis.config_set({"maxmemory": 0})

    trio.run(main)
