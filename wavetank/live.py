"""`wavetank replay --target`: a saved failure on real services, n times, and the verdict."""

from pathlib import Path

import click
import trio

from simulator.live.anchors import anchors_of
from simulator.live.run import LiveResult, run_live
from simulator.live.target import Target, inexpressible, load_target
from simulator.plan import Plan
from simulator.property import Outcome, Verdict
from simulator.system import System
from simulator.trace import Trace
from wavetank.ungrouped import ungrouped

__all__ = ["replay_live"]


def replay_live(system: System, saved: Trace, target_file: Path, runs: int) -> int:
    """Replay a trace on a target and print the verdict. Returns the exit code."""
    target = load_target(target_file)
    for host in {destination: None for _, destination in system.topology().edges}:  # who is reached by somebody
        target.address(host)  # which raises for an unknown one, before anything is touched
    problems = inexpressible(saved.plan, target)
    if problems:
        click.echo(f"not expressible on {target_file}: {'; '.join(problems)}")
        return 2
    planted = f" with {', '.join(target.defects)}" if target.defects else ""
    click.echo(f"target {target_file}{planted}")
    _warn_of_defects(saved, target)
    _warn_of_weather(saved.plan)
    verdicts = []
    for number in range(1, runs + 1):
        result = _run_once(system, saved, target)
        verdict = result.verdicts[saved.broken.property]
        verdicts.append(verdict)
        click.echo(
            f"run {number} of {runs}: {_word(verdict)}  ({'; '.join([f'{result.simulated_s:.1f} s', *result.strayed])})"
        )
    return _conclude(saved, verdicts)


def _warn_of_defects(saved: Trace, target: Target) -> None:
    """Say that a platform without the trace's defects is another one: "not reproduced" would read as "mended"."""
    absent = [each for each in saved.defects if each not in target.defects]
    if absent:
        options = " ".join(f"--defect {each}" for each in saved.defects)
        click.echo(
            f"the trace was saved with {', '.join(absent)}, which this target does not have: "
            f"not to reproduce it says nothing (wavetank staging up {options})"
        )
    added = [each for each in target.defects if each not in saved.defects]
    if added:
        click.echo(f"the target has {', '.join(added)}, without which the trace was saved: it may fail by that")


def _warn_of_weather(plan: Plan) -> None:
    stormy = [str(number) for number, step in enumerate(plan.steps, 1) if step.weather or step.deviations]
    if stormy:
        click.echo(f"the weather of step {', '.join(stormy)} (order of tasks, jitter) is not repeated live")


def _run_once(system: System, saved: Trace, target: Target) -> LiveResult:
    anchors = anchors_of(saved.plan, saved.events)
    with ungrouped():
        return trio.run(run_live, system, saved.plan, anchors, target, system.all_properties())


def _word(verdict: Verdict) -> str:
    if verdict.violation is not None:
        return f"violated: {verdict.violation.evidence}"
    return "holds" if verdict.outcome is Outcome.HOLDS else f"unknown: {verdict.missing}"


def _conclude(saved: Trace, verdicts: list[Verdict]) -> int:
    """Print the verdict over all runs. A run of which nobody knows is not one in which the property holds."""
    same = sum(each.violation is not None and each.violation.site == saved.broken.site for each in verdicts)
    other = sum(each.violation is not None and each.violation.site != saved.broken.site for each in verdicts)
    unknown = sum(each.outcome is Outcome.UNKNOWN for each in verdicts)
    aside = f"; violated elsewhere in {other}" if other else ""
    aside += f"; unknown in {unknown}" if unknown else ""
    if same:
        click.echo(f"reproduced {same} of {len(verdicts)}: {saved.broken.property} ({saved.broken.site}){aside}")
        return 1
    if unknown and not other:
        click.echo(f"could not judge: {saved.broken.property} was unknown in {unknown} of {len(verdicts)} runs")
        return 2
    click.echo(f"not reproduced, 0 of {len(verdicts)}{aside}")
    return 1 if other else 0
