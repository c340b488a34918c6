"""`wavetank coverage`: what a search has reached of all that matters, and of the system's own code."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import click

from simulator.campaign import Budget, Campaign
from simulator.goals import KINDS, Goal, goals_of, reached_in
from simulator.kept_plan import KeptPlan, keep, kept_in
from simulator.plan import Plan
from simulator.recipes import Recipes
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.system import System, load_system
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS, SEED_MAX, defect_option
from wavetank.code_coverage import CodeCoverage, Measured
from wavetank.progress import Line, Progress
from wavetank.provenance import provenance, scaled_lines
from wavetank.results import FILE, as_json, check_writable, write_results

__all__ = ["coverage"]

CORPUS = Path("coverage")
RUNS = 100
STEPS = 30
FAIL_UNDER = 80.0
PLANS_KEPT = 200
"""Of the search, to learn from what users can do."""

EPILOG = f"""
\b
Examples:
  wavetank coverage --critical-only            what matters, by a search of {RUNS} runs
  wavetank coverage                            and lines and branches of the system's own code
  wavetank coverage --critical-only --generate make plans for what is missing, keep them
  wavetank coverage my_system:system --runs 500 --json coverage.json

\b
What matters follows from the system: ways through its dependencies (path), transitions of its
state machines (transition), faults at places (fault), operations while a host suffers (order),
and every "sometimes". Plans in {CORPUS}/ are replayed first. Exit codes: 1 less than --fail-under
is reached, a kept plan does not reach its goal any more, or a property is violated.
"""


@attrs.define
class Covered:
    """What was reached, and what came in the way."""

    reached: dict[Goal, None] = attrs.field(factory=dict)
    plans: list[Plan] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)

    def add(self, system: System, plan: Plan, result: Result) -> None:
        """Count one run."""
        self.reached.update(reached_in(system, result.history))
        if len(self.plans) < PLANS_KEPT:
            self.plans.append(plan)


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
    "--fail-under", type=click.FloatRange(0, 100), default=FAIL_UNDER, show_default=True, help="Percent, of each."
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
        covered = Covered()
        _replay_kept(system, system_name, corpus, covered)
        _search(system, Budget(runs, STEPS, max_time_s), seed, covered)
        goals = goals_of(system)
        if generate and not covered.broken:
            _generate(system, system_name, seed, goals, corpus, covered)
    measured = code.measured() if code is not None else None
    missing = [each for each in goals if each not in covered.reached]
    click.echo("\n".join(_lines(goals, missing, covered, measured)))
    percent = 100 * (len(goals) - len(missing)) / len(goals)
    is_enough = percent >= fail_under and (measured is None or measured.percent >= fail_under)
    exit_code = 1 if covered.broken or not is_enough else 0
    if not is_enough:
        click.echo(f"less than {fail_under:g} % (--fail-under)")
    body = {
        **provenance("coverage"),
        "system": system_name,
        "defects": defects,
        "seed": seed,
        "exit_code": exit_code,
        "percent": percent,
        "broken": covered.broken,
        "goals": [{"kind": each.kind, "name": each.name, "reached": each in covered.reached} for each in goals],
        "code": measured,
    }
    written = write_results(json_file, as_json(body))
    return exit_code if exit_code or written else 2


def _replay_kept(system: System, system_name: str, corpus: Path, covered: Covered) -> None:
    kept = {file: each for file, each in kept_in(corpus).items() if each.system == system_name}
    for file, each in kept.items():
        system.check_plan(each.plan)
        result = simulate(system, each.plan, system.all_properties())
        covered.add(system, each.plan, result)
        covered.broken += [f"{file}: breaks {name}" for name in result.violated]
        if each.goal not in reached_in(system, result.history):
            covered.broken.append(f"{file}: does not reach its goal any more ({each.goal})")
    if kept:
        click.echo(f"{len(kept)} kept plans of {corpus}/ replayed")


def _search(system: System, budget: Budget, seed: int, covered: Covered) -> None:
    with Progress(budget) as progress:
        campaign = Campaign(
            system,
            budget=budget,
            seed=seed,
            on_run=progress.ran,
            on_result=lambda plan, result: covered.add(system, plan, result),
            on_violation=progress.violated,
        ).run()
    click.echo(f"{campaign.statistics.runs} runs searched")
    if campaign.failure is not None:
        covered.broken.append(f"{campaign.failure.broken.name}: {campaign.failure.violation.evidence}")
    if campaign.interrupted:
        raise KeyboardInterrupt


def _generate(
    system: System, system_name: str, seed: int, goals: Sequence[Goal], corpus: Path, covered: Covered
) -> None:
    """Make plans for what is missing, by what the goal is about, and keep those that reach it and break nothing."""
    recipes = Recipes(system, seed, covered.plans)
    made = 0
    with Line() as line:
        for goal in [each for each in goals if each not in covered.reached]:
            for plan in recipes.plans(goal):
                line.show(f"{made} plans made, trying {goal}")
                if goal in covered.reached:
                    break
                result = simulate(system, plan, system.all_properties())
                covered.broken += [f"{goal}: its plan breaks {name}" for name in result.violated]
                reached = reached_in(system, result.history)
                if goal in reached and not result.violated:
                    keep(corpus, KeptPlan(system_name, goal.kind, goal.name, plan))
                    covered.add(system, plan, result)
                    made += 1
    click.echo(f"{made} plans made, and kept in {corpus}/")


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
        yield f"BROKEN  {broken}"
