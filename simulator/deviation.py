"""Deviations: explicit departures from calm weather, so that a shrunk failure tells its few causes."""

from typing import TypeAlias

import msgspec

from simulator.fault import Seconds

__all__ = ["LATE_MAX_S", "Delay", "Deviation", "Hold"]

LATE_MAX_S = 0.1
"""No storm makes a message later than that, or a few latencies of its link: what is later is a fault, and a step."""


class Hold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="deviation", tag="hold"):
    """A message is late: the `nth` from one host to another since its step began, counted from 1, by `for_s`.

    What opens a connection, and what ends one, counts as a message each way. `what` tells a reader what is in it.
    """

    source: str
    destination: str
    nth: int
    for_s: Seconds
    what: str = ""


class Delay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="deviation", tag="delay"):
    """A task waits for another: its `nth` turn since the step began, until the other has had its `until_nth`.

    A task is named by its host and its path of child indices. It waits no longer than until nothing else can run at
    that instant. `what` and `until_what` tell a reader which functions they are in.
    """

    task: str
    nth: int
    until: str
    until_nth: int
    what: str = ""
    until_what: str = ""


Deviation: TypeAlias = Hold | Delay
