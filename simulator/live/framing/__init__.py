"""Framing: where messages end in what passes through a proxy, one file per protocol. No I/O, and no bodies kept."""

from collections.abc import Callable
from typing import Final

from simulator.errors import InputError, known_names
from simulator.live.framing.chunks import chunks
from simulator.live.framing.finder import Finder, Framing
from simulator.live.framing.http import http
from simulator.live.framing.postgresql import postgresql
from simulator.live.framing.resp import resp

__all__ = ["FRAMINGS", "Finder", "Framing", "chunks", "framing_of"]

FRAMINGS: Final[dict[str, Callable[[], Framing]]] = {
    "chunks": chunks,
    "http": http,
    "postgresql": postgresql,
    "resp": resp,
    "websocket": http,  # begins as HTTP, which knows when it is upgraded
}
"""What makes the framing of one connection, by the name of its protocol. With "chunks" any protocol will do."""


def framing_of(protocol: str) -> Callable[[], Framing]:
    """Return what makes the framing of each connection. Raises InputError for an unknown protocol."""
    if protocol not in FRAMINGS:
        cure = "With 'chunks' what is received at once is a message."
        raise InputError(f"no framing of protocol={protocol!r}. {known_names(FRAMINGS, 'framing_of')} {cure}")
    return FRAMINGS[protocol]
