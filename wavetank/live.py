"""`wavetank replay --target`: a saved failure on real services, n times, and the verdict."""

import shutil
import textwrap
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from simulator.deviation import Delay
from simulator.fidelity import load_ledger
from simulator.history import Kind, Value
from simulator.live.anchors import Anchors, anchors_of, begins_step
from simulator.live.beside import beside, shown_after
from simulator.live.expressible import inexpressible
from simulator.live.run import LiveResult, run_live
from simulator.live.target import Target, load_target
from simulator.live.validation import adapted_to, check_target
from simulator.live.verdict import Finding, LiveVerdict, RunVerdict, judged
from simulator.plan import Plan, Wait
from simulator.redaction import redacted
from simulator.run import OBSERVER
from simulator.simulated_run import simulate
from simulator.system import System
from simulator.trace import Trace, event_record
from simulator.whole_file import write_whole
from wavetank.ungrouped import run_ungrouped

__all__ = ["EXIT_CODES", "replay_live", "result_beside"]

EXIT_CODES = {
    Finding.REPRODUCED: 1,
    Finding.ELSEWHERE: 1,
    Finding.UNKNOWN: 2,
    Finding.DIVERGED: 3,
    Finding.HELD: 0,
}
COLUMNS_MIN = 40


class Side(msgspec.Struct, frozen=True):
    """What simulation and reality showed at one step: rows of (simulation, reality)."""

    step: int
    rows: list[tuple[str, str]]


def replay_live(
    system: System,
    saved: Trace,
    target_file: Path,
    runs: int,
    *,
    result_file: Path | None = None,
    confirmed: bool = False,
    time_scale: float | None = None,
) -> int:
    """Replay a trace on a target, print the verdict, and write it as JSON. Returns the exit code."""
    system.check_plan(saved.plan)
    target = load_target(target_file)
    target = msgspec.structs.replace(target, time_scale=time_scale or target.scale_of(system.patience))
    live_system = adapted_to(target, target_system(system, target, confirmed=confirmed))
    problems = inexpressible(saved.plan, target, target.scale_of(system.patience), live_system.unexpressed)
    if problems:
        click.echo(f"not expressible on {target_file}: {'; '.join(problems)}")
        _write(result_file, {"verdict": "not expressible", "problems": problems, **_about(saved, target_file, target)})
        return 2
    planted = f" with {', '.join(target.defects)}" if target.defects else ""
    adapter = f" by {target.adapter}" if target.adapter else ""
    click.echo(f"target {target_file}{planted}{adapter}")
    if not target.adapter:
        _warn_of_defects(saved, target)
    _warn_of_weather(saved.plan)
    simulated = _reference(system, saved, target, live_system.untold)
    anchors = anchors_of(saved.plan, [each for each in simulated if each["name"] not in system.unawaited])
    verdicts: list[RunVerdict] = []
    shown: Side | None = None
    for number in range(1, runs + 1):
        result = _run_once(live_system, saved.plan, anchors, target)
        verdict = judged(saved.broken, result)
        verdicts.append(verdict)
        click.echo(f"run {number} of {runs}: {_worded(verdict)}")
        if shown is None or (verdict.finding, verdicts[0].finding) == (Finding.REPRODUCED, Finding.HELD):
            shown = _side(saved.plan, simulated, anchors, result, verdict)
    verdict_of_all = LiveVerdict(tuple(verdicts))
    _note_divergence(saved, verdict_of_all)
    if shown is not None:
        _print_side(shown)
    _conclude(saved, verdict_of_all)
    _write(result_file, {**_as_json(verdict_of_all, shown), **_about(saved, target_file, target)})
    return EXIT_CODES[verdict_of_all.finding]


def result_beside(trace: Path) -> Path:
    """Return where the result of live replays of a trace is kept: `replay.json` beside it, or with its name before."""
    return trace.with_name("replay.json" if trace.name == "trace.json" else f"{trace.stem}.replay.json")


def target_system(system: System, target: Target, *, confirmed: bool) -> System:
    """Return the system as it is on a target. Raises InputError for one that makes no sense, or must not be touched."""
    check_target(target, system, confirmed=confirmed)
    credentials = {name: credential.read() for name, credential in target.credentials.items()}
    return system.on_target(target.constants, credentials)


def _reference(system: System, saved: Trace, target: Target, untold: Collection[str]) -> Sequence[dict[str, Value]]:
    """Return what happens today, in simulation, on a platform with the target's own defects.

    Left out is what users are never told of on the target.
    """
    events = simulate(system.with_defects(target.defects), saved.plan, ()).history.events
    return [
        event_record(each) for each in events if each.kind is not Kind.OBSERVE or each.data.get("type") not in untold
    ]


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
    stormy = [
        str(number)
        for number, step in enumerate(plan.steps, 1)
        if step.weather or any(isinstance(each, Delay) for each in step.deviations)
    ]
    if stormy:
        click.echo(f"the weather of step {', '.join(stormy)} (order of tasks, jitter) is not repeated live")


def _run_once(system: System, plan: Plan, anchors: Anchors, target: Target) -> LiveResult:
    promises = system.all_properties()
    return run_ungrouped(run_live, system, plan, lambda run: run.play(plan, anchors), target, promises)


def _worded(verdict: RunVerdict) -> str:
    words = {
        Finding.REPRODUCED: f"violated: {verdict.said}",
        Finding.ELSEWHERE: f"violated: {verdict.said}",
        Finding.UNKNOWN: f"unknown: {verdict.said}",
        Finding.DIVERGED: f"diverged at step {verdict.strays[0].step}" if verdict.strays else "",
        Finding.HELD: "holds",
    }
    notes = [f"{verdict.lasted_s:.1f} s", *(each.what for each in verdict.strays)]
    return f"{words[verdict.finding]}  ({'; '.join(notes)})"


def _side(
    plan: Plan,
    simulated: Sequence[dict[str, Value]],
    anchors: Anchors,
    result: LiveResult,
    verdict: RunVerdict,
) -> Side | None:
    """Put simulation and reality side by side: where they part, or else where the promise broke."""
    live = [event_record(event) for event in result.history.events]
    if all(each["host"] != OBSERVER for each in live):
        # Where no store is looked into, what stores hold in simulation would only hide what users saw.
        simulated = [each for each in simulated if each["host"] != OBSERVER]
    if verdict.finding is Finding.DIVERGED:
        stray = verdict.strays[0]
        begun_live = sum(map(begins_step, live[: stray.events]))
        before = zip(plan.steps[: stray.step - 1], anchors.before, strict=False)
        begun = sum(anchor is not None and not isinstance(step.action, Wait) for step, anchor in before)
        return Side(stray.step, beside(shown_after(simulated, begun), shown_after(live, begun_live)))
    if verdict.finding in (Finding.REPRODUCED, Finding.ELSEWHERE):
        return Side(len(plan.steps), beside(shown_after(simulated), shown_after(live)))
    return None


def _print_side(side: Side) -> None:
    width = max(COLUMNS_MIN, (shutil.get_terminal_size((120, 24)).columns - 7) // 2)
    click.echo(f"\nstep {side.step}, as it was seen")
    click.echo(f"    {'in simulation':{width}} | live")
    for left, right in side.rows:
        mark = " " if left == right else "*"
        one, other = (textwrap.shorten(text, width, placeholder="...") for text in (left, right))
        click.echo(f"  {mark} {one:{width}} | {other}".rstrip())
    click.echo("")


def _conclude(saved: Trace, verdict: LiveVerdict) -> None:
    """Print the verdict over all runs. A run of which nobody knows is not one in which the property holds."""
    rate, runs = verdict.reproduced, len(verdict.runs)
    low, high = (f"{100 * bound:.0f}" for bound in rate.interval)
    others = [each for each in (Finding.ELSEWHERE, Finding.DIVERGED, Finding.UNKNOWN) if each is not verdict.finding]
    aside = "".join(f"; {each} in {verdict.count(each)}" for each in others if verdict.count(each))
    name, site = saved.broken.property, saved.broken.site
    match verdict.finding:
        case Finding.REPRODUCED:
            said = f"reproduced {rate.failed} of {rate.runs} (95 % interval {low} to {high} %): {name} ({site}){aside}"
        case Finding.UNKNOWN:
            said = f"could not judge: {name} was unknown in {verdict.count(Finding.UNKNOWN)} of {runs} runs"
        case Finding.DIVERGED:
            assert verdict.diverged is not None
            said = (
                f"diverged at step {verdict.diverged.step} in {verdict.count(Finding.DIVERGED)} of {runs} runs: "
                f"simulation and reality differ there, so that this says nothing of {name}{aside}"
            )
        case _:
            elsewhere = verdict.count(Finding.ELSEWHERE)
            aside = f"; violated elsewhere in {elsewhere}{aside}" if elsewhere else aside
            said = f"not reproduced, 0 of {rate.runs} (95 % interval {low} to {high} %){aside}"
    click.echo(said)


def _note_divergence(saved: Trace, verdict: LiveVerdict) -> None:
    """Put into the fidelity ledger where a run went otherwise than the simulation of the same platform."""
    if verdict.diverged is not None:
        ledger = load_ledger()
        what = f"replay of {saved.id}, step {verdict.diverged.step}"
        ledger.differs("system", what, "as simulated", verdict.diverged.what)
        ledger.save()


def _about(saved: Trace, target_file: Path, target: Target) -> dict[str, object]:
    return {
        "trace": saved.id,
        "property": saved.broken.property,
        "site": saved.broken.site,
        "target": str(target_file),
        "target_defects": target.defects,
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _as_json(verdict: LiveVerdict, shown: Side | None) -> dict[str, object]:
    return {
        "verdict": verdict.finding,
        "exit_code": EXIT_CODES[verdict.finding],
        "reproduced": verdict.reproduced.failed,
        "of": verdict.reproduced.runs,
        "interval": verdict.reproduced.interval,
        "runs": [
            {
                "finding": each.finding,
                "said": each.said,
                "lasted_s": round(each.lasted_s, 3),
                "strays": [{"step": stray.step, "what": stray.what} for stray in each.strays],
            }
            for each in verdict.runs
        ],
        "beside": shown,
    }


def _write(file: Path | None, body: dict[str, object]) -> None:
    if file is not None:
        text = redacted(msgspec.json.encode(body).decode())
        write_whole(file, msgspec.json.format(text, indent=2).encode() + b"\n", "the verdict")
