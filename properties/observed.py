"""Observed: what can be known of a run. A live one says at its start whose logs are not read, and what nobody tells.

A promise that took the silence of those for news would be broken by nobody, or kept by nobody.
"""

from collections.abc import Mapping

from simulator.history import History, Reading

__all__ = ["are_logged", "are_told", "leave_unjudged"]

STORES = ("postgres", "redis", "clickhouse")


def are_logged(history: History | Reading, *hosts: str) -> bool:
    """Whether everything that these hosts tell is known."""
    return not _among(history, "unlogged", hosts)


def are_told(history: History | Reading, *types: str) -> bool:
    """Whether users are shown what arrives of all these types of frames."""
    return not _among(history, "untold", types)


def leave_unjudged(history: Reading, sites: Mapping[str, tuple[str, ...]]) -> None:
    """Say which sites cannot be looked at: those that need a host whose log is not read, or a store not looked into."""
    inspected = [event.data["store"] for event in history.events if event.name == "inspected"]
    for site, needed in sites.items():
        for each in needed:
            if each in STORES and each not in inspected:
                history.unjudged[site] = f"{each} was not inspected"
            elif each not in STORES and not are_logged(history, each):
                history.unjudged[site] = f"what {each} tells is not read"


def _among(history: History | Reading, key: str, names: tuple[str, ...]) -> list[str]:
    listed = history.events[0].data.get(key) if history.events else None
    return [name for name in names if isinstance(listed, list) and name in listed]
