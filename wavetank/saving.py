"""Saving: a failure kept as a trace, and confirmed by a fresh process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from simulator.divergence import DIFFERENT
from simulator.errors import DivergenceError, EnvironmentFailedError
from simulator.failure import Failure
from simulator.plan import Plan
from simulator.reducer import Reduction
from simulator.run import Result
from simulator.story import tell
from simulator.system import System
from simulator.trace import Broken, Trace, event_record, save_trace

__all__ = ["Saved", "broken_lines", "save", "save_unshrunk", "trace_of", "unshrunk_lines"]

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


def save_unshrunk(name: str, seed: int, system: System, plan: Plan, result: Result) -> Saved:
    """Save a plan, as it is, as a trace of the first promise that it breaks, if it breaks any."""
    if not result.violated:
        return Saved()
    (broken,) = system.chosen_properties(result.violated[:1])
    violation = result.verdicts[broken.name].violation
    assert violation is not None
    failure = Failure(broken, violation, plan, "", Reduction(plan, 0, 0.0, complete=False), result)
    return save(trace_of(name, seed, system, failure))


def broken_lines(result: Result) -> Iterator[str]:
    """Yield each promise that was broken, with the evidence."""
    for name, verdict in result.verdicts.items():
        if verdict.violation is not None:
            yield f"VIOLATED  {name}: {verdict.violation.evidence}"


def unshrunk_lines(result: Result, saved: Saved) -> Iterator[str]:
    """Yield under which name that was saved and what can be done with it, or why it was not."""
    if saved.why_not:
        yield f"NOT saved: {saved.why_not}"
    elif saved.name:
        yield f"{result.violated[0]} is saved as {saved.name}, hash {result.history.hash}"
        yield f"  again:    wavetank replay {saved.name}"
        yield f"  smaller:  wavetank shrink {saved.name}"
        yield f"  why:      wavetank explain {saved.name}"


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
