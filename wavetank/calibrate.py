"""`wavetank calibrate`: how fast the real services of a target are, as a load profile for the simulated ones."""

from pathlib import Path

import click
import msgspec
import tomli_w

from simulator.errors import EnvironmentFailedError, InputError, known_names
from simulator.live.target import Target, load_target
from simulator.live.validation import check_target
from simulator.load.calibration import AT_ONCE_MAX, TRIES, Calibrated, Enough, calibrate
from simulator.load.profile import Load, profile_named
from simulator.load.quantity import Quantity
from simulator.redaction import redacted
from simulator.services.capacity import ServiceModel
from simulator.system import System, load_system
from simulator.whole_file import write_whole
from wavetank.arguments import DEPLOYED_SYSTEM
from wavetank.progress import Line
from wavetank.provenance import provenance
from wavetank.results import FILE, as_json, check_writable, write_results

__all__ = ["calibrate_target"]

REQUESTS = 500

EPILOG = f"""
\b
Of each service: how long it takes for a request when nobody else asks, less the way there, and on
how many requests it works at once: connections are doubled until they get no more answers in any
of {TRIES} tries, up to {AT_ONCE_MAX}. Requests change nothing, but are real. Services are asked without TLS and
passwords.

\b
Examples:
  wavetank calibrate --target target.toml -o measured.toml
  wavetank load --profile measured.toml --users 400        simulated, with services as fast
  wavetank calibrate --target target.toml llm --requests 5  only one, and few requests
"""


@click.command("calibrate", epilog=EPILOG)
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--system", "system_name", default=DEPLOYED_SYSTEM, show_default=True, help="Of what.")
@click.option(
    "--target", "target_file", type=click.Path(path_type=Path), required=True, help="Where its real services are."
)
@click.option("--yes-really", is_flag=True, help="The target is meant, although it is not this machine.")
@click.option(
    "--requests", type=click.IntRange(1, 10_000), default=REQUESTS, show_default=True, help="In each try, at most."
)
@click.option("--profile", default="steady", show_default=True, metavar="NAME|FILE", help="Who will use it.")
@click.option("-o", "--output", type=FILE, help="Write that load profile with these services.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def calibrate_target(
    hosts: tuple[str, ...],
    system_name: str,
    target_file: Path,
    yes_really: bool,
    requests: int,
    profile: str,
    output: Path | None,
    json_file: Path | None,
) -> int:
    """Measure how fast the real services of a target are: HOST..., or all that the system says how to ask."""
    check_writable(json_file)
    check_writable(output)
    system, target, load = load_system(system_name), load_target(target_file), profile_named(profile)
    check_target(target, system, confirmed=yes_really)
    click.echo(f"system  {system_name}\ntarget  {target_file}\n")
    found: dict[str, Calibrated] = {}
    failed: dict[str, str] = {}
    for host in _asked(system, target, hosts):
        with Line() as line:
            line.show(f"asking {host}")
            try:
                found[host] = calibrate(host, target.address(host), system.service_requests[host], requests)
            except EnvironmentFailedError as error:
                failed[host] = redacted(str(error))
        click.echo(f"{host:12}{failed[host]}" if host in failed else _told(host, found[host]))
    models = {host: each.model for host, each in found.items() if not each.is_too_fast}
    code = 2 if failed else 0
    if output is not None and models:
        write_whole(output, _profile(load, models), "the load profile")
        click.echo(f"\nwrote {output}: wavetank load --profile {output}")
    body = {
        **provenance("calibrate"),
        "system": system_name,
        "target": str(target_file),
        "exit_code": code,
        "services": {
            host: {**msgspec.to_builtins(each.model), "is_too_fast": each.is_too_fast, "why": each.why}
            for host, each in found.items()
        },
        "failed": failed,
    }
    return code if write_results(json_file, as_json(body)) else 2


def _asked(system: System, target: Target, hosts: tuple[str, ...]) -> list[str]:
    """Return the hosts to measure. Raises InputError for one that cannot be."""
    known = system.service_requests
    if target.limits is not None and target.limits.observe_only:
        raise InputError("the target may only be observed ([limits]), and to be measured it must be asked.")
    if not known:
        raise InputError("the system says of no service how to ask it. Set System.service_requests.")
    for host in hosts:
        if host not in known:
            raise InputError(f"nobody says how to ask host={host!r}. {known_names(known, 'System.service_requests')}")
    asked = [host for host in hosts or known if hosts or target.reaches(host)]
    if not asked:
        raise InputError(f"the target has no address of any of {', '.join(known)}. Add one under [hosts].")
    for host in asked:
        if target.reaches(host) and target.hosts[host].tls is not None:
            raise InputError(f"host {host!r} speaks TLS, and is not measured: what the encrypting takes would count.")
    return asked


def _told(host: str, found: Calibrated) -> str:
    points = dict(found.model.service_s)
    took = ", ".join(f"p({100 * part:g}) {Quantity(points[part], 's')}" for part in (0.5, 0.99))
    if found.is_too_fast:
        return f"{host:12}faster than can be told from here: less than the way there ({Quantity(found.way_s, 's')})"
    at_least = "" if found.why is Enough.SATURATED else "at least "
    return f"{host:12}{took}, {at_least}{found.at_once} at once: {found.why} ({found.requests:,} requests)"


def _profile(load: Load, models: dict[str, ServiceModel]) -> bytes:
    """Return the load as TOML, with these services."""
    body = msgspec.to_builtins(msgspec.structs.replace(load, services={**load.services, **models}))
    return tomli_w.dumps({key: _without_nothing(each) for key, each in body.items() if each}).encode()


def _without_nothing(value: object) -> object:
    """Leave out what is None or empty, for which TOML has no words."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each not in (None, "", (), [], {})}
    return [_without_nothing(each) for each in value] if isinstance(value, list | tuple) else value
