"""Faults ordered from the process that runs the deployment: one JSON object per line, one answer each."""

import contextlib
import json
import socket
from collections.abc import Sequence

import msgspec

from simulator.errors import EnvironmentFailedError
from simulator.history import Value
from simulator.live.deed import Deed, Means
from simulator.live.target import ByStaging, split_address

__all__ = ["Control", "Staging"]

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 60.0
AT_HOST = ("crash", "restart", "terminate", "freeze", "thaw")


class Control:
    """A conversation with the process that runs a staging."""

    def __init__(self, address: str, key: str) -> None:
        self._key = key
        try:
            self._socket = socket.create_connection(split_address(address), timeout=CONNECT_WITHIN_S)
        except OSError as error:
            raise EnvironmentFailedError(
                f"the target does not answer at its staging's address={address}: {error}. "
                "Start it with wavetank staging up."
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
            raise EnvironmentFailedError(f"the target's staging went away: {error}. order={do}") from error
        if not line:
            raise EnvironmentFailedError(f"the target's staging hung up. order={do}. See wavetank staging status.")
        try:
            answer = msgspec.json.decode(line, type=dict[str, Value])
        except msgspec.MsgspecError as error:
            raise EnvironmentFailedError(
                f"what listens at the target's address is no wavetank staging: it answered {line[:60]!r} to order={do}."
            ) from error
        if "error" in answer:
            raise EnvironmentFailedError(f"the target could not {do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Hang up. A staging undoes what was ordered and not undone."""
        with contextlib.suppress(OSError):  # an order that could not be sent is not sent now
            self._file.close()
        self._socket.close()


class Staging(Means):
    """A staging of `wavetank staging up`. The first order is a `reset`, which makes it ours until we hang up."""

    def __init__(self, described: ByStaging) -> None:
        self._described = described
        self._control: Control | None = None

    def why_not(self, deed: Deed) -> str | None:
        """Say whether it was declared."""
        if len(deed.at) == 2:
            declared = {"->".join(deed.at), "->".join(deed.at[::-1])} & set(self._described.links)
            return None if declared else ""
        (host,) = deed.at
        if deed.action in ("begin", "end"):
            troubles = self._described.troubles.get(host, ())
            return None if deed.name in troubles else f"the staging declares no trouble {deed.name!r} of host {host}"
        return None if host in self._described.hosts else ""

    def do(self, deed: Deed) -> None:
        """Order it."""
        if len(deed.at) == 2:
            source, destination = deed.at
            self._order(
                "proxy",
                source=source,
                destination=destination,
                action=deed.action,
                seconds=deed.seconds,
                nth=deed.nth,
            )
        elif deed.action in AT_HOST:
            self._order(deed.action, host=deed.at[0])
        else:
            self._order("trouble", host=deed.at[0], name=deed.name, on=deed.action == "begin")

    def probe(self) -> str:
        """Ask what runs."""
        up = self._order("status")["up"]
        assert isinstance(up, dict)
        down = [name for name, is_up in up.items() if not is_up]
        return f"a staging of {len(up)} hosts, " + (f"{', '.join(down)} down" if down else "all up")

    def messages_awaited(self, source: str, destination: str) -> int:
        """Ask for it."""
        if self.why_not(Deed("hold-message", (source, destination))) is not None:
            return 0
        return msgspec.convert(self._order("awaited", source=source, destination=destination)["awaited"], int)

    def processes(self) -> dict[str, int]:
        """Ask for them."""
        return msgspec.convert(self._order("status")["pids"], dict[str, int])

    def reset(self) -> None:
        """Have it as it came up: healed, stores empty, processes fresh. Waits for another replay to let go of it."""
        self._order("reset")

    def revive(self, broken: Sequence[str]) -> None:
        """Have it wait until all its hosts are up."""
        self._order("revive", broken=list(broken))

    def heal(self) -> None:
        """Have it undo everything."""
        self._order("heal")

    def close(self) -> None:
        """Hang up."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def _order(self, do: str, **arguments: Value) -> dict[str, Value]:
        if self._control is None:
            self._control = Control(self._described.address, self._described.key.read())
        return self._control.order(do, **arguments)
