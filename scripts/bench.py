"""`scripts/bench`: measure the simulation, and print one JSON line per figure."""

import os

# With Hypothesis's plugin Trio sorts every batch of tasks; the reference is to be Trio as it ships. A world is the
# same either way.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

import attrs
import click
import msgspec

from scripts.bench_command import run_command
from scripts.bench_lines import Effort
from scripts.bench_measurements import MEASUREMENTS, SIMLOOP_VARIABLE
from simulator.errors import InputError

EPILOG = f"""
\b
Each line: name, value, unit, reference, ratio, aim, note.
  reference  what the note says, mostly the same work without the simulation, measured in turns with it
  ratio      the median of value / reference over the pairs; on a shared machine it is what counts
  aim        what the note says it is about: the value or the ratio

\b
{SIMLOOP_VARIABLE}=/path/to/python3.12 names an interpreter that has simloop (a simulator for
asyncio, `pip install simloop`), and adds it as a reference to the TCP echo.

\b
Examples:
  scripts/bench                              everything, about three minutes
  scripts/bench switches echo --repeat 15    two of them, with more repetitions
  scripts/bench --scale 0.1                  a quick look: a tenth of the work
  scripts/bench | jq -c '[.name, .value, .unit, .ratio]'
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="Name the measurements and stop.")
@click.option("--repeat", type=click.IntRange(min=1), help="How many samples of each (not of world).  [3 or 5]")
@click.option(
    "--scale",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=1.0,
    help="Do only this fraction of the work.",
)
def bench(names: tuple[str, ...], listing: bool, repeat: int | None, scale: float) -> None:
    """Measure NAME..., or everything, against references that are measured in turns with it."""
    if listing:
        for name, measure in MEASUREMENTS.items():
            print(f"{name:10} {measure.__doc__}")
        return
    for name in names:
        if name not in MEASUREMENTS:
            raise InputError(f"no measurement named {name!r}. Known: {', '.join(MEASUREMENTS)}.")
    effort = Effort(repeat=repeat, scale=scale)
    for name in names or MEASUREMENTS:
        for line in MEASUREMENTS[name](effort):
            print(msgspec.json.encode(attrs.asdict(line)).decode(), flush=True)


if __name__ == "__main__":
    run_command(bench, "scripts/bench")
