"""`wavetank defects`: the planted bugs of a system."""

import click

from simulator.system import load_system
from wavetank.arguments import DEFAULT_SYSTEM

__all__ = ["defects"]


@click.command(epilog="\b\nExamples:\n  wavetank defects\n  wavetank check --defect ack-before-store")
@click.argument("system", default=DEFAULT_SYSTEM)
def defects(system: str) -> int:
    """List the planted bugs of SYSTEM: the name to give to --defect, then what it breaks."""
    declared = load_system(system).defects
    width = max((len(name) for name in declared), default=0)
    for name, breaks in declared.items():
        click.echo(f"{name:{width}}  {breaks}")
    if not declared:
        click.echo(f"{system} declares no defects", err=True)
    return 0
