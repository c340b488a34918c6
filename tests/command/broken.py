"""Platforms of which one part is not there at all: each host's process does nothing, and listens to nobody."""

from collections.abc import Iterator

import attrs
import trio

from models.system import DeployedChatSystem
from simulator import Host


class Without(DeployedChatSystem):
    """The platform without some hosts."""

    gone: tuple[str, ...] = ()

    def hosts(self) -> Iterator[Host]:
        for host in super().hosts():
            yield attrs.evolve(host, main=trio.sleep_forever) if host.name in self.gone else host


def without(*names: str) -> Without:
    system = Without()
    system.gone = names
    return system


clickhouse = without("clickhouse")
gateways = without("gateway-a", "gateway-b")
agents = without("agents")
redis = without("redis")
postgres = without("postgres")
llm = without("llm")
