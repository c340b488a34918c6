"""`wavetank chaos`: faults while users use a system, and whether they are served before, during and after."""

import random
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

import attrs
import click
import msgspec

from simulator.chaos.experiment import KINDS, Experiment, parse_recovery_time, tell_method
from simulator.chaos.files import SUFFIXES, experiments_in, read_experiment
from simulator.chaos.journal import journal_of
from simulator.chaos.plan import experiment_plan
from simulator.chaos.result import ExperimentResult, Phase, Status, SteadyBefore, experiment_result
from simulator.errors import InputError, known_names
from simulator.load.measured import Met
from simulator.load.quantity import Quantity
from simulator.system import System, load_system
from wavetank.arguments import DEPLOYED_SYSTEM, SECONDS, SEED_MAX, defect_option
from wavetank.driving import Driven, driven, target_option
from wavetank.load import objective_line
from wavetank.provenance import provenance
from wavetank.results import FILE, as_json, check_writable, write_results
from wavetank.saving import Saved, broken_lines, unshrunk_lines

__all__ = ["chaos"]

MARKS = {Status.HELD: "✓", Status.DEVIATED: "✗", Status.FAILED: "✗", Status.INTERRUPTED: "-"}

EPILOG = """
\b
Examples:
  wavetank chaos                                       which experiments there are
  wavetank chaos clickhouse-crashes                    one of them, simulated
  wavetank chaos --all                                 all of them
  wavetank chaos --kind network --json chaos.json      all of a kind
  wavetank chaos --all --target target.toml            on real services (wavetank staging up)
  wavetank chaos my.toml --system my_system:system     your own, on your own system
  wavetank chaos experiment.json --dry-run             one of the Chaos Toolkit's: JSON or YAML
  wavetank chaos --all --dry-run                       only say what would be done

\b
An experiment of your own (the words are the Chaos Toolkit's):
  title = "ClickHouse crashes"
  tags = ["service"]                   # network, service or state
  recovery_time = "< 30s"              # else: < 5m
  [traffic]
  users = 5
  per_minute = 12                      # of each user, at random times
  before = "20s"                       # until the method begins
  after = "40s"                        # from its end on
  [[steady-state-hypothesis.probes]]
  measure = "success_rate"             # as in a load profile
  tolerance = "> 99%"
  during = "> 90%"                     # or "any"; else the same
  [[method]]
  name = "it crashes"
  fault = "crash"                      # crash, terminate, freeze, partition, slow, ...
  at = "clickhouse"                    # a link: ["agents", "clickhouse"]
  for = "15s"                          # else until the end, or: [[rollbacks]] ends = "it crashes"
  pauses = {after = "5s"}

\b
An experiment holds if its steady state was there before the method (else it is not begun), during
and after it, came back in time, and no promise was broken. Exit codes: 1 one did not hold.
"""


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[EXPERIMENT|FILE]...")
@click.option("--all", "is_all", is_flag=True, help="Every experiment that the system comes with.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Those of a kind.")
@click.option("--system", "system_name", default=DEPLOYED_SYSTEM, show_default=True, help="module:object")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat what users did  [drawn and printed]")
@defect_option
@target_option
@click.option("--for", "for_s", type=SECONDS, help="Begin again with other seeds until this time is over.")
@click.option("--recovery-time", metavar="OBJECTIVE", help='Instead of what experiments allow ("< 5m").')
@click.option("--dry-run", is_flag=True, help="Say what would be done when, and whether it can be, and do nothing.")
@click.option("--json", "json_file", type=FILE, help="Write the journals, in the Chaos Toolkit's form.")
def chaos(
    names: tuple[str, ...],
    is_all: bool,
    kinds: tuple[str, ...],
    system_name: str,
    seed: int | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    for_s: float | None,
    recovery_time: str | None,
    dry_run: bool,
    json_file: Path | None,
) -> int:
    """Do EXPERIMENTs to a system that users use: is it steady before, during and after?"""
    check_writable(json_file)
    system = load_system(system_name).with_defects(defects)
    known = experiments_in(system.experiments, system) if system.experiments is not None else {}
    chosen = _chosen(system, known, names, kinds, is_all=is_all)
    if recovery_time is not None:
        parse_recovery_time(recovery_time)
        chosen = {name: msgspec.structs.replace(each, recovery_time=recovery_time) for name, each in chosen.items()}
    if not chosen:
        click.echo("\n".join(_overview(known)))
        return 0
    for name, experiment in chosen.items():
        experiment.check(name, system)
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    driving = Driven.of(system_name, system, target_file, confirmed=yes_really)
    click.echo(f"{driving.headed(seed)}\n")
    if dry_run:
        return _dry_run(driving, chosen, seed)
    kinds_known = {name: each.kind for name, each in known.items()}
    return _perform_all(driving, chosen, kinds_known, seed, for_s, json_file)


def _chosen(
    system: System, known: Mapping[str, Experiment], names: tuple[str, ...], kinds: tuple[str, ...], *, is_all: bool
) -> dict[str, Experiment]:
    chosen = {name: each for name, each in known.items() if is_all or each.kind in kinds}
    for name in names:
        path = Path(name)
        if name in known:
            chosen[name] = known[name]
        elif path.suffix in SUFFIXES:
            imported = read_experiment(path, system)
            chosen[path.stem] = imported.experiment
            for note in imported.notes:
                click.echo(f"{path}: {note}", err=True)
        else:
            raise InputError(
                f"no experiment named {name!r}, and no file of one ({', '.join(SUFFIXES)}). "
                f"{known_names(known, 'wavetank chaos', name)}"
            )
    if not chosen and (is_all or kinds):
        raise InputError("the system comes with no such experiments. Name a TOML file, or set System.experiments.")
    return chosen


def _overview(known: Mapping[str, Experiment]) -> Iterator[str]:
    width = max(map(len, known), default=0)
    for name, each in known.items():
        yield f"{each.kind:8} {name:{width}}  {each.title}"
    yield f"\n{len(known)} experiments. wavetank chaos NAME does one, --all does all."


def _dry_run(driving: Driven, chosen: Mapping[str, Experiment], seed: int) -> int:
    for name, experiment in chosen.items():
        plan = experiment_plan(experiment, driving.system, seed, latency_s=driving.latency_s)
        click.echo(f"{name}: {experiment.title}. {experiment.load()}")
        for probe in experiment.steady_state.probes:
            during = f", during the method {probe.during}" if probe.during else ""
            click.echo(f"  steady if  {probe.measure} {probe.tolerance}{during}")
        for line in tell_method(experiment, driving.system):
            click.echo(f"{line}")
        click.echo(f"{experiment.over_s:8.1f} s  all is undone; the steady state is back {experiment.recovery_time}")
        why_not = driving.why_not(plan)
        if why_not:
            click.echo(f"  CANNOT be done: {why_not}")
    click.echo("\nnothing was done (--dry-run)")
    return 0


@attrs.define
class Record:
    """What came of the experiments so far."""

    statuses: list[Status] = attrs.field(factory=list)
    journals: dict[str, Any] = attrs.field(factory=dict)
    not_done: dict[str, str] = attrs.field(factory=dict)

    @property
    def exit_code(self) -> int:
        """Whether one did not hold; else whether there was an interrupt; else whether anything could be done."""
        if Status.DEVIATED in self.statuses or Status.FAILED in self.statuses:
            return 1
        if Status.INTERRUPTED in self.statuses:
            return 130
        return 0 if self.statuses else 2

    def counted(self) -> str:
        """Word how many came to what."""
        words = [f"{self.statuses.count(each)} {each.value}" for each in Status if each in self.statuses]
        words += [f"{len(self.not_done)} cannot be done here"] if self.not_done else []
        return f"{len(self.statuses) + len(self.not_done)} experiments: {', '.join(words)}"


def _perform_all(
    driving: Driven,
    chosen: Mapping[str, Experiment],
    kinds_known: Mapping[str, str],
    seed: int,
    for_s: float | None,
    json_file: Path | None,
) -> int:
    record, width, begun_s = Record(), max(map(len, chosen)), time.perf_counter()
    for number in count():
        if number >= len(chosen) and (for_s is None or time.perf_counter() - begun_s > for_s or record.exit_code):
            break
        name = list(chosen)[number % len(chosen)]
        drawn = seed + number // len(chosen)  # of the second round another one
        try:
            outcome = _perform(driving, name, chosen[name], drawn, record, width, is_detailed=len(chosen) == 1)
        except KeyboardInterrupt:
            record.statuses.append(Status.INTERRUPTED)
            break
        if outcome is not None and outcome.loaded.is_interrupted:
            break
    code = record.exit_code
    click.echo(f"\n{record.counted()}")
    body = {
        **provenance("chaos", driving.name),
        **driving.told(),
        "seed": seed,
        "exit_code": code,
        "known_experiments": kinds_known,
        "not_done": record.not_done,
        "journals": record.journals,
    }
    written = write_results(json_file, as_json(body))
    return code if code or written else 2


def _perform(
    driving: Driven, name: str, experiment: Experiment, seed: int, record: Record, width: int, *, is_detailed: bool
) -> ExperimentResult | None:
    """Do one experiment, tell what came of it, and keep it in the record; None if it cannot be done here."""
    plan = experiment_plan(experiment, driving.system, seed, latency_s=driving.latency_s)
    why_not = driving.why_not(plan)
    if why_not:
        record.not_done[name] = why_not
        click.echo(f"- {experiment.kind:8} {name:{width}}  cannot be done here: {why_not}")
        return None
    begun_at, before = datetime.now(UTC), SteadyBefore(experiment)
    outcome = experiment_result(experiment, driven(driving, plan, experiment.lasts_s, name, before), before.phase)
    click.echo(f"{MARKS[outcome.status]} {experiment.kind:8} {name:{width}}  {_summary(outcome)}")
    saved = driving.save(outcome.loaded, seed)
    if outcome.status is not Status.HELD or is_detailed:
        click.echo("\n".join(f"    {line}" for line in _details(outcome, saved)))
    record.statuses.append(outcome.status)
    record.journals[name] = journal_of(outcome, begun_at, seed, saved.name)
    return outcome


def _summary(outcome: ExperimentResult) -> str:
    match outcome.status:
        case Status.HELD:
            return f"held      steady again {_after(outcome.recovery_s)}"
        case Status.FAILED:
            before = outcome.before.judged if outcome.before is not None else ()
            unseen = ", ".join(each.objective.measure for each in before if each.met is Met.NO_SAMPLES)
            why = f"there was nothing to measure of {unseen}" if unseen else "it was not steady"
            return f"FAILED    {why} before anything was done, so nothing was"
        case Status.INTERRUPTED:
            return "interrupted; all is undone"
        case Status.DEVIATED:
            return f"DEVIATED  {'; '.join(_deviations(outcome))}"


def _deviations(outcome: ExperimentResult) -> Iterator[str]:
    if outcome.during is not None and not outcome.during.is_met:
        yield "not steady enough during the method"
    if outcome.during is not None and not outcome.is_recovered_in_time:
        yield f"steady again {_after(outcome.recovery_s)}, and {outcome.experiment.recovery_time} is allowed"
    if outcome.loaded.result.violated:
        yield f"broke {', '.join(outcome.loaded.result.violated)}"


def _after(recovery_s: float) -> str:
    if not isfinite(recovery_s):
        return "not while anybody looked"
    return f"after {Quantity(recovery_s, 's')}" if recovery_s else "at once"


def _details(outcome: ExperimentResult, saved: Saved) -> Iterator[str]:
    phases: Mapping[str, Phase | None] = {
        "before": outcome.before,
        "during": outcome.during,
        "after": outcome.after,
    }
    for name, phase in phases.items():
        if phase is not None:
            yield f"{name:6}  from {phase.from_s:.1f} to {phase.until_s:.1f} s"
            width = max(len(each.objective.measure) for each in phase.judged) if phase.judged else 0
            yield from (f"  {objective_line(each, width)}" for each in phase.judged)
            if not phase.judged:
                yield "  nothing need hold but the promises"
    yield from broken_lines(outcome.loaded.result)
    yield from unshrunk_lines(outcome.loaded.result, saved)
