"""`wavetank staging`: real stores, an LLM's stand-in and the served platform on loopback, ready for live replays."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

from models.system import system as chat
from simulator.errors import EnvironmentFailedError, InputError
from simulator.history import Value
from simulator.live.means.staging import Control
from simulator.live.target import ByStaging, Target, load_target
from wavetank.arguments import defect_option
from wavetank.llm_endpoint import check_llm
from wavetank.staged import Staged

__all__ = ["checked_release", "staging"]

TARGET = Path("target.toml")
LOG = Path(".wavetank") / "staging.log"
UP_WITHIN_S = 60.0
DOWN_WITHIN_S = 20.0

EPILOG = """
\b
Examples:
  wavetank staging up                                    the platform as it should be
  wavetank staging up --defect cache-without-user        with a planted bug
  wavetank staging up --next-release next/bin/python     for: wavetank chaos rollback --target ...
  wavetank replay isolation-3f9a2c01 --target target.toml
  wavetank staging down
"""


@click.group(epilog=EPILOG)
def staging() -> None:
    """Real services on this machine, for replaying failures on."""


@staging.command()
@defect_option
@click.option("--toxiproxy", is_flag=True, help="Have target.toml strike links through the API of Toxiproxy.")
@click.option(
    "--next-release",
    default="",
    metavar="PYTHON",
    help="The interpreter of an environment with the platform's next release: it can be rolled out and back.",
)
@click.option("--llm", default="", metavar="URL", help="A real language model, with OPENAI_API_KEY; else a stand-in.")
@click.option("--model", envvar="OPENAI_MODEL", show_envvar=True, default="", help="Which of its models to ask for.")
def up(defects: tuple[str, ...], toxiproxy: bool, next_release: str, llm: str, model: str) -> int:
    """Start the stores, the LLM stand-in and the platform, and write target.toml."""
    chat.with_defects(defects)
    next_release = checked_release(next_release) if next_release else ""
    if llm:
        check_llm(llm)
    staged = Staged(tuple(sorted(set(defects))), toxiproxy, next_release, llm, model if llm else "")
    if TARGET.exists() and _is_up(staged):
        return 0
    _check_writable()
    what = f"asked at {llm}" if llm else "a stand-in"
    click.echo(
        f"starting Redis, PostgreSQL, ClickHouse, two gateways and the agents; the language model is {what} ...",
        err=True,
    )
    with LOG.open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "wavetank.supervisor", str(TARGET), msgspec.json.encode(staged).decode()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_up(supervisor)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    _print_status(load_target(TARGET))
    return 0


@staging.command()
def down() -> int:
    """Stop everything that `up` started."""
    if not TARGET.exists():
        click.echo("no staging is up here (no target.toml)")
        return 0
    target = load_target(TARGET)
    try:
        control = _control(target)
    except EnvironmentFailedError:
        _forget(target)
        click.echo("the staging had ended already; removed its target.toml")
        return 0
    control.order("stop")
    control.close()
    deadline_s = time.monotonic() + DOWN_WITHIN_S
    while TARGET.exists():
        if time.monotonic() > deadline_s:
            raise EnvironmentFailedError(f"the staging did not end within {DOWN_WITHIN_S:g} s. See {LOG}.")
        time.sleep(0.05)
    click.echo("staging is down")
    return 0


@staging.command()
def status() -> int:
    """Say what runs, where. Exit code 2 when no staging is up."""
    if not TARGET.exists():
        click.echo("no staging is up here (no target.toml). Start one with wavetank staging up.")
        return 2
    _print_status(load_target(TARGET))
    return 0


def checked_release(interpreter: str) -> str:
    """Return the path of an interpreter that has a release of the platform. Raises InputError."""
    found = shutil.which(interpreter)
    if found is None:
        raise InputError(f"--next-release {interpreter} is no program. Name the python of a virtual environment.")
    path = str(Path(found).absolute())  # not resolved: the link is what makes it that of a virtual environment
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [path, "-m", "wavetank", "--version"]
    try:
        asked = subprocess.run(
            command,
            cwd=tempfile.gettempdir(),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=UP_WITHIN_S,
        )
        said = (asked.stdout.strip() or asked.stderr.strip() or "it says nothing").splitlines()[-1]
        is_release = not asked.returncode and "wavetank" in said
    except (OSError, subprocess.TimeoutExpired) as error:
        said, is_release = str(error), False
    if not is_release:
        raise InputError(f"--next-release {interpreter} runs no wavetank: {said}. Install the next release there.")
    click.echo(f"next release: {said}", err=True)
    return path


def _check_writable() -> None:
    """Find out before anything starts that neither its log nor target.toml could be written."""
    try:
        LOG.parent.mkdir(exist_ok=True)
        LOG.touch()
        tempfile.TemporaryFile(dir=TARGET.parent).close()
    except OSError as error:
        raise EnvironmentFailedError(
            f"a staging cannot be described here: {error}. Run it in a directory that can be written."
        ) from error


def _control(target: Target) -> Control:
    staging = next((each for each in target.means if isinstance(each, ByStaging)), None)
    if staging is None:
        raise InputError(f'{TARGET} describes no staging of wavetank\'s: none of its [[means]] is by "staging".')
    return Control(staging.address, staging.key.read())


def _forget(target: Target) -> None:
    """Remove what a staging that was killed has left here."""
    TARGET.unlink()
    for each in target.means:
        if isinstance(each, ByStaging) and each.key.file is not None:
            each.key.file.unlink(missing_ok=True)


def _print_status(target: Target) -> Staged:
    """Say what runs, and return what it is made of."""
    control = _control(target)
    answer = control.order("status")
    control.close()
    states = answer["up"]
    assert isinstance(states, dict)
    for name, is_up in states.items():
        address = target.hosts[name].address or "listens nowhere"
        click.echo(f"{name:12} {address:22} {_word(is_up)}")
    planted = f" with {', '.join(target.defects)}" if target.defects else ""
    click.echo(f"staging is up{planted}; target.toml describes it")
    return msgspec.convert(answer["staged"], Staged)


def _word(is_up: Value) -> str:
    return "up" if is_up else "down"


def _is_up(staged: Staged) -> bool:
    """Whether what is asked for is up already; refuse if something else is. What has ended is forgotten."""
    target = load_target(TARGET)
    try:
        there = _print_status(target)
    except EnvironmentFailedError:
        _forget(target)
        return False
    if there != staged:
        raise InputError(
            f"a staging is up that was asked for with other options: {there}. Run wavetank staging down first."
        )
    return True


def _wait_up(supervisor: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + UP_WITHIN_S
    while not TARGET.exists():
        if supervisor.poll() is not None:
            raise EnvironmentFailedError(
                LOG.read_text(errors="replace").strip() or f"the staging ended at once; see {LOG}."
            )
        if time.monotonic() > deadline_s:
            raise EnvironmentFailedError(f"the staging did not come up within {UP_WITHIN_S:g} s. See {LOG}.")
        time.sleep(0.05)
