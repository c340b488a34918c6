"""Stages of a pipeline, as a file describes them: which keys each has, and which commands they come to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from simulator.chaos.experiment import KINDS, parse_recovery_time
from simulator.errors import InputError
from simulator.load.profile import Load, profile_named
from simulator.load.quantity import parse_quantity, seconds_of
from simulator.yaml_file import parse_yaml

__all__ = ["STAGES", "Chaos", "EndToEnd", "Integration", "Performance", "Stage", "Unit", "read_pipeline"]

Kinds = Annotated[tuple[Literal["network", "service", "state"], ...], msgspec.Meta(min_length=1)]
Users = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Retries = Annotated[int, msgspec.Meta(ge=0, le=10)]
STANDARD = "standard"
"""What a load profile may be called that is the usual one: steady."""


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every stage may say: how often it is tried again when it fails."""

    retries: Retries = 0

    @property
    def is_staged(self) -> bool:
        """Whether it runs on a staging that is made for it."""
        return False


class Stageable(Stage, frozen=True, kw_only=True):
    """A stage that can run on real services, too: the others search in simulation."""

    environment: Literal["simulation", "staging"] = "simulation"

    @property
    def is_staged(self) -> bool:
        """Whether it runs on a staging that is made for it."""
        return self.environment == "staging"


class Unit(Stage, frozen=True, kw_only=True):
    """Promises of each component in calm runs. `coverage` is of what matters (`wavetank coverage --critical-only`)."""

    parallel: bool = False
    fail_fast: bool = False
    coverage: str | None = None


class Integration(Stage, frozen=True, kw_only=True):
    """Promises of each component in runs with faults: at these services, or else at its own hosts."""

    services: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ()
    parallel: bool = False
    fail_fast: bool = False


class EndToEnd(Stageable, frozen=True, kw_only=True):
    """Users who walk journeys: `synthetic` ones, as many as usual, or so many."""

    users: Literal["synthetic"] | Users = "synthetic"
    duration: str | float = "1m"


class Performance(Stageable, frozen=True, kw_only=True):
    """A load, held to objectives: as many users, and as long, as its profile says, or as is said here."""

    load_profile: str = STANDARD
    duration: str | float | None = None
    users: Users | None = None
    success_rate: str | None = None

    @property
    def profile(self) -> str:
        """The profile as `wavetank load` knows it."""
        return "steady" if self.load_profile == STANDARD else self.load_profile

    def load(self) -> Load:
        """Return what it comes to. Raises InputError for a profile that is not there."""
        load = profile_named(self.profile)
        return msgspec.structs.replace(load, users=self.users or load.users, duration=self.duration or load.duration)


class Chaos(Stageable, frozen=True, kw_only=True):
    """Experiments of these kinds, again and again until the time is over, but each of them once in any case."""

    experiments: Kinds = KINDS  # type: ignore[assignment]
    duration: str | float | None = None
    recovery_time: str | None = None


STAGES: Mapping[str, type[Stage]] = {
    "unit": Unit,
    "integration": Integration,
    "e2e": EndToEnd,
    "performance": Performance,
    "chaos": Chaos,
}


def read_pipeline(path: Path) -> dict[str, Stage]:
    """Return the stages that a YAML file describes, in order. Raises InputError that names what it cannot honour."""
    try:
        content: Any = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the pipeline cannot be read: {error}. wavetank pipeline --help shows one.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not YAML: {' '.join(str(error).split())}. wavetank pipeline --help shows one."
        ) from error
    listed = content.get("stages") if isinstance(content, Mapping) else None
    if not isinstance(listed, list) or not listed or set(content) != {"stages"}:
        raise InputError(f"{path} is no pipeline: it has a list under `stages`, and nothing else.")
    stages: dict[str, Stage] = {}
    for each in listed:
        if not isinstance(each, Mapping) or len(each) != 1:
            raise InputError(f"{path}: a stage is one name with its keys, not {each!r}.")
        ((name, keys),) = each.items()
        if name not in STAGES or name in stages:
            raise InputError(f"{path}: {name!r} is no stage, or there twice. Known: {', '.join(STAGES)}.")
        try:
            stages[name] = msgspec.convert({} if keys is None else keys, STAGES[name])
        except msgspec.ValidationError as error:
            raise InputError(f"{path}: the stage {name} cannot be honoured: {error}.") from error
        _check(f"{path}: {name}", stages[name])
    return stages


def _check(where: str, stage: Stage) -> None:
    """Raise InputError for values of which nothing could be made."""
    try:
        match stage:
            case Unit(coverage=str() as coverage):
                percent_of(coverage)
            case EndToEnd(duration=duration):
                seconds_of(duration)
            case Performance():
                stage.load().check("the load")
                if stage.success_rate is not None:
                    percent_of(stage.success_rate)
            case Chaos():
                if stage.recovery_time is not None:
                    parse_recovery_time(stage.recovery_time)
                if stage.duration is not None:
                    seconds_of(stage.duration)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def percent_of(text: str) -> float:
    """Return a percentage, 0 to 100. Raises InputError."""
    quantity = parse_quantity(text)
    if quantity.dimension != "%" or not 0 <= quantity.amount <= 1:
        raise InputError(f"{text!r} is no percentage. Write 90%.")
    return 100 * quantity.amount
