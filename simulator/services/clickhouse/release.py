"""Which ClickHouse is simulated."""

import enum

__all__ = ["Release"]


class Release(enum.Enum):
    """A release of the server, by its version; what differs between them asks for it."""

    V18_16 = "18.16.1"
    """Debian's."""

    CURRENT = "26.9.2.1"
    """That of the engine in chdb-core 26.9, to which the simulation is held."""
