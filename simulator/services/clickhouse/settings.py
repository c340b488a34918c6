"""The settings that a request may carry in its URL: those of a current server that change what an insert means."""

import re
from collections.abc import Mapping

import attrs

from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.release import Release

__all__ = ["DEFAULTS", "Settings", "read_settings"]

MILLISECONDS = re.compile("[0-9]{1,12}")
SWITCHES = {"0": False, "1": True}


@attrs.frozen
class Settings:
    """How an insert is executed. The server's own defaults, but for `async_insert`: see SimulatedClickHouse."""

    insert_deduplication_token: str = ""
    async_insert: bool = False
    wait_for_async_insert: bool = True
    async_insert_busy_timeout_ms: int = 200


DEFAULTS = Settings()
KNOWN = frozenset({*attrs.fields_dict(Settings), "async_insert_use_adaptive_busy_timeout"})


def read_settings(parameters: Mapping[str, str], release: Release) -> Settings:
    """Return the settings among the parameters of a request; release 18.16 knows none of them, and says so."""
    settings = DEFAULTS
    for name, value in parameters.items():
        if name not in KNOWN:
            refuse(f"the parameter or setting {name}={value}")
        if release is Release.V18_16:
            raise ClickHouseError(115, f"Unknown setting {name}")
        if name == "insert_deduplication_token":
            settings = attrs.evolve(settings, insert_deduplication_token=value)
        elif name == "async_insert" and value in SWITCHES:
            settings = attrs.evolve(settings, async_insert=SWITCHES[value])
        elif name == "wait_for_async_insert" and value in SWITCHES:
            settings = attrs.evolve(settings, wait_for_async_insert=SWITCHES[value])
        elif name == "async_insert_busy_timeout_ms" and MILLISECONDS.fullmatch(value):
            settings = attrs.evolve(settings, async_insert_busy_timeout_ms=int(value))
        elif name != "async_insert_use_adaptive_busy_timeout" or value != "0":  # it is 0 here, whatever is said
            refuse(f"the setting {name}={value}")
    return settings
