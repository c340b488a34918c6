"""`wavetank fidelity`: where simulated services were seen to differ from real ones."""

from pathlib import Path

import click
import msgspec

from simulator.fidelity import LEDGER, load_ledger
from wavetank.results import FILE, check_writable, write_results

__all__ = ["fidelity"]

EPILOG = """
\b
A live replay that diverges from the simulation is noted here, and every case of the
conformance suite (scripts/test tests/conformance) in which a simulated service and the real one
differ. A case that agrees again is taken out.

\b
Examples:
  wavetank fidelity
  wavetank fidelity --json fidelity.json     for machines

\b
Exit codes: 0 nothing is known to differ, 1 something is.
"""


@click.command(epilog=EPILOG)
@click.option("--json", "json_file", type=FILE, help="Write it as JSON.")
def fidelity(json_file: Path | None) -> int:
    """Print what is known to differ between simulated and real services, per service, and since when."""
    check_writable(json_file)
    ledger = load_ledger()
    if not ledger.services:
        click.echo(f"nothing was compared here yet: there is no {LEDGER}")
    for name, service in sorted(ledger.services.items()):
        compared = f"{service.agreed} cases agreed on {service.compared_on}" if service.agreed else "no cases compared"
        count = len(service.differences)
        click.echo(f"{name:12} {compared}, {count or 'no'} difference{'' if count == 1 else 's'} known")
        for each in service.differences.values():
            seen = f"since {each.since}" + (f", {each.times} times, last {each.last}" if each.times > 1 else "")
            click.echo(f"  {each.what}  ({seen})\n    simulated: {each.expected}\n    real:      {each.real}")
    exit_code = 1 if any(service.differences for service in ledger.services.values()) else 0
    written = write_results(json_file, msgspec.json.format(msgspec.json.encode(ledger), indent=2) + b"\n")
    return exit_code if written else 2
