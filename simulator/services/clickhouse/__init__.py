"""The simulated ClickHouse: its HTTP interface, a small allow-listed SQL, and a disk that outlives crashes."""

from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.server import SimulatedClickHouse

__all__ = ["Release", "SimulatedClickHouse"]
