"""`wavetank check`: search a system for a broken promise; shrink, save and tell what was found."""

import importlib.metadata
import random
from pathlib import Path

import click
from click.core import ParameterSource

from simulator.campaign import RUNS_DEFAULT, STEPS_DEFAULT, Budget, Campaign
from simulator.errors import InputError
from simulator.journal import Journal, Kept, Settings
from simulator.regression import traces_in
from simulator.statistics import FLAT_RUNS_MIN
from simulator.system import System, load_system
from wavetank import report
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS, defect_option
from wavetank.corpus import Corpus, replay_corpus, write_corpus
from wavetank.profile import profile_options
from wavetank.progress import Progress, warn
from wavetank.results import check_writable, result_options, write_results
from wavetank.saving import Saved, save, trace_of
from wavetank.workers import hired, worker_options

__all__ = ["budget_of", "check", "system_of"]

VERSION = importlib.metadata.version("wavetank")
SEED_MAX = 2**32 - 1
BESIDE_RESUME = ("resume", "workers", "cluster", "json_file", "junit_file")
"""What may be another one when a campaign is continued."""

EPILOG = """
\b
Examples:
  wavetank check                                     the built-in chat platform, 200 runs
  wavetank check --defect ack-before-store           prove that a planted bug is found
  wavetank check my_system:system --max-time 5m      your own system, for five minutes
  wavetank check --workers 8 --runs 20000            on eight cores; the result is that of one
  wavetank check --seed 7 --json out.json            the same runs every time, for machines
  wavetank check --profile pr                        what wavetank profiles lists under this name
  wavetank check --until-flat --max-time 1h          as long as runs still show something new
  wavetank check --resume latest                     go on where the last campaign was killed
  wavetank check my_system:system --doublecheck      every run twice; exit code 3 if two differ
"""


@click.command(epilog=EPILOG)
@click.argument("system", default=DEFAULT_SYSTEM)
@click.option("--runs", type=click.IntRange(min=1), help=f"How many runs  [{RUNS_DEFAULT}; with --max-time: no limit]")
@click.option("--steps", type=click.IntRange(min=1), default=STEPS_DEFAULT, show_default=True, help="At most, per run.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a campaign  [drawn and printed]")
@click.option("--max-time", "max_time_s", type=SECONDS, help="Stop after this much real time (90, 2m, 1h).")
@click.option("--until-interrupted", is_flag=True, help="No limit on the runs, unless --runs or --max-time is given.")
@click.option(
    "--until-flat",
    is_flag=True,
    help=f"Stop when every sometimes was reached, and neither the last {FLAT_RUNS_MIN} runs nor the last third of all "
    "showed a new behaviour. No other limit, unless --runs or --max-time is given.",
)
@click.option("--doublecheck", is_flag=True, help="Run every run twice, and compare  [one in 50, and the last]")
@defect_option
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Judge only this property.")
@click.option(
    "--regressions",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Replay the traces here first (see wavetank regress), and search only if all are fixed.",
)
@click.option(
    "--resume",
    metavar="ID",
    help="Go on with a campaign that was killed or interrupted (see wavetank campaigns; or: latest).",
)
@worker_options
@result_options
@profile_options
def check(
    system: str,
    runs: int | None,
    steps: int,
    seed: int | None,
    max_time_s: float | None,
    until_interrupted: bool,
    until_flat: bool,
    doublecheck: bool,
    defects: tuple[str, ...],
    properties: tuple[str, ...],
    regressions: Path | None,
    resume: str | None,
    workers: int | None,
    cluster: str | None,
    json_file: Path | None,
    junit_file: Path | None,
    profile: str,
) -> int:
    """Search SYSTEM (module:object) for a broken promise, in simulation.

    A violation is shrunk to its few causes, saved under .wavetank/failures/, and told step by step.
    """
    check_writable(json_file, junit_file)
    if resume is not None:
        _check_beside_resume(click.get_current_context())
        journal, kept = Journal.reopen(resume, warn)
    else:
        under_test = load_system(system).with_defects(defects)
        is_endless = max_time_s is not None or until_interrupted or until_flat
        settings = Settings(
            version=VERSION,
            system=system,
            defects=defects,
            properties=tuple(each.name for each in under_test.chosen_properties(properties)),
            seed=random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed,
            runs=runs or (None if is_endless else RUNS_DEFAULT),
            steps=steps,
            max_time_s=max_time_s,
            until_flat=until_flat,
            doublecheck=doublecheck,
            profile=profile,
        )
        journal, kept = Journal(settings, warn), Kept(settings=settings)
    with journal:
        return _check(journal, kept, regressions, workers, cluster, json_file, junit_file)


def _check(
    journal: Journal,
    kept: Kept,
    regressions: Path | None,
    workers: int | None,
    cluster: str | None,
    json_file: Path | None,
    junit_file: Path | None,
) -> int:
    settings, budget = kept.settings, budget_of(kept.settings)
    under_test = system_of(settings)
    known = [] if regressions is None or kept.id else traces_in([regressions])
    report.print_header(settings.system, budget, settings.seed, settings.defects, settings.profile)
    corpus = Corpus()
    if kept.id:
        click.echo(f"goes on with {kept.id}: {kept.runs} runs are there already")
    if known:
        click.echo()
        corpus = replay_corpus(known, lambda _trace: under_test)
        if corpus.exit_code:
            click.echo("nothing was searched: what is known comes first")
            return write_corpus(corpus, json_file, junit_file)
    with Progress(budget) as progress, hired(under_test, workers, cluster) as hands:
        campaign = Campaign(
            under_test,
            budget=budget,
            seed=settings.seed,
            properties=settings.properties,
            workers=hands,
            doublecheck=settings.doublecheck,
            earlier=kept.searched,
            earlier_s=kept.real_s,
            on_run=progress.ran,
            on_batch=journal.add,
            on_violation=progress.violated,
            on_reduce=progress.reduced,
        ).run()
    trace, saved = None, Saved()
    if campaign.failure is not None:
        trace = trace_of(settings.system, settings.seed, under_test, campaign.failure)
        saved = save(trace)
    told = "\n".join(report.result_lines(campaign, trace, saved, settings.profile))
    journal.end(campaign.exit_code, told)
    click.echo(told)
    if campaign.interrupted and journal.id:
        click.echo(f"go on with it: wavetank check --resume {journal.id}")
    written = write_results(
        json_file,
        report.as_json(settings.system, settings.profile, campaign, trace, saved, corpus),
        junit_file,
        report.as_xml(settings.system, campaign, trace, saved, corpus),
    )
    return campaign.exit_code or (0 if written else 2)


def budget_of(settings: Settings) -> Budget:
    """Return what a campaign with these settings may spend."""
    return Budget(settings.runs, settings.steps, settings.max_time_s, until_flat=settings.until_flat)


def system_of(settings: Settings) -> System:
    """Load the system of a campaign. Raises InputError, also when another wavetank has begun the campaign."""
    if settings.version != VERSION:
        raise InputError(
            f"the campaign was begun by wavetank {settings.version}, and this is {VERSION}, whose seeds may mean "
            "other runs. Use that one, or start a new campaign."
        )
    return load_system(settings.system).with_defects(settings.defects)


def _check_beside_resume(context: click.Context) -> None:
    """Raise InputError for an option beside --resume that would make it another campaign."""
    for each in context.command.params:
        is_given = context.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
        if is_given and each.name not in BESIDE_RESUME:
            raise InputError(
                f"--resume goes on with what the campaign began with, so {max(each.opts, key=len)} cannot be given "
                "beside it. --workers, --cluster, --json and --junit can."
            )
