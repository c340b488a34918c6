"""`wavetank load`: many users at once, and whether objectives and promises are kept."""

import random
import time
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import click
import msgspec
import psutil

from simulator.errors import InputError
from simulator.load.arrivals import plan_of
from simulator.load.leak import LASTS_S_MIN, Growth, growths_in, unjudged_in
from simulator.load.measured import LIVE_ONLY, Judged, LoadResult, Measured, Met, fails, judge_objectives
from simulator.load.objective import AVERAGE
from simulator.load.profile import PROFILES, Load, profile_named
from simulator.load.quantity import Quantity
from simulator.load.sample import is_rate
from simulator.load.tally import Tally
from simulator.system import load_system
from wavetank.arguments import DEPLOYED_SYSTEM, SECONDS, SEED_MAX, defect_option
from wavetank.driving import Driven, driven, target_option
from wavetank.provenance import provenance
from wavetank.results import FILE, as_json, check_writable, write_results
from wavetank.saving import Saved, broken_lines, unshrunk_lines

__all__ = ["load", "objective_line"]

HOUR_S = 3600.0
ONE_CLOCK = "what workers and hosts saw is put in order by time: the clocks of hosts elsewhere must agree with this one"
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
PERCENTILES_OVER_TIME = (50.0, 90.0, 99.0)
MARKS = {Met.MET: "✓", Met.MISSED: "✗", Met.NO_SAMPLES: "✗", Met.OTHER_UNIT: "✗", Met.LIVE_ONLY: "-"}

EPILOG = f"""
\b
Profiles:
{chr(10).join(f"  {name:10} {each.summary}" for name, each in PROFILES.items())}

\b
Examples:
  wavetank load                                  steady, on the built-in chat platform
  wavetank load --profile sustained              an hour, simulated
  wavetank load --profile peak --users 400 --duration 2m
  wavetank load --profile my.toml my_system:system   your own load on your own system
  wavetank load --profile burst --target target.toml   real services (wavetank staging up)
  wavetank load --users 2000 --target target.toml --workers 8   users in so many processes

\b
A profile of your own:
  users = 100
  per_minute = 2                       # of each user, at random times
  duration = "10m"
  arrive_within = "30s"
  [[mix]]                              # or System.mix
  operation = "ask"
  weight = 4
  # numbered, so that not all answers come from a cache
  arguments = {{question = "how was hour {{number}}?", thread = 1}}
  [objectives]                         # or System.objectives
  ws_latency = "p(99) < 100ms"
  error_rate = "< 0.1%"
  [services.llm]                       # simulated: half of its answers take 0.4 s, none over 2 s
  service_s = [[0.5, 0.4], [1.0, 2]]
  at_once = 4                          # others wait in line

\b
Latency counts from when something was due, not from when a slow system let it begin. When it is
we who begin late, more --workers help, where there are cores for them. An objective without any
sample is missed. Exit codes: 1 an objective is missed or a property violated.
"""


@click.command(epilog=EPILOG)
@click.argument("system", default=DEPLOYED_SYSTEM)
@click.option("--profile", default="steady", show_default=True, metavar="NAME|FILE", help="One of these, or TOML.")
@click.option("--users", type=click.IntRange(1, 10_000), help="How many, instead of the profile's number.")
@click.option("--duration", type=SECONDS, help="How long, instead of the profile's time (90, 2m, 1h).")
@click.option(
    "--objective", "objectives_more", multiple=True, metavar="TEXT", help='One more, or instead ("ask p(99) < 1s").'
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a load  [drawn and printed]")
@defect_option
@target_option
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that are the users (live)."
)
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def load(
    system: str,
    profile: str,
    users: int | None,
    duration: float | None,
    objectives_more: tuple[str, ...],
    seed: int | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    workers: int,
    json_file: Path | None,
) -> int:
    """Let many users at once use SYSTEM (module:object), and hold what they see to objectives and promises."""
    check_writable(json_file)
    if workers > 1 and target_file is None:
        raise InputError("--workers are for real services (--target): a simulated world is one process.")
    under_test = load_system(system).with_defects(defects)
    chosen = profile_named(profile)
    chosen = msgspec.structs.replace(chosen, users=users or chosen.users, duration=duration or chosen.duration)
    chosen.check("the load")
    more = (each.strip().partition(" ") for each in objectives_more)
    stated = dict(chosen.objectives or under_test.objectives) | {measure: text for measure, _, text in more}
    chosen = msgspec.structs.replace(chosen, objectives=stated)
    objectives = chosen.parsed({})
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    driving = Driven.of(system, under_test.with_service_models(chosen.services), target_file, confirmed=yes_really)
    plan = plan_of(chosen, under_test.mix, under_test.arrival, seed, latency_s=driving.latency_s)
    click.echo(driving.headed(seed))
    click.echo(f"load    {profile}: {chosen}")
    if driving.is_live and chosen.services:
        click.echo("services are as fast as the target's: those of the profile are for simulations")
    if workers > 1 and driving.target is not None and not driving.target.is_here:
        click.echo(ONE_CLOCK)
    begun_s = time.perf_counter()
    loaded = driven(driving, plan, chosen.duration_s, is_heavy=True, workers=workers)
    real_s = time.perf_counter() - begun_s
    unmeasurable = () if driving.is_live else LIVE_ONLY
    judged = judge_objectives(objectives, loaded.measured.tallies, unmeasurable)
    click.echo("\n".join(_lines(loaded, judged, real_s, is_live=driving.is_live, workers=workers)))
    saved = Saved() if chosen.services else driving.save(loaded, seed)  # a trace does not say how fast services were
    for line in unshrunk_lines(loaded.result, saved):
        click.echo(line)
    growths, unjudged = growths_in(loaded.samples), unjudged_in(loaded.samples)
    for line in _leak_lines(growths, unjudged):
        click.echo(line)
    failed = fails(judged, is_interrupted=loaded.is_interrupted) or bool(loaded.result.violated)
    failed |= any(each.is_leak for each in growths)
    code = 1 if failed else 130 if loaded.is_interrupted else 0
    body = _as_json(driving, profile, chosen, seed, code, workers, loaded, judged, real_s, saved, growths, unjudged)
    written = write_results(json_file, body)
    return code if code or written else 2


def _lines(loaded: LoadResult, judged: list[Judged], real_s: float, *, is_live: bool, workers: int) -> Iterator[str]:
    yield ""
    for each in judged:
        yield objective_line(each, max(len(other.objective.measure) for other in judged))
    yield ""
    yield from _table(loaded.measured)
    yield ""
    yield from broken_lines(loaded.result)
    if not loaded.result.violated:
        yield "no promise is broken"
    if loaded.is_interrupted:
        yield "interrupted; the figures are those of what there was by then"
    aside = f", {loaded.not_begun:,} could not be begun" if loaded.not_begun else ""
    counted = f"{loaded.begun:,} operations{aside}, {len(loaded.result.history.events):,} events"
    if is_live:
        by = f" by {workers} workers" if workers > 1 else ""
        yield f"{counted} in {real_s:.1f} s{by}; begun {Quantity(loaded.late_s, 's')} after they were due, at most"
    else:
        simulated_s = loaded.result.simulated_s
        ratio = f"{simulated_s / real_s:,.0f} to 1"
        memory = Quantity(float(psutil.Process().memory_info().rss), "B")
        yield f"{counted}: {simulated_s:,.0f} simulated s in {real_s:.1f} real s ({ratio}), {memory} of memory"


def objective_line(judged: Judged, width: int) -> str:
    """Return an objective, whether it is met, and the value that says so."""
    objective = judged.objective
    match judged.met:
        case Met.LIVE_ONLY:
            found = "only live: what is simulated has no processes"
        case Met.NO_SAMPLES:
            found = "NO SAMPLES"
        case Met.OTHER_UNIT:
            found = "ANOTHER UNIT: the bound has none of what is measured"
        case _:
            value = Quantity(judged.value, objective.bound.dimension)
            found = f"{'' if judged.met is Met.MET else 'MISSED  '}{value}  of {judged.samples:,} samples"
    return f"{MARKS[judged.met]} {objective.measure:{width}}  {objective!s:16}  {found}"


def _leak_lines(growths: list[Growth], unjudged: list[str]) -> Iterator[str]:
    for each in growths:
        if each.is_leak:
            grows, at_least = (Quantity(rate * HOUR_S, "B") for rate in (each.per_s, each.at_least_per_s))
            yield f"LEAK  {each.host} grows by {grows} an hour, at least by {at_least}"
    if unjudged:
        yield (
            f"no leak is looked for in the memory of {', '.join(unjudged)}: watched for less than "
            f"{Quantity(LASTS_S_MIN, 's')}, or too seldom, it does not say whether it grows (--duration)"
        )


def _table(measured: Measured) -> Iterator[str]:
    """Yield a line per measure, and one that says what is in it."""
    titles = ["samples", "min", *(f"p({each:g})" for each in PERCENTILES), "max", "lost"]
    width = max(map(len, measured.tallies), default=0)
    yield f"  {'':{width}}" + "".join(f"{title:>10}" for title in titles)
    for name, tally in measured.tallies.items():
        if is_rate(name):
            continue
        values = [tally.least, *(tally.percentile(each) for each in PERCENTILES), tally.most]
        cells = [f"{tally.count:,}", *(str(Quantity(each, tally.dimension)) for each in values), f"{tally.lost:,}"]
        yield f"  {name:{width}}" + "".join(f"{cell:>10}" for cell in cells)
    rates = {name: Quantity(tally.value_of(AVERAGE), "%") for name, tally in measured.tallies.items() if is_rate(name)}
    yield "  " + ", ".join(f"{name} {rate}" for name, rate in rates.items())


def _objective(judged: Judged) -> dict[str, object]:
    return {
        "measure": judged.objective.measure,
        "objective": str(judged.objective),
        "met": judged.met.value,
        "value": judged.value if judged.samples else None,
        "samples": judged.samples,
    }


def _measure(tally: Tally) -> dict[str, object]:
    return {
        "samples": tally.count,
        "lost": tally.lost,
        "min": tally.least,
        "max": tally.most,
        "avg": tally.total / tally.count,
        **{f"p{each:g}": tally.percentile(each) for each in PERCENTILES},
    }


def _percentiles(tally: Tally) -> dict[str, float | None]:
    """Return percentiles by name; None for what never came."""
    values = {f"p{each:g}": tally.percentile(each) for each in PERCENTILES_OVER_TIME}
    return {name: value if isfinite(value) else None for name, value in values.items()}


def _as_json(
    driving: Driven,
    profile: str,
    load: Load,
    seed: int,
    code: int,
    workers: int,
    loaded: LoadResult,
    judged: list[Judged],
    real_s: float,
    saved: Saved,
    growths: list[Growth],
    growths_unjudged: list[str],
) -> bytes:
    body = {
        **provenance("load", driving.name),
        **driving.told(),
        "profile": profile,
        "load": load,
        "seed": seed,
        "exit_code": code,
        "workers": workers,
        "known_objectives": [*driving.system.objectives],
        "objectives": [_objective(each) for each in judged],
        "measures": {name: _measure(tally) for name, tally in loaded.measured.tallies.items()},
        "windows": {
            name: [
                {"at_s": place * loaded.measured.window_s, "samples": each.count, **_percentiles(each)}
                for place, each in enumerate(windows)
                if each is not None
            ]
            for name, windows in loaded.measured.windows.items()
            if loaded.measured.tallies[name].dimension == "s"
        },
        "known_promises": [each.name for each in driving.system.all_properties()],
        "verdicts": {name: each.outcome for name, each in loaded.result.verdicts.items()},
        "violated": loaded.result.violated,
        "saved": saved.name or None,
        "growths": growths,
        "growths_unjudged": growths_unjudged,
        "begun": loaded.begun,
        "not_begun": loaded.not_begun,
        "late_s": loaded.late_s,
        "interrupted": loaded.is_interrupted,
        "lasted_s": loaded.result.simulated_s,
        "real_s": real_s,
    }
    return as_json(body)
