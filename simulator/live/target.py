"""A live deployment, described in TOML: where its hosts are, what can be done to them, and what they log."""

import contextlib
import json
import socket
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from simulator.errors import EnvironmentFailedError, InputError
from simulator.fault import FAULT_KINDS, Fault, kind_of
from simulator.history import Value
from simulator.plan import Plan, Strike

__all__ = ["Control", "Target", "inexpressible", "load_target"]

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 60.0
PORT_MAX = 65_535
OTHER = "Name another file, or remove it if a staging wrote it: `wavetank staging up` then writes a good one."
NOT_LIVE = {"vanish": "a killed process always resets its connections"}

Address = Annotated[str, msgspec.Meta(pattern=r"^[^:\s]+:[0-9]{1,5}$")]


class ControlAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where faults are ordered, and the key that the orderer must know."""

    address: Address
    key: str


class Capabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be struck: hosts by signal, links ("platform->redis") by proxy. Users' links always can be.

    `troubles` are, per host, the names of those that its service gets into on demand.
    """

    hosts: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    troubles: dict[str, tuple[str, ...]] = {}


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployment. `hosts` says which real address each host name of the system stands for.

    `logs` names, per host, a file of JSON lines whose entries are observations. `defects` are those that the
    deployment was started with.
    """

    hosts: dict[str, Address]
    control: ControlAddress
    capabilities: Capabilities = Capabilities()
    logs: dict[str, str] = {}
    defects: tuple[str, ...] = ()

    def address(self, host: str) -> tuple[str, int]:
        """Return the real address of a host. Raises InputError."""
        if host not in self.hosts:
            raise InputError(f"the target has no host {host!r} under [hosts]. Known: {', '.join(self.hosts)}.")
        return split_address(self.hosts[host])


def split_address(address: str) -> tuple[str, int]:
    """Return "127.0.0.1:80" as its two parts. Raises InputError."""
    name, _, port = address.rpartition(":")
    if not 0 < int(port) <= PORT_MAX:
        raise InputError(f"the target's address {address!r} has no valid port. Write a port from 1 to {PORT_MAX}.")
    return name, int(port)


def load_target(path: Path) -> Target:
    """Read a target file. Raises InputError that names the key that is wrong."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Target)
    except OSError as error:
        raise InputError(f"the target cannot be read: {error}. `wavetank staging up` writes a target.toml.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}. {OTHER}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path} does not describe a target: {error}. {OTHER}") from error


def inexpressible(plan: Plan, target: Target) -> list[str]:
    """Return, per step that cannot be done to the target, a sentence that says which and why. Raises InputError."""
    problems = [
        f"it has {kind}={count}, and how many the target has cannot be changed"
        for kind, count in plan.setting.replicas.items()
    ]
    for number, step in enumerate(plan.steps, 1):
        if isinstance(step.action, Strike):
            why = _why_not(step.action.fault, target.capabilities)
            if why:
                problems.append(f"step {number} ({step.action.fault}): {why}")
    return problems


def _why_not(fault: Fault, capabilities: Capabilities) -> str:
    if fault.kind not in FAULT_KINDS:
        host = "".join(fault.at[:1])
        declared = fault.kind in capabilities.troubles.get(host, ())
        return "" if declared else f"the target declares no trouble {fault.kind!r} of host {host}"
    kind_of(fault, {})
    if fault.kind in NOT_LIVE:
        return NOT_LIVE[fault.kind]
    if len(fault.at) == 1:
        return "" if fault.at[0] in capabilities.hosts else f"the target declares no capability on host {fault.at[0]}"
    if any(place.startswith("user:") for place in fault.at):
        return ""
    names = {"->".join(fault.at), "->".join(fault.at[::-1])}
    return "" if names & set(capabilities.links) else f"the target declares no link {' or '.join(sorted(names))}"


class Control:
    """Orders faults from the process that runs the deployment: one JSON object per line, one answer each."""

    def __init__(self, address: str, key: str) -> None:
        self._key = key
        try:
            self._socket = socket.create_connection(split_address(address), timeout=CONNECT_WITHIN_S)
        except OSError as error:
            raise EnvironmentFailedError(
                f"the target does not answer at control={address}: {error}. Start it with wavetank staging up."
            ) from error
        self._socket.settimeout(ANSWER_WITHIN_S)
        self._file = self._socket.makefile("rwb")

    def order(self, do: str, **arguments: Value) -> dict[str, Value]:
        """Send one order and return its answer. Raises EnvironmentFailedError when it was not carried out."""
        try:
            self._file.write(json.dumps({"key": self._key, "do": do, **arguments}).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        except OSError as error:
            raise EnvironmentFailedError(f"the target's control went away: {error}. order={do}") from error
        if not line:
            raise EnvironmentFailedError(f"the target's control hung up. order={do}. See wavetank staging status.")
        try:
            answer = msgspec.json.decode(line, type=dict[str, Value])
        except msgspec.MsgspecError as error:
            raise EnvironmentFailedError(
                f"what listens at the target's control is no wavetank staging: it answered {line[:60]!r} to order={do}."
            ) from error
        if "error" in answer:
            raise EnvironmentFailedError(f"the target could not {do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Hang up. A staging undoes what was ordered and not undone."""
        with contextlib.suppress(OSError):  # an order that could not be sent is not sent now
            self._file.close()
        self._socket.close()
