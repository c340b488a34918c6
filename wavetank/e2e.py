"""`wavetank e2e`: synthetic users who walk whole journeys for a while, and whether each came to its end."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from simulator.errors import InputError, known_names
from simulator.journeys.journey import Journey, journeys_in, read_journey
from simulator.journeys.walk import Walked, judge_walks, walks_of, worded
from simulator.load.measured import LoadResult
from simulator.system import System, load_system
from wavetank.arguments import DEPLOYED_SYSTEM, SECONDS, SEED_MAX, defect_option
from wavetank.driving import Driven, driven, target_option
from wavetank.provenance import provenance
from wavetank.results import FILE, as_json, check_writable, write_results
from wavetank.saving import Saved, broken_lines, unshrunk_lines

__all__ = ["e2e"]

WRONG_SHOWN_MAX = 3

EPILOG = """
\b
Examples:
  wavetank e2e                                     every journey of the built-in platform
  wavetank e2e first-chat reconnect --users 20     two of them
  wavetank e2e --duration 30m --target target.toml on real services (wavetank staging up)
  wavetank e2e my.toml --system my_system:system   your own, on your own system

\b
A journey of your own:
  title = "A first question"
  [[legs]]
  operation = "connect"
  pause = "1s"                          # until the next leg
  [[legs]]
  operation = "ask"
  arguments = {question = "how was visit {number}?", thread = 1}
  pause = "3s"
  expect = "ok"                         # else "refused" or "any"; result = what it must return
  [[legs]]
  operation = "leave"                   # so that the next journey of the same user can begin
  arguments = {clean = true}

\b
Exit codes: 1 a journey did not come to its end as it should, or none of its kind was walked, or a
property is violated.
"""


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[JOURNEY|FILE]...")
@click.option("--system", "system_name", default=DEPLOYED_SYSTEM, show_default=True, help="module:object")
@click.option("--users", type=click.IntRange(1, 10_000), default=8, show_default=True, help="How many at once.")
@click.option("--duration", type=SECONDS, default="1m", show_default=True, help="For how long they begin journeys.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat who walks what when  [drawn and printed]")
@defect_option
@target_option
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def e2e(
    names: tuple[str, ...],
    system_name: str,
    users: int,
    duration: float,
    seed: int | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    json_file: Path | None,
) -> int:
    """Let synthetic users walk JOURNEYs, or all that SYSTEM comes with, from end to end."""
    check_writable(json_file)
    system = load_system(system_name).with_defects(defects)
    journeys = _chosen(system, names)
    for name, journey in journeys.items():
        journey.check(name, system)
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    driving = Driven.of(system_name, system, target_file, confirmed=yes_really)
    plan, walks = walks_of(journeys, users, duration, seed, latency_s=driving.latency_s)
    click.echo(driving.headed(seed))
    click.echo(f"users   {users}, for {duration:g} s, {len(walks)} journeys\n")
    loaded = driven(driving, plan, duration)
    walked = judge_walks(journeys, walks, loaded)
    saved = driving.save(loaded, seed)
    click.echo("\n".join(_lines(journeys, walked, loaded, saved)))
    code = _exit_code(journeys, walked, loaded)
    body = {
        **provenance("e2e", system_name),
        **driving.told(),
        "seed": seed,
        "users": users,
        "duration_s": duration,
        "exit_code": code,
        "interrupted": loaded.is_interrupted,
        "violated": loaded.result.violated,
        "saved": saved.name or None,
        "known_journeys": [*_known(system)],
        "journeys": {name: _as_json(name, walked) for name in journeys},
    }
    written = write_results(json_file, as_json(body))
    return code if code or written else 2


def _known(system: System) -> dict[str, Journey]:
    return journeys_in(system.journeys) if system.journeys is not None else {}


def _chosen(system: System, names: Sequence[str]) -> dict[str, Journey]:
    known = _known(system)
    if not names and not known:
        raise InputError("the system comes with no journeys. Name a TOML file, or set System.journeys.")
    chosen: dict[str, Journey] = {} if names else known
    for name in names:
        path = Path(name)
        if name in known:
            chosen[name] = known[name]
        elif path.suffix == ".toml":
            chosen[path.stem] = read_journey(path)
        else:
            raise InputError(f"no journey named {name!r}, and no file of one (.toml). {known_names(known, meant=name)}")
    return chosen


def _exit_code(journeys: Mapping[str, Journey], walked: Sequence[Walked], loaded: LoadResult) -> int:
    unwalked = journeys.keys() - {each.walk.journey for each in walked}
    if any(each.wrong for each in walked) or loaded.result.violated:
        return 1
    if loaded.is_interrupted:
        return 130
    return 1 if unwalked else 0


def _lines(
    journeys: Mapping[str, Journey], walked: Sequence[Walked], loaded: LoadResult, saved: Saved
) -> Iterator[str]:
    width = max(map(len, journeys))
    for name, journey in journeys.items():
        mine = [each for each in walked if each.walk.journey == name]
        wrong = [each for each in mine if each.wrong]
        mark = "✗" if wrong or not mine else "✓"
        told = f"{len(mine) - len(wrong)} of {len(mine)}" if mine else "NOT WALKED"
        yield f"{mark} {name:{width}}  {told:>10}  {journey.title}"
        for each in wrong[:WRONG_SHOWN_MAX]:
            yield f"    {worded(each.walk)}: {each.wrong}"
        if len(wrong) > WRONG_SHOWN_MAX:
            yield f"    and {len(wrong) - WRONG_SHOWN_MAX} more"
    yield ""
    yield from broken_lines(loaded.result)
    if not loaded.result.violated:
        yield "no promise is broken"
    yield from unshrunk_lines(loaded.result, saved)
    if loaded.is_interrupted:
        yield "interrupted; journeys that were under way do not count"


def _as_json(name: str, walked: Sequence[Walked]) -> dict[str, object]:
    mine = [each for each in walked if each.walk.journey == name]
    return {
        "walked": len(mine),
        "done": sum(not each.wrong for each in mine),
        "wrong": [{"who": worded(each.walk), "what": each.wrong} for each in mine if each.wrong],
    }
