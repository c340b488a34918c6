"""`wavetank replay --target`: a saved failure on real services, n times, and the verdict."""

from pathlib import Path

import click
import trio

from simulator.errors import EnvironmentFailedError
from simulator.live.run import anchors_of, run_live
from simulator.live.target import inexpressible, load_target
from simulator.property import Outcome, Verdict
from simulator.system import System
from simulator.trace import Trace

__all__ = ["replay_live"]


def replay_live(system: System, saved: Trace, target_file: Path, runs: int) -> int:
    """Replay a trace on a target and print the verdict. Returns the exit code."""
    target = load_target(target_file)
    problems = inexpressible(saved.plan, target)
    if problems:
        click.echo(f"not expressible on {target_file}: {'; '.join(problems)}")
        return 2
    planted = f" with {', '.join(target.defects)}" if target.defects else ""
    click.echo(f"target {target_file}{planted}")
    anchors = anchors_of(saved.plan, saved.events)
    verdicts = []
    for number in range(1, runs + 1):
        result = _run_once(lambda: run_live(system, saved.plan, anchors, target, system.all_properties()))
        verdict = result.verdicts[saved.broken.property]
        verdicts.append(verdict)
        click.echo(f"run {number} of {runs}: {_word(verdict)}  ({result.simulated_s:.1f} s)")
    return _conclude(saved, verdicts)


def _run_once(run):  # type: ignore[no-untyped-def]
    try:
        return trio.run(run)
    except BaseExceptionGroup as group:
        interrupts, rest = group.split(KeyboardInterrupt)
        if interrupts is not None:
            raise KeyboardInterrupt from group
        assert rest is not None
        raise EnvironmentFailedError(f"the replay could not run: {_first(rest)}") from group


def _first(group: BaseException) -> str:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return f"{type(group).__name__}: {group}"


def _word(verdict: Verdict) -> str:
    if verdict.violation is not None:
        return f"violated: {verdict.violation.evidence}"
    return "holds" if verdict.outcome is Outcome.HOLDS else f"unknown: {verdict.missing}"


def _conclude(saved: Trace, verdicts: list[Verdict]) -> int:
    same = sum(each.violation is not None and each.violation.site == saved.broken.site for each in verdicts)
    other = sum(each.violation is not None and each.violation.site != saved.broken.site for each in verdicts)
    unknown = sum(each.outcome is Outcome.UNKNOWN for each in verdicts)
    aside = f"; violated elsewhere in {other}" if other else ""
    aside += f"; unknown in {unknown}" if unknown else ""
    if same:
        click.echo(f"reproduced {same} of {len(verdicts)}: {saved.broken.property} ({saved.broken.site}){aside}")
        return 1
    if unknown == len(verdicts):
        click.echo(f"could not judge: {saved.broken.property} was unknown in all {unknown} runs")
        return 2
    click.echo(f"not reproduced, 0 of {len(verdicts)}{aside}")
    return 1 if other else 0
