"""`wavetank regress`: replay the failures that were found before, and say what has become of each."""

from pathlib import Path

import click

from simulator.regression import CORPUS, traces_in
from simulator.system import System, load_system
from simulator.trace import Trace
from wavetank.arguments import defect_option
from wavetank.corpus import replay_corpus, write_corpus
from wavetank.results import check_writable, result_options

__all__ = ["regress"]

EPILOG = f"""
\b
What has become of a failure:
  FIXED           its steps break no promise; whether its own promise could be judged is said
  STILL FAILING   they break the same promise at the same site, in the same history or in another
                  (then the system has changed since, but not what is wrong with it)
  BREAKS ANOTHER  they break another promise, or the same one at another site
  DIVERGED        two replays of it differ: something is not deterministic
  DOES NOT FIT    its operations, hosts or promise are gone, or it could not be judged
  DAMAGED         the file cannot be read, or is no trace

\b
Exit codes: 0 all are fixed, 1 one fails or breaks another, 3 one diverged, 2 one is damaged or
does not fit. The others are replayed all the same.

\b
Examples:
  cp .wavetank/failures/ID/trace.json {CORPUS}/ID.json  keep what wavetank check has saved
  wavetank regress                                         everything in {CORPUS}/
  wavetank regress tests/traces one.json --junit out.xml   other places
  wavetank check --profile pr                              the corpus, then a search
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--system", metavar="SYSTEM", help="Replay on this one (module:object)  [that of each trace]")
@defect_option
@result_options
def regress(
    paths: tuple[Path, ...],
    system: str | None,
    defects: tuple[str, ...],
    json_file: Path | None,
    junit_file: Path | None,
) -> int:
    """Replay the traces in PATH, files or directories, on the system as it is now.

    Without PATH: those in regressions/. Planted bugs that a trace was found with are told, and are not switched on,
    except by --defect.
    """
    check_writable(json_file, junit_file)
    named = load_system(system).with_defects(defects) if system else None

    def system_of(trace: Trace) -> System:
        return named or load_system(trace.system).with_defects(defects)

    corpus = replay_corpus(traces_in(paths or (CORPUS,)), system_of)
    return write_corpus(corpus, json_file, junit_file)
