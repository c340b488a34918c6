"""Faults: injected disturbances as data, and the one table that says what each does to a world or a deployment."""

from collections.abc import Callable
from typing import Protocol

import attrs
import msgspec

from simulator.errors import InputError

__all__ = ["FAULT_KINDS", "Fault", "FaultKind", "Nemesis"]


class Nemesis(Protocol):
    """What can be done to a system: by a world to simulated hosts, by a live target to real ones.

    Every `begin` has its `end`; calls nest, so that overlapping faults do not undo each other.
    """

    def crash(self, host: str, *, silently: bool) -> None: ...  # noqa: D102
    def restart(self, host: str) -> None: ...  # noqa: D102
    def freeze(self, host: str) -> None: ...  # noqa: D102
    def thaw(self, host: str) -> None: ...  # noqa: D102
    def block(self, source: str, destination: str) -> None: ...  # noqa: D102
    def unblock(self, source: str, destination: str) -> None: ...  # noqa: D102
    def refuse(self, source: str, destination: str) -> None: ...  # noqa: D102
    def admit(self, source: str, destination: str) -> None: ...  # noqa: D102
    def reset(self, source: str, destination: str) -> None: ...  # noqa: D102
    def silence(self, source: str, destination: str) -> None: ...  # noqa: D102
    def unsilence(self, source: str, destination: str) -> None: ...  # noqa: D102
    def slow(self, source: str, destination: str, extra_s: float) -> None: ...  # noqa: D102


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disturbance: its kind, the host or the (source, destination) it strikes, and for how long."""

    kind: str
    at: tuple[str, ...]
    for_s: float = 0.0

    def __str__(self) -> str:
        return FAULT_KINDS[self.kind].sentence.format(*self.at, for_s=f"{self.for_s:g}")


@attrs.frozen
class FaultKind:
    """A kind of fault: what begins it, what ends it (None: it is over at once), and how a report words it."""

    name: str
    strikes: int  # 1: a host; 2: a link
    sentence: str
    begin: Callable[[Nemesis, Fault], None]
    end: Callable[[Nemesis, Fault], None] | None
    one_way: bool = False  # a link is struck in the direction given, and both directions are worth striking


def _both_ways(action: Callable[[Nemesis, str, str], None]) -> Callable[[Nemesis, Fault], None]:
    def strike(nemesis: Nemesis, fault: Fault) -> None:
        source, destination = fault.at
        action(nemesis, source, destination)
        action(nemesis, destination, source)

    return strike


SLOW_EXTRA_S = 0.3

_KINDS = (
    FaultKind(
        "crash",
        1,
        "{0} crashes and is back after {for_s} s",
        lambda n, f: n.crash(f.at[0], silently=False),
        lambda n, f: n.restart(f.at[0]),
    ),
    FaultKind(
        "vanish",
        1,
        "{0} vanishes without a word and is back after {for_s} s",
        lambda n, f: n.crash(f.at[0], silently=True),
        lambda n, f: n.restart(f.at[0]),
    ),
    FaultKind("freeze", 1, "{0} freezes for {for_s} s", lambda n, f: n.freeze(f.at[0]), lambda n, f: n.thaw(f.at[0])),
    FaultKind(
        "partition",
        2,
        "{0} and {1} cannot reach each other for {for_s} s",
        _both_ways(lambda n, a, b: n.block(a, b)),
        _both_ways(lambda n, a, b: n.unblock(a, b)),
    ),
    FaultKind(
        "hold",
        2,
        "what {0} sends to {1} is held for {for_s} s",
        lambda n, f: n.block(*f.at),
        lambda n, f: n.unblock(*f.at),
        one_way=True,
    ),
    FaultKind("reset", 2, "the connections of {0} to {1} are reset", lambda n, f: n.reset(*f.at), None),
    FaultKind(
        "silence",
        2,
        "the connections of {0} to {1} go silent for {for_s} s",
        lambda n, f: n.silence(*f.at),
        lambda n, f: n.unsilence(*f.at),
    ),
    FaultKind(
        "refuse",
        2,
        "{1} refuses connections of {0} for {for_s} s",
        lambda n, f: n.refuse(*f.at),
        lambda n, f: n.admit(*f.at),
    ),
    FaultKind(
        "slow",
        2,
        "what {0} sends to {1} takes 0.3 s longer, for {for_s} s",
        lambda n, f: n.slow(f.at[0], f.at[1], SLOW_EXTRA_S),
        lambda n, f: n.slow(f.at[0], f.at[1], -SLOW_EXTRA_S),
        one_way=True,
    ),
)

FAULT_KINDS = {kind.name: kind for kind in _KINDS}


def check_fault(fault: Fault) -> Fault:
    """Return the fault if its kind exists and strikes as many places; raises InputError otherwise."""
    kind = FAULT_KINDS.get(fault.kind)
    if kind is None:
        raise InputError(f"no fault kind={fault.kind!r}. Known kinds: {', '.join(FAULT_KINDS)}.")
    if len(fault.at) != kind.strikes:
        raise InputError(f"fault kind={fault.kind!r} strikes {kind.strikes} place(s), not at={list(fault.at)!r}.")
    return fault
