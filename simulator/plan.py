"""Plans: what is done to a system, as data that can be stored, replayed and made smaller."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec

from simulator.deviation import Deviation
from simulator.errors import InputError
from simulator.fault import Fault, Seconds
from simulator.history import Value

__all__ = ["Action", "Do", "Plan", "Setting", "Step", "Strike", "Wait", "as_kept"]


class Do(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="do"):
    """A user invokes an operation. Users are numbered from 0 in a plan and named in a run."""

    operation: str
    user: int
    arguments: dict[str, Value] = {}


def as_kept(arguments: Mapping[str, object]) -> dict[str, Value]:
    """Return drawn arguments as a trace gives them back, a tuple as a list: what is searched with is what is replayed.

    Raises InputError for what JSON cannot hold.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(arguments), type=dict[str, Any])
    except (TypeError, ValueError) as error:
        raise InputError(f"arguments of an operation are not such as JSON can hold: {error}.") from error


class Strike(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="strike"):
    """A fault begins."""

    fault: Fault


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="wait"):
    """Nothing is done: time passes."""


Action: TypeAlias = Do | Strike | Wait


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action, then `after_s` simulated seconds, all in one weather (0 is calm, with a few deviations or none)."""

    action: Action
    after_s: Seconds = 0.0
    weather: int = 0
    deviations: tuple[Deviation, ...] = ()


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is drawn once per run: the number of users, the nominal one-way latency, the seed of all randomness.

    `left_broken` names hosts. What strikes them, or a link of theirs, when the steps are done stays at first: all other
    hosts, the core, must finish without them what does not need them. Empty: everything is healed at once.

    `latencies` are those of all links from and to hosts that are farther away, in seconds. `replicas` is how many hosts
    there are of a kind that the system declares, where it is not the usual number.
    """

    users: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1
    latency_s: Seconds = 0.001
    seed: int = 0
    left_broken: tuple[str, ...] = ()
    latencies: dict[str, Seconds] = {}
    replicas: dict[str, int] = {}

    def latency_between_s(self, one: str, other: str) -> float:
        """Return the nominal one-way latency of the links between two hosts: what the farther one has."""
        return max(self.latency_s, self.latencies.get(one, 0.0), self.latencies.get(other, 0.0))

    @property
    def longest_latency_s(self) -> float:
        """The nominal latency of the slowest link."""
        return max([self.latency_s, *self.latencies.values()])

    def __str__(self) -> str:
        parts = [f"{self.users} user{'' if self.users == 1 else 's'}", f"latency {self.latency_s * 1000:g} ms"]
        parts += [f"{seconds * 1000:g} ms from and to {host}" for host, seconds in self.latencies.items()]
        parts += [f"{kind}: {count}" for kind, count in self.replicas.items()]
        if self.left_broken:
            parts.append(f"{' and '.join(self.left_broken)} left broken")
        if self.seed:
            parts.append(f"random numbers of seed {self.seed}")
        return ", ".join(parts)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A setting and the steps taken in it."""

    setting: Setting
    steps: tuple[Step, ...]
