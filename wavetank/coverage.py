"""`wavetank coverage`: what a search has reached of all that matters, and of the system's own code."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from simulator.campaign import Budget, Campaign
from simulator.goals import KINDS, Goal, goals_of, reached_in
from simulator.interrupts import Interrupts
from simulator.kept_plan import KeptPlan, keep, kept_in
from simulator.recipes import Recipes
from simulator.simulated_run import simulate
from simulator.system import load_system
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS, SEED_MAX, defect_option
from wavetank.children import INTERRUPTED
from wavetank.code_coverage import CodeCoverage, Measured
from wavetank.covered import Broken, Covered
from wavetank.progress import Line, Progress
from wavetank.provenance import provenance, scaled_lines
from wavetank.results import FILE, as_json, check_writable, write_results

__all__ = ["coverage"]

CORPUS = Path("coverage")
RUNS = 100
STEPS = 30
FAIL_UNDER = 80.0

EPILOG = f"""
\b
Examples:
  wavetank coverage --critical-only            what matters, by a search of {RUNS} runs
  wavetank coverage                            and lines and branches of the system's own code
  wavetank coverage --critical-only --generate make plans for what is missing, keep them
  wavetank coverage my_system:system --runs 500 --json coverage.json

\b
What matters follows from the system: ways of work through its hosts (path), transitions of its
state machines (transition), faults at places (fault), operations while a host suffers (order),
and every "sometimes". Plans in {CORPUS}/ are replayed first. What breaks a promise is saved, as
wavetank check does. Kinds differ much in size, so the percentage is one of all goals; but of each
kind something must be reached, unless --fail-under is 0. Exit codes: 1 less than --fail-under is
reached, or nothing of a kind, a kept plan does not reach its goal any more, or a property is
violated; 130 interrupted, and nothing was violated by then.
"""


@click.command(epilog=EPILOG)
@click.argument("system_name", default=DEFAULT_SYSTEM, metavar="[SYSTEM]")
@click.option("--critical-only", is_flag=True, help="Leave out lines and branches, which slow a search down.")
@click.option("--runs", type=click.IntRange(1), default=RUNS, show_default=True, help="Of the search.")
@click.option("--max-time", "max_time_s", type=SECONDS, help="End the search after this long.")
@click.option("--generate", is_flag=True, help="Make plans for what is missing, and keep those that reach it.")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, file_okay=False),
    default=CORPUS,
    show_default=True,
    help="Where plans are kept.",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    default=FAIL_UNDER,
    show_default=True,
    help="Percent, of all goals, and of the code.",
)
@click.option("--source", "sources", multiple=True, metavar="PACKAGE", help="The system's own code  [its package]")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a search  [drawn and printed]")
@defect_option
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def coverage(
    system_name: str,
    critical_only: bool,
    runs: int,
    max_time_s: float | None,
    generate: bool,
    corpus: Path,
    fail_under: float,
    sources: tuple[str, ...],
    seed: int | None,
    defects: tuple[str, ...],
    json_file: Path | None,
) -> int:
    """Say what runs of SYSTEM (module:object) reach of all that matters, and name what is missing."""
    check_writable(json_file)
    code = None if critical_only else CodeCoverage(sources or (system_name.partition(":")[0].partition(".")[0],))
    with code or click.get_current_context().scope():
        system = load_system(system_name).with_defects(defects)
        seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
        click.echo(f"system  {system_name}" + (f"  defects {', '.join(defects)}" if defects else ""))
        click.echo("\n".join([f"seed    {seed}", *scaled_lines(), ""]))
        covered, goals = Covered(system_name, system, seed), goals_of(system)
        is_interrupted = False
        try:
            _replay_kept(covered, goals, corpus)
            _search(covered, Budget(runs, STEPS, max_time_s))
            if generate:
                _generate(covered, goals, corpus)
        except KeyboardInterrupt:
            is_interrupted = True
    measured = code.measured() if code is not None else None
    missing = [each for each in goals if each not in covered.reached]
    click.echo("\n".join(_lines(goals, missing, covered, measured)))
    percent = 100 * (len(goals) - len(missing)) / len(goals)
    is_enough = percent >= fail_under and (measured is None or measured.percent >= fail_under)
    untouched = _untouched(goals, covered) if fail_under else []
    if is_interrupted:
        click.echo("interrupted; the figures are those of what was run by then")
    else:
        if not is_enough:
            click.echo(f"less than {fail_under:g} % (--fail-under)")
        for kind in untouched:
            click.echo(f"nothing of a kind was reached: {kind} (--fail-under)")
    failed = INTERRUPTED if is_interrupted else int(not is_enough or bool(untouched))
    exit_code = 1 if covered.broken else failed
    body = {
        **provenance("coverage", system_name),
        "system": system_name,
        "defects": defects,
        "seed": seed,
        "exit_code": exit_code,
        "interrupted": is_interrupted,
        "percent": percent,
        "broken": [each.what for each in covered.broken],
        "saved": [each.saved for each in covered.broken if each.saved],
        "goals": [{"kind": each.kind, "name": each.name, "reached": each in covered.reached} for each in goals],
        "code": measured,
    }
    written = write_results(json_file, as_json(body))
    return exit_code if exit_code or written else 2


def _replay_kept(covered: Covered, goals: Sequence[Goal], corpus: Path) -> None:
    system = covered.system
    kept = {file: each for file, each in kept_in(corpus).items() if each.system == covered.name}
    with Interrupts() as interrupts:
        for file, each in kept.items():
            result = simulate(system, each.plan, system.all_properties())
            covered.add(each.plan, result)
            covered.judge(str(file), each.plan, result)
            if each.goal not in goals:
                click.echo(f"{file}: {each.goal} is no goal any more. Its plan was replayed; remove it if you like.")
            elif each.goal not in reached_in(system, result.history):
                covered.broken.append(Broken(f"{file}: does not reach its goal any more ({each.goal})"))
            interrupts.check()
    if kept:
        click.echo(f"{len(kept)} kept plans of {corpus}/ replayed")


def _search(covered: Covered, budget: Budget) -> None:
    with Progress(budget) as progress:
        campaign = Campaign(
            covered.system,
            budget=budget,
            seed=covered.seed,
            on_run=progress.ran,
            on_result=covered.add,
            on_violation=progress.violated,
        ).run()
    click.echo(f"{campaign.statistics.runs} runs searched")
    with Interrupts() as interrupts:
        if campaign.failure is not None:
            covered.found(campaign, campaign.failure)
    if campaign.interrupted or interrupts.came:
        raise KeyboardInterrupt


def _generate(covered: Covered, goals: Sequence[Goal], corpus: Path) -> None:
    """Make plans for what is missing, by what the goal is about, and keep those that reach it and break nothing."""
    system = covered.system
    recipes = Recipes(system, covered.seed, covered.plans)
    made = 0
    try:
        with Line() as line, Interrupts() as interrupts:
            for goal in [each for each in goals if each not in covered.reached]:
                for plan in recipes.plans(goal):
                    line.show(f"{made} plans made, trying {goal}")
                    if goal in covered.reached:
                        break
                    result = simulate(system, plan, system.all_properties())
                    covered.judge(f"the plan for {goal}", plan, result)
                    if goal in reached_in(system, result.history) and not result.violated:
                        keep(corpus, KeptPlan(covered.name, goal.kind, goal.name, plan))
                        covered.add(plan, result)
                        made += 1
                    interrupts.check()
    finally:
        click.echo(f"{made} plans made, and kept in {corpus}/")


def _untouched(goals: Sequence[Goal], covered: Covered) -> list[str]:
    """Return the kinds of which there are goals, and none was reached."""
    touched = {each.kind for each in covered.reached}
    return [kind for kind in KINDS if kind not in touched and any(each.kind == kind for each in goals)]


def _lines(
    goals: Sequence[Goal], missing: Sequence[Goal], covered: Covered, measured: Measured | None
) -> Iterator[str]:
    yield ""
    counts: Mapping[str, list[Goal]] = {kind: [each for each in goals if each.kind == kind] for kind in KINDS}
    for kind, mine in counts.items():
        lacking = [each for each in mine if each in missing]
        yield f"{kind:12}{len(mine) - len(lacking):4} of {len(mine)}"
    yield f"{'all':12}{len(goals) - len(missing):4} of {len(goals)}, {100 * (1 - len(missing) / len(goals)):.1f} %"
    for each in missing:
        yield f"  missing  {each}"
    if measured is not None:
        yield ""
        yield from measured.lines()
    for broken in covered.broken:
        yield f"BROKEN  {broken.what}"
        yield from broken.lines
