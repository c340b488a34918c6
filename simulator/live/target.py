"""A live deployment, described in TOML: where its hosts are, what of it may be observed, what may be done to it."""

import hashlib
import ipaddress
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import tomli_w

from simulator.errors import InputError
from simulator.live.credential import Credential

__all__ = [
    "TLS",
    "Address",
    "AnyMeans",
    "ByCommand",
    "ByPostgreSQL",
    "ByRedis",
    "BySignals",
    "ByStaging",
    "ByToxiproxy",
    "HostTarget",
    "Limits",
    "Protocol",
    "Target",
    "described",
    "load_target",
    "split_address",
    "target_schema",
]

PORT_MAX = 65_535
OTHER = "Name another file, or remove it if a staging wrote it: `wavetank staging up` then writes a good one."

Address = Annotated[str, msgspec.Meta(pattern=r"^[^:\s/@]+:[0-9]{1,5}$", description="host:port")]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, description="a program and its arguments; no shell")]
Protocol: TypeAlias = Literal["chunks", "http", "postgresql", "resp", "websocket"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Link = Annotated[str, msgspec.Meta(pattern=r"^[^\s>]+->[^\s>]+$", description="who connects->to whom")]


class TLS(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An address that speaks TLS (wss, rediss, https). `ca` is a file of certificates, where the system's do not do;
    `name` is what the certificate must be for, where that is not the address's host."""

    ca: Path | None = None
    name: str = ""


class HostTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What stands for one host of the system. Without an `address` nobody connects to it, and a store is not observed.

    `protocol` says where the messages of its connections end, so that one of them can be held.

    `log` holds JSON lines whose entries are observations, as a file or as what a command writes from now on (`kubectl
    logs --follow --tail 0 ...`); `metrics` is a page in the text format of Prometheus.
    """

    address: Address = ""
    tls: TLS | None = None
    protocol: Protocol = "chunks"
    log: Path | None = None
    log_command: Command | None = None
    metrics: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s@]+)?$")] = ""


class ByStaging(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="staging"):
    """Faults are ordered from the process that runs the deployment: `wavetank staging up`.

    `hosts` can be struck by signals, `links` by proxies; `troubles` are those that each host's service gets into.
    """

    address: Address
    key: Credential
    hosts: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    troubles: dict[str, tuple[str, ...]] = {}


class ByToxiproxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="toxiproxy"):
    """Links are struck at a Toxiproxy server: `links` says which of its proxies each goes through."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s@/]+/?$")]
    links: dict[str, str]


class BySignals(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="signals", omit_defaults=True
):
    """A process of this machine is struck by SIGSTOP and, where a command starts it again, by SIGKILL and SIGTERM."""

    host: str
    pid_file: Path
    start: Command | None = None
    within_s: Seconds = 30.0


class ByCommand(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="command", omit_defaults=True
):
    """A command of your own does one action at one place, and another undoes it: see `simulator.live.deed`.

    `at` is a host or a link. What is no action is the name of a trouble. Seconds and names of an action are in the
    environment of the command, as WAVETANK_SECONDS and WAVETANK_NAME.
    """

    action: str
    at: str
    do: Command
    undo: Command | None = None
    within_s: Seconds = 30.0

    def __post_init__(self) -> None:
        if self.undo is None and self.action != "reset":
            raise ValueError(f"the command that does {self.action!r} at {self.at!r} has none that undoes it (undo)")


class ByRedis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="redis", omit_defaults=True):
    """Commands to a Redis: connections to it are killed (`reset`); `flush` deletes all keys before each run."""

    host: str
    user: str = ""
    password: Credential | None = None
    flush: bool = False


class ByPostgreSQL(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="by", tag="postgresql", omit_defaults=True
):
    """Statements to a PostgreSQL: connections of the role `kills` are ended (`reset`)."""

    host: str
    user: str
    database: str
    kills: str
    password: Credential | None = None


AnyMeans: TypeAlias = ByStaging | ByToxiproxy | BySignals | ByCommand | ByRedis | ByPostgreSQL


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far wavetank may go. `hosts` are those beside this machine that it may connect to."""

    hosts: tuple[str, ...] = ()
    users: Annotated[int, msgspec.Meta(ge=0)] | None = None
    fault_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    observe_only: bool = False


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A deployment. `hosts` says what stands for each host of the system.

    `constants` are those of the live system, in seconds, by the names that the system's `patience` has for them; times
    of a plan are stretched by `time_scale`, or else by as much as the most stretched of them. `defects` are those that
    a staging was started with. `adapter` ("module:Class") speaks for users where the platform has another protocol.
    """

    hosts: dict[str, HostTarget]
    means: tuple[AnyMeans, ...] = ()
    credentials: dict[str, Credential] = {}
    constants: dict[str, Seconds] = {}
    time_scale: Seconds | None = None
    limits: Limits | None = None
    adapter: str = ""
    defects: tuple[str, ...] = ()

    def address(self, host: str) -> tuple[str, int]:
        """Return the real address of a host. Raises InputError."""
        found = self.hosts.get(host)
        if found is None or not found.address:
            known = ", ".join(name for name, each in self.hosts.items() if each.address)
            raise InputError(f"the target has no address of host {host!r} under [hosts]. Known: {known}.")
        return split_address(found.address)

    def reaches(self, host: str) -> bool:
        """Say whether there is an address of a host."""
        return host in self.hosts and bool(self.hosts[host].address)

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yield every host that may be connected to, with the key of the file that says so."""
        for name, host in self.hosts.items():
            if host.address:
                yield f"hosts.{name}.address", split_address(host.address)[0]
            if host.metrics:
                yield f"hosts.{name}.metrics", _host_of_url(host.metrics)
        for number, means in enumerate(self.means):
            if isinstance(means, ByStaging):
                yield f"means[{number}].address", split_address(means.address)[0]
            elif isinstance(means, ByToxiproxy):
                yield f"means[{number}].url", _host_of_url(means.url)

    @property
    def sha256(self) -> str:
        """A hash of all that it says, by which results tell one deployment from another."""
        return hashlib.sha256(described(self).encode()).hexdigest()

    @property
    def is_here(self) -> bool:
        """Whether all of it is this machine, with the one clock that it has."""
        return all(is_loopback(host) for _, host in self.addresses())

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield the links between hosts for which there are means."""
        for means in self.means:
            named: Iterable[str] = ()
            if isinstance(means, ByStaging | ByToxiproxy):
                named = means.links
            elif isinstance(means, ByCommand) and "->" in means.at:
                named = (means.at,)
            for link in named:
                source, _, destination = link.partition("->")
                yield source, destination

    def scale_of(self, patience: Mapping[str, float]) -> float:
        """Return by how much times of a plan are stretched, for a system whose own constants these are."""
        if self.time_scale is not None:
            return self.time_scale
        return max([seconds / patience[name] for name, seconds in self.constants.items()], default=1.0)

    def check_allowed(self, *, confirmed: bool) -> None:
        """Raise InputError unless every host that could be connected to is this machine, or allowed and confirmed."""
        allowed = self.limits.hosts if self.limits is not None else ()
        for key, host in self.addresses():
            if is_loopback(host):
                continue
            if host not in allowed:
                raise InputError(
                    f"the target's {key} is on {host!r}, which is not this machine and not in hosts of [limits]. "
                    f"Add it there if wavetank may connect to it."
                )
            if not confirmed:
                raise InputError(
                    f"the target's {key} is on {host!r}, which is not this machine. Say --yes-really if that is meant."
                )


def split_address(address: str, *, any_port: bool = False) -> tuple[str, int]:
    """Return "127.0.0.1:80" as its two parts. Raises InputError; 0 is a port only where any will do."""
    name, _, port = address.rpartition(":")
    lowest = 0 if any_port else 1
    if not name or not port.isdecimal() or not lowest <= int(port) <= PORT_MAX:
        raise InputError(
            f"the address {address!r} has no host or no valid port, {lowest} to {PORT_MAX}. Write HOST:PORT."
        )
    return name, int(port)


def is_loopback(host: str) -> bool:
    """Say whether a host as written is this machine for certain: no name but localhost is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of_url(url: str) -> str:
    return url.split("//", 1)[1].split("/", 1)[0].rpartition(":")[0] or url.split("//", 1)[1].split("/", 1)[0]


def load_target(path: Path) -> Target:
    """Read a target file; paths in it start from its directory. Raises InputError that names the key that is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the target cannot be read: {error}. `wavetank staging up` writes a target.toml.") from error
    return target_of(text, path)


def target_of(text: str, path: Path) -> Target:
    """Return the target that a text describes, as if it were the file `path`. Raises InputError."""
    directory = path.resolve().parent

    def path_of(kind: type, value: Any) -> Any:
        assert kind is Path
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("Expected a path")
        return directory / value

    try:
        target = msgspec.convert(tomllib.loads(text), Target, dec_hook=path_of)
        for _ in target.addresses():
            pass  # which raises for an impossible port
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}. {OTHER}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path} does not describe a target: {error}. {OTHER}") from error
    return target


def described(target: Target) -> str:
    """Return the target as the text of a file."""
    return tomli_w.dumps(msgspec.to_builtins(target, enc_hook=str))


def target_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of the file."""
    schema = msgspec.json.schema(Target, schema_hook=lambda _kind: {"type": "string", "minLength": 1})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "target.toml of wavetank", **schema}
