"""Driving a system by a plan that takes its time: in simulation, or on a target by the clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import click

from simulator.errors import InputError
from simulator.live.expressible import inexpressible
from simulator.live.target import Target, load_target
from simulator.live.validation import adapted_to
from simulator.load.live import run_load_live
from simulator.load.measured import LoadResult
from simulator.load.simulated import EndsBefore, never, simulate_load
from simulator.plan import Plan
from simulator.system import System
from wavetank.live import target_system
from wavetank.progress import Line
from wavetank.provenance import scaled_lines
from wavetank.saving import Saved, save_unshrunk
from wavetank.ungrouped import ungrouped

__all__ = ["Driven", "driven", "target_option"]

F = TypeVar("F", bound=Callable[..., Any])
STEPS_KEPT_MAX = 2_000


def target_option(function: F) -> F:
    """Add `--target FILE` and `--yes-really`."""
    really = "The target is meant, although it is not this machine."
    function = click.option("--yes-really", is_flag=True, help=really)(function)
    return click.option(
        "--target", "target_file", type=click.Path(path_type=Path), help="Real services, as this file describes them."
    )(function)


@attrs.frozen
class Driven:
    """What is driven: a system by its name, in simulation, or as it is on a target."""

    name: str
    system: System
    target: Target | None = None
    target_file: Path | None = None

    @classmethod
    def of(cls, name: str, system: System, target_file: Path | None, *, confirmed: bool) -> Self:
        """Return what is to be driven. Raises InputError for a system or a target that makes no sense, or for one that
        must not be touched."""
        system.check_declared()
        if target_file is None:
            return cls(name, system)
        if system.planted:
            raise InputError(
                "--defect plants bugs in simulation. For a target with them: wavetank staging up --defect ..."
            )
        target = load_target(target_file)
        live = adapted_to(target, target_system(system, target, confirmed=confirmed))
        return cls(name, live, target, target_file)

    @property
    def is_live(self) -> bool:
        """Whether it is real."""
        return self.target is not None

    @property
    def latency_s(self) -> float:
        """The nominal latency of its links: real ones have their own."""
        return 0.0 if self.is_live else self.system.latencies_s[0]

    def headed(self, seed: int) -> str:
        """Say what it is, over a report."""
        planted = f"  defects {', '.join(sorted(self.system.planted))}" if self.system.planted else ""
        target = f"\ntarget  {self.target_file}" if self.is_live else ""
        return "\n".join([f"system  {self.name}{planted}{target}", f"seed    {seed}", *scaled_lines()])

    def told(self) -> dict[str, object]:
        """Return it for machines: defects are those of the simulation, or those that a staging was started with."""
        return {
            "system": self.name,
            "defects": sorted(self.system.planted.union(self.target.defects if self.target is not None else ())),
            "target": str(self.target_file) if self.target is not None else None,
            "target_sha256": self.target.sha256 if self.target is not None else None,
        }

    def why_not(self, plan: Plan) -> str:
        """Return why a plan cannot, or must not, be done to it; nothing if it can."""
        if self.target is None:
            return ""
        return "; ".join(inexpressible(plan, self.target, 1.0, self.system.unexpressed))

    def save(self, loaded: LoadResult, seed: int) -> Saved:
        """Save what was done as a trace of the first promise that it broke, if it broke any in simulation."""
        steps = len(loaded.plan.steps)
        if self.is_live or not loaded.result.violated:
            return Saved()
        if steps > STEPS_KEPT_MAX:
            return Saved(
                why_not=f"{steps:,} steps are too long a story ({STEPS_KEPT_MAX:,} are kept). Repeat less of it."
            )
        return save_unshrunk(self.name, seed, self.system, loaded.plan, loaded.result)


class Progress(Line):
    """How far it is."""

    def __init__(self, what: str, lasts_s: float) -> None:
        super().__init__()
        self._what = f"{what}: " if what else ""
        self._lasts_s = lasts_s

    def stepped(self, steps: int, at_s: float) -> None:
        """Note one more step, in seconds since it began."""
        self.show(f"{self._what}{at_s:,.0f} of {self._lasts_s:,.0f} s, {steps:,} steps")


def driven(
    driving: Driven,
    plan: Plan,
    duration_s: float,
    what: str = "",
    ends_before: EndsBefore = never,
    *,
    is_heavy: bool = False,
    workers: int = 1,
) -> LoadResult:
    """Drive it, with progress on the terminal, a real one by so many processes.

    Raises InputError for a plan that cannot be done to it.
    """
    why_not = driving.why_not(plan)
    if why_not:
        raise InputError(f"this cannot be done to {driving.target_file}: {why_not}.")
    promises = driving.system.all_properties()
    with Progress(what, duration_s) as progress:
        if driving.target is None:
            return simulate_load(driving.system, plan, duration_s, promises, progress.stepped, ends_before)
        with ungrouped():
            return run_load_live(
                driving.system,
                plan,
                duration_s,
                driving.target,
                promises,
                progress.stepped,
                ends_before,
                is_heavy=is_heavy,
                workers=workers,
            )
