"""`wavetank report`: a result as one HTML file, for people."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from simulator.errors import InputError
from simulator.simulated_run import simulate
from simulator.system import load_system
from simulator.trace import Trace, event_record, find_trace, load_trace
from simulator.whole_file import write_whole
from wavetank.pages.rendering import COMMANDS, page_of_result, page_of_trace
from wavetank.results import FILE

__all__ = ["report_page"]

NO_SOURCE = (
    f"is no trace that wavetank check saved, and no result (--json) of {', '.join(COMMANDS)}. Name one of these."
)

EPILOG = f"""
\b
Examples:
  wavetank report isolation-3f9a2c01                a saved failure: its space-time diagram
  wavetank report load.json -o load.html            what wavetank load --json wrote
  wavetank report .wavetank/evidence/matrix.json

\b
There are pages for failures, and for the results (--json) of these commands:
{", ".join(COMMANDS)}.
A page works offline, from the disk, in light and dark; nothing in it is loaded from elsewhere.
"""


@click.command("report", epilog=EPILOG)
@click.argument("source", metavar="ID|FILE")
@click.option("-o", "--output", type=FILE, help="Where to write it  [beside the file, or ID.html]")
def report_page(source: str, output: Path | None) -> int:
    """Write what is known of a failure, or the result of a command, as one self-contained HTML file."""
    path = Path(source)
    result = _result_in(path) if path.is_file() else None
    if result is not None:
        page, beside = page_of_result(result), path.with_suffix(".html")
    else:
        trace = _with_events(load_trace(find_trace(source), NO_SOURCE))
        page, beside = page_of_trace(trace), Path(f"{trace.id}.html")
    file = output or beside
    write_whole(file, page.encode(), "the page")
    click.echo(f"wrote {file}")
    return 0


def _with_events(trace: Trace) -> Trace:
    """Return a trace with its history: one that was kept without is run again."""
    if trace.events:
        return trace
    system = load_system(trace.system).with_defects(trace.defects)
    events = simulate(system, trace.plan, ()).history.events
    return msgspec.structs.replace(trace, events=tuple(map(event_record, events)))


def _result_in(path: Path) -> Mapping[str, object] | None:
    """Return what a command has written, or None for another file, a trace perhaps."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"the result cannot be read: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return content if isinstance(content, dict) and "command" in content else None
