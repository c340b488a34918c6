"""The deterministic world: Trio in virtual time, over simulated sockets, on hosts that can fail."""

from simulator.world.connection import Link
from simulator.world.host import Host, current_host
from simulator.world.network import Network
from simulator.world.world import Call, World

__all__ = ["Call", "Host", "Link", "Network", "World", "current_host"]
