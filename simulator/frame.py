"""The frame of a run: what is drawn once, before its first step (swarm testing, Groce et al., ISSTA 2012)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import msgspec
from hypothesis import strategies as st

from simulator.fault import Fault, FaultKind, kind_of
from simulator.plan import Plan, Setting
from simulator.system import System
from simulator.user import USER, user_host

__all__ = ["FAULTS", "SELDOM", "Frame", "Possible", "frames"]

FAULTS_PER_RUN_MAX = 5
TERMINATIONS = 4
USUAL, SELDOM, OFTEN, OFF = 2, 1, 4, 0
WEIGHTS = (USUAL, SELDOM, OFTEN)
FAULTS = "a fault"  # no operation's name: that is an identifier
FAR_HOSTS = (0, 0, 0, 0, 1, 2)
"""In most runs all are equally near: far away much takes too long for anything to be promised about it."""
SEED_MAX = 2**16 - 1


Possible: TypeAlias = tuple[FaultKind, tuple[str, ...]]
"""A kind of fault, and where it can strike."""


@attrs.frozen
class Frame:
    """How a run begins, which faults exist in it, and how often each operation and a fault is wanted: 0 is off."""

    prefix: Plan
    faults: tuple[Possible, ...]
    weights: Mapping[str, int]

    def __str__(self) -> str:
        parts = [str(self.prefix.setting)]
        if self.prefix.steps:
            parts.append(f"goes on from {len(self.prefix.steps)} given steps")
        faults = (f"{kind.name} {'->'.join(at)}" for kind, at in self.faults)
        parts.append(f"faults: {', '.join(faults) or 'none'}")
        for word, weight in (("often", OFTEN), ("seldom", SELDOM), ("off", OFF)):
            names = [name for name, its in self.weights.items() if its == weight and (name != FAULTS or self.faults)]
            if names:
                parts.append(f"{word}: {', '.join(names)}")
        return "; ".join(parts)


def frames(system: System, prefixes: Sequence[Plan | None]) -> st.SearchStrategy[Frame]:
    """Draw frames. Each begins with one of `prefixes`: in its setting, with its steps; None draws a setting."""
    return _frames(system, _Possibilities(system), prefixes)


class _Possibilities:
    """What can happen to a system of each size: looked for once."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._of: dict[bytes, tuple[list[list[Possible]], list[str]]] = {}

    def of(self, replicas: Mapping[str, int]) -> tuple[list[list[Possible]], list[str]]:
        """Return what can strike each place, and the names of the hosts."""
        key = msgspec.json.encode(replicas)
        if key not in self._of:
            system = self._system.with_replicas(replicas)
            self._of[key] = _possible_at_places(system), [host.name for host in system.for_run().hosts()]
        return self._of[key]


@st.composite
def _frames(draw: st.DrawFn, system: System, possibilities: _Possibilities, prefixes: Sequence[Plan | None]) -> Frame:
    # Of one there is nothing to draw; Hypothesis would all the same, and every seed would mean other runs.
    prefix = draw(st.sampled_from(prefixes)) if len(prefixes) > 1 else prefixes[0]
    setting = draw(_settings(system, possibilities)) if prefix is None else prefix.setting
    possible, hosts = possibilities.of(setting.replicas)
    # Few faults that strike the same places again and again reach deeper states than many that strike once. First is
    # drawn what suffers, then whether it is struck itself or a link to it, then the place, then the kind: a service
    # with many troubles or many clients would else keep the faults from all others.
    count = draw(st.integers(0, FAULTS_PER_RUN_MAX)) if possible else 0
    suffering = _by_sufferer([named for place in possible for named in _with_users(place, _users(setting))])
    drawn = st.sampled_from(suffering).flatmap(st.sampled_from).flatmap(st.sampled_from).flatmap(st.sampled_from)
    faults = dict.fromkeys(draw(drawn) for _ in range(count))
    # What needs two operations is hardly met where each is off in one of four runs: so nothing is, in half of them.
    possible_weights = draw(st.sampled_from((WEIGHTS, (*WEIGHTS, OFF))))
    weights = {
        name: draw(st.sampled_from(possible_weights)) for name, each in system.operations().items() if each.weight
    }
    weights[FAULTS] = draw(st.sampled_from(WEIGHTS))  # they are off where there are none
    # Mostly everything is healed at once; never are several hosts left broken, as little can be done without them; and
    # a system of one host cannot do without it.
    struck = [host for host in hosts if len(hosts) > 1 and any(at[-1] == host for _kind, at in faults)]
    if prefix is None and struck:
        left_broken = draw(st.sampled_from([(), ()] * len(struck) + [(host,) for host in struck]))
        setting = msgspec.structs.replace(setting, left_broken=left_broken)
    return Frame(prefix or Plan(setting, ()), tuple(faults), weights)


@st.composite
def _settings(draw: st.DrawFn, system: System, possibilities: _Possibilities) -> Setting:
    # The usual size is drawn in half of the runs and more.
    replicas = {kind: draw(st.sampled_from((counts[0], *counts))) for kind, counts in system.replicas.items()}
    setting = Setting(
        users=draw(st.integers(*system.users)),
        latency_s=draw(st.sampled_from(system.latencies_s)),
        seed=draw(st.integers(0, SEED_MAX)),
        replicas={kind: count for kind, count in replicas.items() if count != system.replicas[kind][0]},
    )
    _possible, hosts = possibilities.of(setting.replicas)
    places = [*hosts, *_users(setting)]
    far = [draw(st.sampled_from(places)) for _ in range(draw(st.sampled_from(FAR_HOSTS)))]
    latencies = {name: draw(st.sampled_from(system.latencies_s)) for name in dict.fromkeys(far)}
    return msgspec.structs.replace(
        setting, latencies={name: each for name, each in latencies.items() if each > setting.latency_s}
    )


def _users(setting: Setting) -> list[str]:
    return [user_host(number) for number in range(setting.users)]


def _possible_at_places(system: System) -> list[list[Possible]]:
    """Return what can strike each place of a system, hosts first: both directions of a link are one place."""
    troubles = system.declared_troubles()
    places: dict[tuple[str, ...], list[Possible]] = {}
    for name, strikes in system.possible_faults().items():
        for at in strikes:
            kind = kind_of(Fault(name, at), troubles)
            # What every deployment does is drawn as often as several kinds of accident.
            places.setdefault(at, []).extend([(kind, at)] * (TERMINATIONS if name == "terminate" else 1))
            if kind.one_way:
                places[at].append((kind, at[::-1]))
    return list(places.values())


def _by_sufferer(places: list[list[Possible]]) -> list[list[list[list[Possible]]]]:
    """Return, per host that can suffer, the places at itself and those at the links to it, as far as there are any."""
    near: dict[str, tuple[list[list[Possible]], list[list[Possible]]]] = {}
    for place in places:
        at = place[0][1]
        near.setdefault(at[-1], ([], []))[len(at) - 1].append(place)
    return [[kind for kind in both if kind] for both in near.values()]


def _with_users(place: list[Possible], users: list[str]) -> Iterator[list[Possible]]:
    """Replace the link of all users by one for each."""
    if USER not in place[0][1]:
        yield place
        return
    for user in users:
        yield [(kind, tuple(user if end == USER else end for end in at)) for kind, at in place]
