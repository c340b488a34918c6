"""`wavetank import`: what was recorded or logged, made a plan, simulated and told."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from simulator.errors import InputError
from simulator.live.anchors import anchors_of
from simulator.live.importing import PAUSE_S_MAX, plan_of
from simulator.live.recording import Recording, Source
from simulator.plan import Do, Plan, Strike
from simulator.property import Expectation, Outcome, Property, Verdict
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.story import tell
from simulator.system import System, load_system
from simulator.trace import event_record
from simulator.whole_file import write_whole
from wavetank.arguments import DEFAULT_SYSTEM, defect_option
from wavetank.observe import exit_code_of, promise_line
from wavetank.report import examined_words
from wavetank.results import FILE, check_writable, write_results
from wavetank.saving import Saved, save_unshrunk, unshrunk_lines

__all__ = ["import_log"]


EPILOG = f"""
\b
LOG is a session (wavetank observe --record), the log of a host (JSON lines with event, timestamp
and host; HOST=LOG where they do not say of which host), or a plan that -o wrote: edit it, and
import it again. Of a session the invocations and faults are taken as they are; of logs what the
system's operation_behind makes of each entry. Users are numbered in the order of their coming:
the first is alice. Times between steps are kept, up to {PAUSE_S_MAX:g} s. Nothing else is repeated:
not the order of tasks, nor what services answered.

\b
Examples:
  wavetank import seen.jsonl                         does it break a promise in simulation?
  wavetank import gateway-a=a.jsonl gateway-b=b.jsonl -o plan.json
  wavetank import plan.json --defect ack-before-store
  wavetank import seen.jsonl --system my_system:system

\b
What breaks a promise is saved under .wavetank/failures/, for wavetank replay, shrink and explain.

\b
Exit codes: 0 what could be judged holds, 1 a promise is broken, 2 could not run, or nothing could
be judged, 3 a fresh process makes another run of the plan.
"""


@click.command("import", epilog=EPILOG)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("-o", "plan_file", metavar="FILE", type=FILE, help="Write the plan as JSON, to be edited.")
@click.option(
    "--system", "system_name", metavar="SYSTEM", help=f"module:object  [a session's own, or {DEFAULT_SYSTEM}]"
)
@defect_option
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def import_log(
    logs: tuple[str, ...],
    plan_file: Path | None,
    system_name: str | None,
    defects: tuple[str, ...],
    json_file: Path | None,
) -> int:
    """Simulate what users did according to LOG, and judge it by every promise."""
    check_writable(json_file)
    check_writable(plan_file)
    sources, what = [Source.of(each) for each in logs], ", ".join(logs)
    plan = _plan_in(sources[0].path) if len(sources) == 1 else None
    if plan is not None:
        name = system_name or DEFAULT_SYSTEM
        system = load_system(name).with_defects(defects)
    else:
        with Recording(sources) as recording:
            name = system_name or recording.system or DEFAULT_SYSTEM
            system = load_system(name).with_defects(defects)
            plan = plan_of(system, recording)
    try:
        _check(system, plan)
        if plan_file is not None:
            write_whole(plan_file, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n", "the plan")
        result = simulate(system, plan, system.all_properties())
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    story = tell(system, plan)
    planted = f" with {', '.join(defects)}" if defects else ""
    click.echo(f"{what} on {name}{planted}: {len(plan.steps)} steps, {plan.setting}")
    _tell_story(story, plan, result)
    promises = [each for each in system.all_properties() if each.expectation is not Expectation.SOMETIMES]
    _tell_verdicts(promises, result)
    saved = save_unshrunk(name, 0, system, plan, result)
    if saved != Saved():
        click.echo("\n" + "\n".join(unshrunk_lines(result, saved)))
    exit_code = exit_code_of([result.verdicts[each.name].outcome for each in promises])
    body = {
        "system": name,
        "defects": defects,
        "exit_code": exit_code,
        "setting": plan.setting,
        "story": story,
        "hash": result.history.hash,
        "saved": saved.name or None,
        "properties": [_verdict_json(each, result.verdicts[each.name]) for each in promises],
    }
    written = write_results(json_file, msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    return exit_code or (0 if written else 2)


def _plan_in(path: Path) -> Plan | None:
    """Return the plan that a file holds; None for a file that is no JSON object with steps. Raises InputError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the log cannot be read: {error}.") from error
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if b"\n" in content.strip() and content.lstrip().startswith((b"{\n", b"{\r")):  # as -o writes it, or an editor
            raise InputError(f"{path} is no plan: {error}. Mend it, or write it anew with -o.") from error
        return None
    if not isinstance(body, dict) or "event" in body or not body.keys() & {"steps", "setting", "plan"}:
        return None
    if "plan" in body:
        raise InputError(f"{path} is a trace: wavetank replay runs it. Its plan alone could be imported.")
    try:
        return msgspec.convert(body, Plan)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no plan: {error}. Mend it, or write it anew with -o.") from error


def _check(system: System, plan: Plan) -> None:
    """Raise InputError for a plan that the system cannot be put through as it is: it was edited by hand."""
    system.check_plan(plan)
    setting, most = plan.setting, system.users[1]
    if not 0 <= setting.users <= most:
        raise InputError(f"the plan has users={setting.users}, and the system has {most} at most.")
    for number, step in enumerate(plan.steps, 1):
        if isinstance(step.action, Do) and not 0 <= step.action.user < setting.users:
            raise InputError(
                f"step {number} is of user={step.action.user}, and there are {setting.users}, counted from 0."
            )
        if isinstance(step.action, Strike):
            system.sentence(step.action.fault)  # which raises for a kind that there is not


def _tell_story(story: Sequence[str], plan: Plan, result: Result) -> None:
    """Print every step, and which made no sense when its time had come."""
    events = [event_record(event) for event in result.history.events]
    begun = [each is not None for each in anchors_of(plan, events).before]
    for number, line in enumerate(story, 1):
        is_left_out = number <= len(begun) and not begun[number - 1]
        click.echo(f"{number:3}. {line}{'  (left out: it made no sense then)' if is_left_out else ''}")
    click.echo()


def _tell_verdicts(promises: Sequence[Property], result: Result) -> None:
    width = max(len(each.name) for each in promises)
    for each in promises:
        verdict = result.verdicts[each.name]
        detail = verdict.violation.evidence if verdict.violation is not None else ""
        if verdict.outcome is Outcome.HOLDS:
            detail = f"examined {examined_words(verdict.examined)}"
        click.echo(promise_line(each, verdict.outcome, width, detail or f"because {verdict.missing}"))


def _verdict_json(promise: Property, verdict: Verdict) -> dict[str, object]:
    violation = verdict.violation
    return {
        "name": promise.name,
        "expectation": promise.expectation.value,
        "outcome": verdict.outcome.value,
        "examined": dict(verdict.examined),
        "missing": verdict.missing,
        "site": violation.site if violation is not None else None,
        "evidence": violation.evidence if violation is not None else None,
    }
