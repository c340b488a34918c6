"""How the benchmarks' commands run: whatever is the user's or the environment's fault is one sentence, exit code 2."""

import sys
from typing import NoReturn

import click

from simulator.errors import WavetankError

__all__ = ["run_command"]


def run_command(command: click.Command, name: str) -> NoReturn:
    """Run a command under the name that users call it by, and exit with the number that it returns, or 0."""
    try:
        sys.exit(command(prog_name=name, standalone_mode=False))
    except WavetankError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("bench: interrupted.", file=sys.stderr)
        sys.exit(130)
