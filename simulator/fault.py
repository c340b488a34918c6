"""Faults: injected disturbances as data, and what each does to a world or a deployment.

Kinds that fit any system are in one table; the troubles that a system's own services can get into are declared by it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Protocol, TypeAlias

import attrs
import msgspec

from simulator.errors import InputError

__all__ = ["FAULT_KINDS", "Fault", "FaultKind", "Nemesis", "Seconds", "Trouble", "kind_of", "trouble_kind"]


Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
"""A time of a plan. The longest is eleven days: what is longer was not meant."""


class Nemesis(Protocol):
    """What can be done to a system: by a world to simulated hosts, by a live target to real ones.

    Every `begin` has its `end`; calls nest, so that overlapping faults do not undo each other.
    """

    def crash(self, host: str, *, silently: bool) -> None: ...  # noqa: D102
    def restart(self, host: str) -> None: ...  # noqa: D102
    def terminate(self, host: str) -> None: ...  # noqa: D102
    def relaunch(self, host: str) -> None: ...  # noqa: D102
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
    def begin_trouble(self, host: str, name: str) -> None: ...  # noqa: D102
    def end_trouble(self, host: str, name: str) -> None: ...  # noqa: D102


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disturbance: its kind, the host or the (source, destination) it strikes, and for how long."""

    kind: str
    at: tuple[str, ...]
    for_s: Seconds = 0.0

    def __str__(self) -> str:
        kind = FAULT_KINDS.get(self.kind)
        # A trouble's own words are known to its system only: `System.sentence` has them.
        return kind.worded(self) if kind is not None else f"{self.kind} at {', '.join(self.at)} for {self.for_s:g} s"

    def named(self) -> str:
        """Return what it is and where, without how long."""
        return f"the fault {self.kind!r} at {' and '.join(self.at)}"


@attrs.frozen
class Trouble:
    """What a simulated service can be made to do, as its host declares it: a fault kind of that host alone.

    `begin` and `end` are called on the run's own service object, also while its host is down: with overlapping ones
    of the same name, `begin` by the first and `end` by the last. Without an `end` it is over at once. `sentence`
    words it in a report: {0} is the host, {for_s} how long it lasts.
    """

    name: str
    begin: Callable[[], None]
    end: Callable[[], None] | None
    sentence: str = ""


@attrs.frozen
class FaultKind:
    """A kind of fault: what begins it, what ends it (None: it is over at once), and how a report words it."""

    name: str
    strikes: int  # 1: a host; 2: a link
    sentence: str
    begin: Callable[[Nemesis, Fault], None]
    end: Callable[[Nemesis, Fault], None] | None
    one_way: bool = False  # a link is struck in the direction given, and both directions are worth striking

    def worded(self, fault: Fault) -> str:
        """Return the sentence of a fault of this kind."""
        return self.sentence.format(*fault.at, for_s=f"{fault.for_s:g}")


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
    FaultKind(
        "terminate",
        1,
        "{0} is told to end, and is back after {for_s} s",
        lambda n, f: n.terminate(f.at[0]),
        lambda n, f: n.relaunch(f.at[0]),
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


def trouble_kind(trouble: Trouble) -> FaultKind:
    """Return a trouble as a kind of fault."""
    name, lasts = trouble.name, trouble.end is not None
    return FaultKind(
        name,
        1,
        trouble.sentence or f"{{0}} is {name}" + (" for {for_s} s" if lasts else ""),
        lambda n, f: n.begin_trouble(f.at[0], name),
        (lambda n, f: n.end_trouble(f.at[0], name)) if lasts else None,
    )


def kind_of(fault: Fault, troubles: Mapping[str, Iterable[Trouble]]) -> FaultKind:
    """Return the kind of a fault: one of the table, or a trouble that its host declares (`troubles` is by host).

    Raises InputError for one that does not exist there, or that does not strike as many places.
    """
    kind = FAULT_KINDS.get(fault.kind)
    if kind is None:
        there = troubles.get(fault.at[0], ()) if fault.at else ()
        kind = next((trouble_kind(each) for each in there if each.name == fault.kind), None)
    if kind is None:
        known = [
            *FAULT_KINDS,
            *(f"{each.name} (of {host})" for host, declared in troubles.items() for each in declared),
        ]
        raise InputError(f"no fault kind={fault.kind!r} for at={list(fault.at)!r}. Known kinds: {', '.join(known)}.")
    if len(fault.at) != kind.strikes:
        raise InputError(f"fault kind={fault.kind!r} strikes {kind.strikes} place(s), not at={list(fault.at)!r}.")
    return kind
