"""`wavetank target`: whether the description of a live deployment is good, and whether what it describes is there."""

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import trio

from simulator.errors import EnvironmentFailedError, InputError, WavetankError
from simulator.fault import FAULT_KINDS, Fault
from simulator.live.deployment import all_means
from simulator.live.expressible import hindrances
from simulator.live.logs import opened_log
from simulator.live.metrics import read_metrics
from simulator.live.names import look_up
from simulator.live.target import TLS, HostTarget, Target, load_target, target_schema
from simulator.live.tls import greet
from simulator.live.validation import adapted_to, problems_of
from simulator.redaction import redacted
from simulator.system import System, load_system
from wavetank.arguments import DEFAULT_SYSTEM
from wavetank.results import FILE, check_writable, write_results

__all__ = ["target"]

CONNECT_WITHIN_S = 5.0

EPILOG = """
\b
A small target.toml, for a platform in containers of this machine:
  [hosts.gateway-a]
  address = "127.0.0.1:8000"
  log_command = ["docker", "logs", "--follow", "--tail", "0", "gateway"]
  [hosts.redis]
  address = "127.0.0.1:6379"
  [[means]]
  by = "command"
  action = "crash"
  at = "redis"
  do = ["docker", "kill", "redis"]
  undo = ["docker", "start", "redis"]

\b
Examples:
  wavetank target validate target.toml            touches nothing
  wavetank target doctor target.toml              connects to everything that it names
  wavetank target schema > target.schema.json     for editors: complete and check the file
"""


@click.group(epilog=EPILOG)
def target() -> None:
    """Check the description of a live deployment (target.toml)."""


system_option = click.option("--system", "system_name", default=DEFAULT_SYSTEM, show_default=True, help="Of what.")
file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path), default=Path("target.toml"))


@target.command()
@file_argument
@system_option
def validate(file: Path, system_name: str) -> int:
    """Say what is wrong with FILE [target.toml], or which faults can be done with it. Touches nothing."""
    described, system = load_target(file), load_system(system_name)
    problems = list(problems_of(described, system))
    for problem in problems:
        click.echo(f"wavetank: {file}: {problem}", err=True)
    described.check_allowed(confirmed=True)
    if problems:
        return 2
    adapted_to(described, system)
    for line in _faults(described, system):
        click.echo(line)
    click.echo(f"{file} is a good description of a target of {system_name}")
    return 0


@target.command()
@file_argument
@system_option
@click.option("--yes-really", is_flag=True, help="The target is meant, although it is not this machine.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def doctor(file: Path, system_name: str, yes_really: bool, json_file: Path | None) -> int:
    """Look whether everything that FILE [target.toml] names is there. Changes nothing."""
    check_writable(json_file)
    described, system = load_target(file), load_system(system_name)
    problems = list(problems_of(described, system))
    if problems:
        raise InputError(f"{file}: {problems[0]} See wavetank target validate.")
    described.check_allowed(confirmed=yes_really)
    results = []
    for what, probe in _probes(described):
        try:
            is_well, said = True, probe()
        except WavetankError as error:
            is_well, said = False, redacted(str(error))
        results.append({"what": what, "ok": is_well, "said": said})
        click.echo(f"{'ok' if is_well else 'FAILED':6}  {what:28}  {said}")
    failed = [each for each in results if not each["ok"]]
    click.echo(f"{len(results) - len(failed)} of {len(results)} are as they should be")
    exit_code = 2 if failed else 0
    body = {"target": str(file), "exit_code": exit_code, "probes": results}
    written = write_results(json_file, json.dumps(body, indent=2).encode() + b"\n")
    return exit_code if written else 2


@target.command()
def schema() -> int:
    """Print the JSON Schema of target.toml."""
    click.echo(json.dumps(target_schema(), indent=2))
    return 0


def _faults(described: Target, system: System) -> Iterator[str]:
    """Say per kind of fault at how many of the places where it can strike in simulation it can strike here."""
    for kind, places in system.possible_faults().items():
        between = [place for place in places if "user" not in place]
        possible = [place for place in between if not any(hindrances(Fault(kind, place), described, 1.0))]
        if between:
            what = "links" if kind in FAULT_KINDS and FAULT_KINDS[kind].strikes == 2 else "hosts"
            yield f"{kind:24} at {len(possible)} of {len(between)} {what}"


def _probes(described: Target) -> Iterator[tuple[str, Callable[[], str]]]:
    for name, host in described.hosts.items():
        if host.address:
            yield f"hosts.{name}.address", partial(_connect, described.address(name), host.tls)
        if host.log is not None or host.log_command is not None:
            yield f"hosts.{name}.log", partial(_open_log, host)
        if host.metrics:
            yield f"hosts.{name}.metrics", partial(_read_metrics, host.metrics)
    for name, credential in described.credentials.items():
        yield f"credentials.{name}", lambda credential=credential: f"{len(credential.read())} characters"  # type: ignore[misc]
    for number, (means, each) in enumerate(zip(all_means(described), described.means, strict=True)):
        yield f"means[{number}] by {type(each).__struct_config__.tag}", means.probe


def _connect(address: tuple[str, int], tls: TLS | None) -> str:
    name, port = address
    try:
        with socket.create_connection((look_up(name), port), timeout=CONNECT_WITHIN_S) as connection:
            spoken = "accepts connections" if tls is None else f"speaks {greet(connection, name, tls)}"
            return f"{name}:{port} {spoken}"
    except OSError as error:
        raise EnvironmentFailedError(f"{name}:{port} does not answer: {error}") from error


def _read_metrics(url: str) -> str:
    return f"{len(trio.run(read_metrics, url))} samples at {url}"


def _open_log(host: HostTarget) -> str:
    opened_log(host).close()
    return str(host.log) if host.log is not None else " ".join(host.log_command or ())
