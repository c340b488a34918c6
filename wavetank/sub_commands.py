"""The sub-commands of `wavetank`, and what every one of them does with errors and interrupts."""

import os
import sys
import traceback
from typing import NoReturn

import click

from simulator.errors import WavetankError
from wavetank.campaigns import campaigns
from wavetank.check import check
from wavetank.command import complain
from wavetank.defects import defects
from wavetank.explain import explain
from wavetank.heal import heal
from wavetank.import_log import import_log
from wavetank.observe import observe
from wavetank.profiles import profiles
from wavetank.regress import regress
from wavetank.replay import replay
from wavetank.serve import serve
from wavetank.serve_llm import serve_llm
from wavetank.shrink import shrink_saved
from wavetank.staging import staging
from wavetank.target import target

__all__ = ["command", "run"]

EPILOG = """
\b
Exit codes, the same for every command:
  0    all properties hold, or what was asked for is done
  1    a property is violated (also if interrupted after that), or a "sometimes" was never reached
  2    could not run, or a property could not be judged in any run
  3    divergence: two runs of one plan differ; it says where, and the likely cause
  130  interrupted

\b
Examples:
  wavetank check                              the built-in chat platform
  wavetank check --defect cache-without-user  the same with a planted bug
  wavetank check my_system:system --runs 500  your own system
  wavetank check --profile pr                 in CI: the same cases every time
  wavetank campaigns                          long ones that are kept, also if they were killed
  wavetank replay isolation-3f9a2c01          a saved failure, in simulation
  wavetank shrink isolation-3f9a2c01          smaller still, if time ran out
  wavetank explain isolation-3f9a2c01         which of its steps makes it likely
  wavetank regress                            those in regressions/: which are fixed?
  wavetank observe --target target.toml       judge a deployment by its logs, driving nothing
  wavetank import seen.jsonl                  what users did there, in simulation
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="wavetank")
def command() -> None:
    """Find the storm that breaks a multi-user platform, shrink it to its causes, and replay it for real."""


for sub_command in (
    check,
    campaigns,
    replay,
    shrink_saved,
    explain,
    regress,
    profiles,
    defects,
    serve,
    serve_llm,
    staging,
    target,
    heal,
    observe,
    import_log,
):
    command.add_command(sub_command)


def run() -> NoReturn:
    """Run the command. One clear sentence and exit code 2 for whatever is the user's or the environment's fault."""
    try:
        code = command(standalone_mode=False)
    except WavetankError as error:
        complain(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted.", 130)
    except SystemExit:
        # Click ends so when whoever read our output has gone, with exit code 1, which means something else here.
        sys.exit(2)
    except OSError as error:
        _drop_output()
        complain(f"{error}. Nothing that was saved before is lost.", 2)
    except BaseException:
        # A bug of ours, or of the system's own code outside a run. Python's own exit code would be 1, which
        # means here that a property is violated.
        traceback.print_exc()
        complain("this should not have happened; the lines above say where.", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _drop_output() -> None:
    """Give up what standard output did not take: Python would try it again at exit, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
