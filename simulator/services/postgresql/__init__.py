"""The simulated PostgreSQL: its wire protocol, a small allow-listed SQL, row versions and locks as in release 15."""

from simulator.services.postgresql.server import SimulatedPostgreSQL

__all__ = ["SimulatedPostgreSQL"]
