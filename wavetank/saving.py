"""Saving: a failure kept as a trace, and confirmed by a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import click

from simulator.divergence import DIFFERENT
from simulator.errors import DivergenceError, EnvironmentFailedError
from simulator.failure import Failure
from simulator.story import tell
from simulator.system import System
from simulator.trace import Broken, Trace, event_record, save_trace

__all__ = ["Saved", "save", "trace_of"]

HASH_SEEDS = ("4711", "1", "2", "3", "4")
"""Of fresh processes: the first one's is enough to see a difference, the others say whether they are its cause."""

OF_STRINGS = (
    "Likely cause: the order of a set of strings, or hash(), since fresh processes differ with PYTHONHASHSEED. "
    "Sort, or use a dict, which keeps its order."
)
OF_THIS_PROCESS = (
    "Likely cause: what earlier runs had left behind in this process (a global, an attribute of a class, a cache), or "
    "what has changed outside since, for fresh processes agree with each other."
)


@attrs.frozen
class Saved:
    """Under which name a failure was saved, or why not and the command that leads to it; nothing if there was none."""

    name: str = ""
    why_not: str = ""
    again: str = ""


def trace_of(name: str, seed: int, system: System, failure: Failure) -> Trace:
    """Return what is kept of a failure of the system with this name, found by a campaign with this seed."""
    return Trace(
        system=name,
        defects=tuple(sorted(system.planted)),
        seed=seed,
        plan=failure.plan,
        broken=Broken(property=failure.broken.name, site=failure.violation.site, evidence=failure.violation.evidence),
        hash=failure.result.history.hash,
        simulated_s=failure.result.simulated_s,
        story=tell(system, failure.plan),
        events=tuple(event_record(event) for event in failure.result.history.events),
    )


def save(trace: Trace) -> Saved:
    """Save and confirm a trace."""
    try:
        path = save_trace(trace)
    except EnvironmentFailedError as error:
        return Saved(why_not=str(error))
    try:
        _confirm(path)
    except KeyboardInterrupt:  # it is saved, and what was found is still told
        click.echo("wavetank: interrupted before a fresh process could repeat the failure.", err=True)
    return Saved(path.parent.name)


def _confirm(path: Path) -> None:
    """Replay the saved trace in a fresh process with another string hash seed: the same hash, or it is no evidence."""
    fresh = _replayed_afresh(path, HASH_SEEDS[0])
    if fresh.returncode == 1:
        return
    told = fresh.stderr.strip() or fresh.stdout.strip()[-400:]
    message = (
        f"the failure was saved as {path}, but a fresh process does not repeat it exactly. "
        f"exit={fresh.returncode}. {told}"
    )
    if fresh.returncode == DivergenceError.exit_code and DIFFERENT not in told:  # the fresh process agrees with itself
        others = (_replayed_afresh(path, seed) for seed in HASH_SEEDS[1:])
        message += f"\n{OF_STRINGS if any(each.stderr != fresh.stderr for each in others) else OF_THIS_PROCESS}"
    raise DivergenceError(message)


def _replayed_afresh(path: Path, hash_seed: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "wavetank", "replay", str(path), "--exact"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is ours: in the other process it would look like a divergence
    )
