"""`wavetank profiles`: the named sets of options of `wavetank check`."""

import json
from pathlib import Path

import click
import tomli_w

from wavetank.check import check
from wavetank.profile import PURPOSES, config_option, in_full, load_profiles, schema_of

__all__ = ["profiles"]

EPILOG = """
\b
A file of profiles, wavetank.toml in the working directory:
  system = "my_system:system"    # for every profile
  [profiles.pr]                  # changes a profile that is built in
  runs = 1000
  [profiles.smoke]               # adds one
  max_time = "30s"

\b
A key is an option of wavetank check: --max-time is max_time. What can be given several times is a
list in the plural: defects, properties. Paths start from the working directory. The command line
wins over the profile, the profile over the top of the file, and that over the defaults.

\b
Examples:
  wavetank check --profile smoke
  wavetank check --profile pr --runs 50
  wavetank profiles --schema > wavetank.schema.json   for editors: complete and check the file
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file instead.")
def profiles(config: Path | None, schema: bool) -> int:
    """List the profiles, those of wavetank.toml too, with every value that they set or leave as it is."""
    if schema:
        click.echo(json.dumps(schema_of(check), indent=2))
        return 0
    for name, values in load_profiles(check, config).items():
        purpose = f"  # {PURPOSES[name]}" if name in PURPOSES else ""
        table, _, rest = tomli_w.dumps({"profiles": {name: in_full(check, values)}}).partition("\n")
        click.echo(f"{table}{purpose}\n{rest}")
    return 0
