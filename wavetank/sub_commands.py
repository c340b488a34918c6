"""The sub-commands of `wavetank`, and what every one of them does with errors and interrupts."""

import importlib
import os
import sys
import traceback
from typing import NoReturn

import click

from simulator.errors import WavetankError
from simulator.redaction import redacted
from wavetank.command import complain, loading

__all__ = ["command", "run"]

PLACES = {
    "check": "check:check",
    "campaigns": "campaigns:campaigns",
    "replay": "replay:replay",
    "shrink": "shrink:shrink_saved",
    "explain": "explain:explain",
    "regress": "regress:regress",
    "profiles": "profiles:profiles",
    "defects": "defects:defects",
    "serve": "serve:serve",
    "serve-llm": "serve_llm:serve_llm",
    "staging": "staging:staging",
    "proxy": "proxy:proxy",
    "target": "target:target",
    "heal": "heal:heal",
    "fidelity": "fidelity:fidelity",
    "observe": "observe:observe",
    "import": "import_log:import_log",
    "load": "load:load",
    "calibrate": "calibrate:calibrate_target",
    "chaos": "chaos:chaos",
    "e2e": "e2e:e2e",
    "gate": "gate:gate",
    "pipeline": "pipeline:pipeline",
    "report": "report_page:report_page",
    "contract": "contract:contract",
    "matrix": "matrix:matrix",
    "coverage": "coverage:coverage",
}
"""In which module of this package each command is, and under what name."""

EPILOG = """
\b
Exit codes, the same for every command:
  0    all properties hold, or what was asked for is done
  1    a property is violated (also if interrupted after that), or a "sometimes" was never reached
  2    could not run, or a property could not be judged in any run
  3    divergence: two runs of one plan differ, or live ones from the simulation; it says where
  4    a gate blocks
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
  wavetank target doctor                      is the deployment there, and what can be done to it?
  wavetank observe --target target.toml       judge a deployment by its logs, driving nothing
  wavetank import seen.jsonl                  what users did there, in simulation
  wavetank load --profile peak                many users at once, held to objectives
  wavetank calibrate --target target.toml     how fast its real services are, for simulated loads
  wavetank contract                           is every message as was agreed?
  wavetank matrix                             every component by every kind of test
  wavetank pipeline run                       all stages, as pipeline.yaml says
  wavetank report load.json                   a result as one HTML file
  wavetank gate pre                           may it be deployed? by evidence
  wavetank coverage --critical-only           what has a search not reached?
  wavetank e2e                                synthetic users walk whole journeys
  wavetank chaos --all                        faults while users use it: is it steady again?
"""


class Loaded(click.Group):
    """A group whose commands are imported when they are asked for: what one of them needs, the others do without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names, in the order in which a newcomer meets them."""
        return list(PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None."""
        if cmd_name not in PLACES:
            return None
        module, _, name = PLACES[cmd_name].partition(":")
        with loading():
            found: click.Command = getattr(importlib.import_module(f"wavetank.{module}"), name)
        return found


@click.group(
    cls=Loaded, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="wavetank")
def command() -> None:
    """Find the storm that breaks a multi-user platform, shrink it to its causes, and replay it for real."""


def run() -> NoReturn:
    """Run the command. One clear sentence and exit code 2 for whatever is the user's or the environment's fault."""
    try:
        code = command(standalone_mode=False)
    except WavetankError as error:
        complain(redacted(str(error)), error.exit_code)
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
        complain(redacted(f"{error}. Nothing that was saved before is lost."), 2)
    except BaseException:
        # A bug of ours, or of the system's own code outside a run. Python's own exit code would be 1, which
        # means here that a property is violated.
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        complain("this should not have happened; the lines above say where.", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _drop_output() -> None:
    """Give up what standard output did not take: Python would try it again at exit, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
