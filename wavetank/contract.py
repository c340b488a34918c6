"""`wavetank contract`: is everything that users and services say to each other as they have agreed?"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from simulator.conformity import Conformity
from simulator.errors import InputError
from simulator.journeys.journey import Journey
from simulator.journeys.walk import Walked, judge_walks, walks_of, worded
from simulator.load.measured import LoadResult
from simulator.pact import pacts_of
from simulator.system import load_system
from simulator.whole_file import write_whole
from wavetank.arguments import DEFAULT_SYSTEM, SEED_MAX, defect_option
from wavetank.driving import Driven, driven, target_option
from wavetank.provenance import provenance
from wavetank.results import FILE, as_json, check_writable, write_results
from wavetank.saving import Saved, broken_lines, unshrunk_lines

__all__ = ["contract"]

BRIEFLY_S = 0.5
"""So long users begin journeys: each walks one, and there are as many users as journeys."""

EPILOG = """
\b
Examples:
  wavetank contract                           the built-in platform, simulated
  wavetank contract --target target.toml      on real services (wavetank staging up)
  wavetank contract --pacts pacts/            and write Pact files for each consumer
  wavetank contract my_system:system          your own (System.conformities, contract_journeys)

\b
Users walk journeys by which every kind of message is sent, malformed ones too, while others chat.
Each message is held to its JSON Schema; what is malformed must be refused, and nobody else
affected. A kind of message that is never seen fails. Exit code 1 if anything does.
"""


@click.command(epilog=EPILOG)
@click.argument("system_name", default=DEFAULT_SYSTEM, metavar="[SYSTEM]")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat who does what when  [drawn and printed]")
@click.option(
    "--pacts",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a Pact file (V4, messages) per consumer and provider here.",
)
@defect_option
@target_option
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def contract(
    system_name: str,
    seed: int | None,
    directory: Path | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    json_file: Path | None,
) -> int:
    """Hold every message of SYSTEM (module:object), between users and services, to what they have agreed on."""
    check_writable(json_file)
    system = load_system(system_name).with_defects(defects)
    journeys = system.contract_journeys()
    if not journeys:
        raise InputError(f"{system_name} states no contract. Override System.conformities and contract_journeys.")
    for name, journey in journeys.items():
        journey.check(name, system)
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    driving = Driven.of(system_name, system, target_file, confirmed=yes_really)
    plan, walks = walks_of(journeys, len(journeys), BRIEFLY_S, seed, latency_s=driving.latency_s)
    click.echo(f"{driving.headed(seed)}\n")
    loaded = driven(driving, plan, max(each.lasts_s for each in journeys.values()))
    walked = judge_walks(journeys, walks, loaded)
    found = [*system.conformities(loaded.result.history)]
    saved = driving.save(loaded, seed)
    click.echo("\n".join(_lines(journeys, found, walked, loaded, saved)))
    code = _exit_code(found, walked, loaded)
    if directory is not None:
        _write_pacts(directory, found)
    body = {
        **provenance("contract", system_name),
        **driving.told(),
        "seed": seed,
        "exit_code": code,
        "violated": loaded.result.violated,
        "saved": saved.name or None,
        "messages": [
            {
                "provider": each.provider,
                "consumer": each.consumer,
                "name": each.name,
                "samples": each.samples,
                "complaint": each.complaint or None,
                "seldom": each.seldom or None,
                "shown": each.is_shown,
            }
            for each in found
        ],
        "journeys": {each.walk.journey: each.wrong or None for each in walked},
    }
    written = write_results(json_file, as_json(body))
    return code if code or written else 2


def _exit_code(found: Iterable[Conformity], walked: Iterable[Walked], loaded: LoadResult) -> int:
    is_kept = all(each.is_shown for each in found) and not any(each.wrong for each in walked)
    if loaded.is_interrupted:
        return 1 if loaded.result.violated else 130
    return 0 if is_kept and not loaded.result.violated else 1


def _lines(
    journeys: Mapping[str, Journey],
    found: Sequence[Conformity],
    walked: Sequence[Walked],
    loaded: LoadResult,
    saved: Saved,
) -> Iterator[str]:
    width = max((len(each.name) for each in found), default=0)
    between = ""
    for each in found:
        parties = f"{each.provider} to {each.consumer}"
        if parties != between:
            yield parties
            between = parties
        yield f"{'✓' if each.is_shown else '✗'} {each.name:{width}}  {_told(each)}"
    yield "journeys"
    for done in walked:
        told = f"{worded(done.walk)}: {done.wrong}" if done.wrong else journeys[done.walk.journey].title
        yield f"{'✗' if done.wrong else '✓'} {done.walk.journey:{max(map(len, journeys))}}  {told}"
    yield ""
    yield from broken_lines(loaded.result)
    if not loaded.result.violated:
        yield "no promise is broken: nobody else was affected"
    yield from unshrunk_lines(loaded.result, saved)
    if loaded.is_interrupted:
        yield "interrupted; that is what there was by then"


def _told(each: Conformity) -> str:
    if each.complaint:
        return f"BROKEN {each.complaint}"
    if each.samples:
        return f"{each.samples:,} conform"
    return f"not seen ({each.seldom})" if each.seldom else "NOT SEEN"


def _write_pacts(directory: Path, found: Sequence[Conformity]) -> None:
    for (consumer, provider), pact in pacts_of(found).items():
        file = directory / f"{consumer}-{provider}.json"
        write_whole(file, as_json(pact), "the pact")
        click.echo(f"wrote {file}")
