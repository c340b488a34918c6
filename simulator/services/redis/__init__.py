"""A simulated Redis 7.0 for a world: the wire protocol, data that a crash can lose, waiting on virtual time."""

from simulator.services.redis.server import Persistence, SimulatedRedis

__all__ = ["Persistence", "SimulatedRedis"]
