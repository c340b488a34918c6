"""`wavetank load`: many users at once, and whether objectives and promises are kept."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from simulator.errors import InputError
from simulator.live.expressible import inexpressible
from simulator.live.target import load_target
from simulator.live.validation import adapted_to
from simulator.load.arrivals import plan_of
from simulator.load.live import run_load_live
from simulator.load.measured import LIVE_ONLY, Judged, LoadResult, Measured, Met, fails, judge_objectives
from simulator.load.objective import AVERAGE
from simulator.load.profile import PROFILES, Load, profile_named
from simulator.load.quantity import Quantity
from simulator.load.sample import is_rate
from simulator.load.simulated import simulate_load
from simulator.plan import Plan
from simulator.system import System, load_system
from wavetank.arguments import SECONDS, defect_option
from wavetank.live import target_system
from wavetank.progress import Line
from wavetank.results import FILE, check_writable, write_results
from wavetank.ungrouped import ungrouped

__all__ = ["load"]

DEPLOYED_SYSTEM = "models.system:deployed"
SEED_MAX = 2**32 - 1
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
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
Latency counts from when something was due, not from when a slow system let it begin. An objective
without any sample is missed. Exit codes: 1 an objective is missed or a property violated.
"""


@click.command(epilog=EPILOG)
@click.argument("system", default=DEPLOYED_SYSTEM)
@click.option("--profile", default="steady", show_default=True, metavar="NAME|FILE", help="One of these, or TOML.")
@click.option("--users", type=click.IntRange(1, 10_000), help="How many, instead of the profile's number.")
@click.option("--duration", type=SECONDS, help="How long, instead of the profile's time (90, 2m, 1h).")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat a load  [drawn and printed]")
@defect_option
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path), help="Load the deployment described here instead."
)
@click.option("--yes-really", is_flag=True, help="The target is meant, although it is not this machine.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def load(
    system: str,
    profile: str,
    users: int | None,
    duration: float | None,
    seed: int | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    json_file: Path | None,
) -> int:
    """Let many users at once use SYSTEM (module:object), and hold what they see to objectives and promises."""
    check_writable(json_file)
    if target_file is not None and defects:
        raise InputError("--defect plants bugs in simulation. For a target with them: wavetank staging up --defect ...")
    under_test = load_system(system).with_defects(defects)
    chosen = profile_named(profile)
    chosen = msgspec.structs.replace(chosen, users=users or chosen.users, duration=duration or chosen.duration)
    chosen.check("the load")
    objectives = chosen.parsed(under_test.objectives)
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    latency_s = under_test.latencies_s[0] if target_file is None else 0.0
    plan = plan_of(chosen, under_test.mix, under_test.arrival, seed, latency_s=latency_s)
    click.echo(f"system  {system}" + (f"  defects {', '.join(defects)}" if defects else ""))
    click.echo(f"load    {profile}: {chosen}" + (f", on {target_file}" if target_file is not None else ""))
    click.echo(f"seed    {seed}")
    if target_file is not None and chosen.services:
        click.echo("services are as fast as the target's: those of the profile are for simulations")
    with Progress(chosen.duration_s) as progress:
        if target_file is None:
            simulated = under_test.with_service_models(chosen.services)
            loaded = simulate_load(simulated, plan, chosen.duration_s, simulated.all_properties(), progress.stepped)
        else:
            loaded = _load_live(
                under_test, plan, chosen.duration_s, target_file, progress.stepped, confirmed=yes_really
            )
    unmeasurable = LIVE_ONLY if target_file is None else ()
    judged = judge_objectives(objectives, loaded.measured.tallies, unmeasurable)
    click.echo("\n".join(_lines(loaded, judged, progress.took_s, is_live=target_file is not None)))
    failed = fails(judged, is_interrupted=loaded.is_interrupted) or bool(loaded.result.violated)
    written = write_results(json_file, _as_json(system, profile, chosen, seed, loaded, judged, progress.took_s))
    if failed:
        return 1
    return 130 if loaded.is_interrupted else 0 if written else 2


class Progress(Line):
    """How far a load is."""

    def __init__(self, duration_s: float) -> None:
        super().__init__()
        self._duration_s = duration_s
        self._begun_s = time.perf_counter()

    @property
    def took_s(self) -> float:
        """The real seconds since it began."""
        return time.perf_counter() - self._begun_s

    def stepped(self, steps: int, at_s: float) -> None:
        """Note one more step, in seconds since the load began."""
        left_s = (self._duration_s - at_s) * self.took_s / at_s if at_s else 0.0
        self.show(f"{at_s:,.0f} of {self._duration_s:,.0f} s, {steps:,} operations, {left_s:,.0f} s left")


def _load_live(
    system: System,
    plan: Plan,
    duration_s: float,
    target_file: Path,
    on_progress: Callable[[int, float], None],
    *,
    confirmed: bool,
) -> LoadResult:
    target = load_target(target_file)
    live = adapted_to(target, target_system(system, target, confirmed=confirmed))
    problems = inexpressible(plan, target, 1.0, live.unexpressed)
    if problems:
        raise InputError(f"the load cannot be put on {target_file}: {'; '.join(problems)}.")
    with ungrouped():
        return run_load_live(live, plan, duration_s, target, live.all_properties(), on_progress)


def _lines(loaded: LoadResult, judged: list[Judged], real_s: float, *, is_live: bool) -> Iterator[str]:
    yield ""
    for each in judged:
        yield _objective_line(each, max(len(other.objective.measure) for other in judged))
    yield ""
    yield from _table(loaded.measured)
    yield ""
    for name, verdict in loaded.result.verdicts.items():
        if verdict.violation is not None:
            yield f"VIOLATED  {name}: {verdict.violation.evidence}"
    if not loaded.result.violated:
        yield "no promise is broken"
    if loaded.is_interrupted:
        yield "interrupted; the figures are those of what there was by then"
    aside = f", {loaded.not_begun:,} could not be begun" if loaded.not_begun else ""
    counted = f"{loaded.begun:,} operations{aside}, {len(loaded.result.history.events):,} events"
    if is_live:
        yield f"{counted} in {real_s:.1f} s; begun {Quantity(loaded.late_s, 's')} after they were due, at most"
    else:
        simulated_s = loaded.result.simulated_s
        ratio = f"{simulated_s / real_s:,.0f} to 1"
        yield f"{counted}: {simulated_s:,.0f} simulated s in {real_s:.1f} real s ({ratio})"


def _objective_line(judged: Judged, width: int) -> str:
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


def _as_json(
    system: str, profile: str, load: Load, seed: int, loaded: LoadResult, judged: list[Judged], real_s: float
) -> bytes:
    body = {
        "system": system,
        "profile": profile,
        "load": load,
        "seed": seed,
        "objectives": [
            {
                "measure": each.objective.measure,
                "objective": str(each.objective),
                "met": each.met.value,
                "value": each.value if each.samples else None,
                "samples": each.samples,
            }
            for each in judged
        ],
        "measures": {
            name: {
                "samples": tally.count,
                "lost": tally.lost,
                "min": tally.least,
                "max": tally.most,
                "avg": tally.total / tally.count,
                **{f"p{each:g}": tally.percentile(each) for each in PERCENTILES},
            }
            for name, tally in loaded.measured.tallies.items()
        },
        "violated": loaded.result.violated,
        "begun": loaded.begun,
        "not_begun": loaded.not_begun,
        "late_s": loaded.late_s,
        "interrupted": loaded.is_interrupted,
        "lasted_s": loaded.result.simulated_s,
        "real_s": real_s,
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
