"""Load profiles: how many users come, how fast, what each does how often, and for how long."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from simulator.errors import InputError, known_names
from simulator.history import Value
from simulator.load.objective import Objective, parse_objective
from simulator.load.quantity import seconds_of
from simulator.services.capacity import ServiceModel
from simulator.toml_file import read_toml

__all__ = ["PROFILES", "Load", "Mixed", "profile_named"]

USERS_MAX = 10_000
OPERATIONS_MAX = 1_000_000
ARRIVE_WITHIN_S = 60.0


class Mixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation of what users do, how often among the others, and with which arguments.

    `{number}` in a text is replaced by how many things the user has done before: else a cache would know it all.
    """

    operation: str
    weight: float = 1.0
    arguments: dict[str, Value] = {}


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An open model: users arrive, and each does something so often, whether what they did before is done or not.

    `per_minute` is of each user; the times between are exponential. All have arrived within `arrive_within`, or else
    within a tenth of the time, and a minute at most. An empty `mix` is the system's own. `services` says how fast
    simulated services are, by host: queues form where more is asked of one than it can do.
    """

    users: int
    per_minute: float
    duration: str | float
    arrive_within: str | float | None = None
    mix: tuple[Mixed, ...] = ()
    objectives: dict[str, str] = {}
    services: dict[str, ServiceModel] = {}
    summary: str = ""

    @property
    def duration_s(self) -> float:
        """How long users do something, in seconds."""
        return seconds_of(self.duration)

    @property
    def arrive_within_s(self) -> float:
        """In how many seconds all users have arrived."""
        if self.arrive_within is None:
            return min(ARRIVE_WITHIN_S, self.duration_s / 10)
        return min(seconds_of(self.arrive_within), self.duration_s)

    def parsed(self, by_default: Mapping[str, str]) -> tuple[Objective, ...]:
        """Return the objectives, or those for whoever states none. Raises InputError."""
        return tuple(parse_objective(measure, text) for measure, text in (self.objectives or by_default).items())

    def check(self, where: str) -> None:
        """Raise InputError for numbers of which no load could be made."""
        if not 0 < self.users <= USERS_MAX:
            raise InputError(f"{where}: users={self.users} is not between 1 and {USERS_MAX}.")
        if not 0 < self.per_minute <= 60_000:
            raise InputError(f"{where}: per_minute={self.per_minute:g} is not between 0 and 60000.")
        operations = self.users * self.per_minute * self.duration_s / 60
        if operations > OPERATIONS_MAX:
            raise InputError(
                f"{where}: that is {operations:,.0f} operations, and {OPERATIONS_MAX:,} are the most. Take less of it."
            )
        for each in self.mix:
            if not 0 <= each.weight < float("inf"):
                raise InputError(
                    f"{where}: weight={each.weight:g} of {each.operation!r} is no weight. Write 0 or more."
                )
        if self.mix and not any(each.weight for each in self.mix):
            raise InputError(f"{where}: nothing in mix has a weight above 0, so users would do nothing.")
        for host, model in self.services.items():
            model.check(f"{where}: services.{host}")
        _ = self.arrive_within_s, self.parsed({})

    def __str__(self) -> str:
        rate = f"{self.per_minute:g} a minute each"
        return f"{self.users} users within {self.arrive_within_s:g} s, {rate}, for {self.duration_s:g} s"


PROFILES: Mapping[str, Load] = {
    "steady": Load(users=50, per_minute=1, duration="10m", summary="50 users, one message a minute each"),
    "peak": Load(users=200, per_minute=5, duration="10m", summary="200 users, five a minute each"),
    "burst": Load(
        users=500, per_minute=1, duration="2m", arrive_within="10s", summary="500 users connect within ten seconds"
    ),
    "sustained": Load(users=100, per_minute=1, duration="1h", summary="100 users for an hour"),
}


def profile_named(name: str) -> Load:
    """Return the profile of this name, or the one in the TOML file of this name. Raises InputError for neither."""
    path = Path(name)
    if name in PROFILES:
        return PROFILES[name]
    if path.suffix != ".toml":
        raise InputError(
            f"no load profile named {name!r}, and no file of one (.toml). {known_names(PROFILES, meant=name)}"
        )
    return _read(path)


def _read(path: Path) -> Load:
    load = read_toml(path, Load, "load profile", "wavetank load")
    load.check(str(path))
    return load
