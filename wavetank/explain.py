"""`wavetank explain`: with which step of a saved failure it becomes likely."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

from simulator.likelihood import Likelihood, jump
from simulator.rate import Rate
from simulator.simulated_run import simulate
from simulator.story import tell
from simulator.trace import Trace
from wavetank.progress import Line
from wavetank.replay import check_fails, load_failure
from wavetank.results import FILE, check_writable, write_results

__all__ = ["explain"]

RUNS_DEFAULT = 60
STEPS_DEFAULT = 10
BAR_WIDTH = 20

EPILOG = """
\b
Examples:
  wavetank explain durability-3f9a2c01                  four steps take about a minute
  wavetank explain durability-3f9a2c01 --runs 500       narrower intervals
  wavetank explain durability-3f9a2c01 --json out.json  for machines

\b
Exit codes: 0 the rates are told, whatever they are, 2 could not run, or the failure is gone,
130 interrupted: what is known so far is told.
"""


@click.command(epilog=EPILOG)
@click.argument("trace", metavar="ID|FILE")
@click.option("--runs", type=click.IntRange(min=1), default=RUNS_DEFAULT, show_default=True, help="From each prefix.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=STEPS_DEFAULT, show_default=True, help="At most, after the prefix."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one gives other runs.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def explain(trace: str, runs: int, steps: int, seed: int, json_file: Path | None) -> int:
    """Say with which of its steps the saved failure ID|FILE becomes likely.

    From each prefix of its steps many runs go on at random, in simulation, and it is counted how many of them break
    the same promise at the same site. The step with which the rate rises is the one to look at.
    """
    check_writable(json_file)
    saved, system = load_failure(trace)
    (broken,) = system.chosen_properties([saved.broken.property])
    click.echo(f"{saved.id}: {broken.name} on {saved.system}, {len(saved.plan.steps)} steps")
    check_fails(saved, simulate(system, saved.plan, [broken]))
    click.echo(f"{runs} runs from each prefix, with up to {steps} random steps after it, seed {seed}\n")
    with Line() as line:
        likelihood = Likelihood(
            system,
            saved.plan,
            broken,
            saved.broken.site,
            runs=runs,
            steps=steps,
            seed=seed,
            on_run=_progress(line, runs * (len(saved.plan.steps) + 1)),
        ).run()
    story = tell(system, saved.plan)[:-1]
    _print(likelihood, story)
    exit_code = 130 if likelihood.interrupted else 0
    limits = {"runs": runs, "steps": steps, "seed": seed, "exit_code": exit_code}
    written = write_results(json_file, _as_json(saved, limits, likelihood, story))
    return exit_code or (0 if written else 2)


def _progress(line: Line, total: int) -> Callable[[int], None]:
    begun_s = time.perf_counter()

    def on_run(runs: int) -> None:
        left_s = (time.perf_counter() - begun_s) / runs * (total - runs)
        line.show(f"{runs}/{total} runs, {left_s:.0f} s left")

    return on_run


def _print(likelihood: Likelihood, story: Sequence[str]) -> None:
    """Print a row for each prefix, named by its last step, and what they say together."""
    header = f"{'failed':>11}    rate   95 % interval   {'# below it, = within':{BAR_WIDTH}}  "
    click.echo(f"{header}up to step")
    numbered = ("  0.             none", *(f"{number:3}. {line}" for number, line in enumerate(story, 1)))
    for rate, line in zip(likelihood.rates, numbered, strict=True):
        low, high = rate.interval
        figures = f"{rate.failed:4} of {rate.runs:3}   {_percent(rate.share)}   {_percent(low)} to {_percent(high)}"
        indented = line.replace("\n", "\n" + " " * len(header))
        click.echo(f"{figures}   {_bar(rate):{BAR_WIDTH}}  {indented}")
    step = jump(likelihood.rates)
    if step is None:
        click.echo(
            "\nno step is seen to matter: the intervals before and after each of them overlap. Allow more runs "
            "(--runs) or, if many fail from the beginning, fewer steps (--steps)."
        )
    else:
        without, with_it = (_percent(rate.share).strip() for rate in likelihood.rates[step - 1 : step + 1])
        click.echo(f"\nstep {step} makes the difference: {without} of the runs fail without it, {with_it} with it")
    if likelihood.interrupted:
        click.echo("interrupted; the figures above are those of the runs that ended")


def _percent(share: float) -> str:
    return f"{100 * share:3.0f} %"


def _bar(rate: Rate) -> str:
    low, high = (round(BAR_WIDTH * bound) for bound in rate.interval)
    return "#" * low + "=" * (high - low)


def _as_json(saved: Trace, limits: dict[str, int], likelihood: Likelihood, story: Sequence[str]) -> bytes:
    """Return the result for machines: one JSON object."""
    rows = zip(likelihood.rates, (None, *map(str.strip, story)), strict=True)
    body = {
        "id": saved.id,
        "system": saved.system,
        "defects": saved.defects,
        "property": saved.broken.property,
        "site": saved.broken.site,
        **limits,
        "interrupted": likelihood.interrupted,
        "prefixes": [
            {
                "steps": steps,
                "last_step": line,
                "failed": rate.failed,
                "runs": rate.runs,
                "rate": rate.share,
                "interval": rate.interval,
            }
            for steps, (rate, line) in enumerate(rows)
        ],
        "jump": jump(likelihood.rates),
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
