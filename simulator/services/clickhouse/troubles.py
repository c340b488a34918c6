"""What can go wrong inside a ClickHouse server that is up and reachable."""

import attrs

from simulator.services.clickhouse.errors import ClickHouseError

__all__ = ["SLOW_QUERY_S", "VISIBILITY_DELAY_S", "Switches", "memory_limit_exceeded", "too_many_parts"]

SLOW_QUERY_S = 3.0
VISIBILITY_DELAY_S = 5.0
NO_UUID = "00000000-0000-0000-0000-000000000000"


@attrs.define
class Switches:
    """Which troubles the server has now."""

    too_many_parts: bool = False
    memory_limit: bool = False
    slow_queries: bool = False
    delay_visibility: bool = False


def too_many_parts(table: str) -> ClickHouseError:
    """Return the answer to an insert that merges do not keep up with.

    The numbers are those of a full partition; tables have no UUID here.
    """
    slow = "Merges are processing significantly slower than inserts."
    return ClickHouseError(
        252,
        f"Too many parts (300). {slow}",
        current=f"Too many parts (3000 with average size of 1.00 KiB) in table '{table} ({NO_UUID})'. {slow}",
    )


def memory_limit_exceeded() -> ClickHouseError:
    """Return the answer to a query that would take more memory than it may."""
    used = "exceeded: would use 9.31 GiB (attempt to allocate chunk of 4194304"
    return ClickHouseError(
        241,
        f"Memory limit (for query) {used} bytes), maximum: 9.31 GiB",
        current=f"Query memory limit {used}.00 B), maximum: 9.31 GiB.",
    )
