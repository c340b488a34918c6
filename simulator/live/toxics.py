"""Toxics: what Toxiproxy calls the faults of a proxy, done by ours."""

import math
from typing import Annotated, TypeVar

import msgspec

from simulator.live.proxy import Direction, Proxy

__all__ = ["Fields", "RefusedError", "Toxic", "Toxics", "converted"]

T = TypeVar("T")
Fields = dict[str, object]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

ATTRIBUTES = {
    "latency": ("latency", "jitter"),
    "bandwidth": ("rate",),
    "slow_close": ("delay",),
    "timeout": ("timeout",),
    "reset_peer": ("timeout",),
    "slicer": ("average_size", "size_variation", "delay"),
    "limit_data": ("bytes",),
}
EXCLUSIVE = {"latency": "jitter", "timeout": "timeout"}  # without it several of the type work together in a stream
STREAMS = {"upstream": Direction.TO_UPSTREAM, "downstream": Direction.TO_CLIENT}


class RefusedError(Exception):
    """A request that is not carried out: why, and the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Toxic(msgspec.Struct, frozen=True):
    """One fault in the direction of `stream`. Attributes are in milliseconds, bytes and, of `bandwidth`, KB (1000
    bytes) a second; the `delay` of a `slicer` is in microseconds.
    """

    attributes: dict[str, int]
    name: str
    type: str
    stream: str
    toxicity: float = 1.0

    @property
    def direction(self) -> Direction:
        """Which way it works."""
        return STREAMS[self.stream.lower()]


class _Asked(msgspec.Struct, frozen=True):
    """What a client says of a toxic."""

    name: str = ""
    type: str = ""
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Fields = {}


class Toxics:
    """The toxics of a proxy. Each does what Toxiproxy's of the same type does, all in one fixed order.

    Refused, with status 400: a toxicity other than 1; negative attributes; a second toxic of a type in a stream, except
    latencies without jitter, which add up, and timeouts of 0.

    Not as with Toxiproxy: to add, change or remove a toxic does not let chunks through that another one keeps back; and
    a higher latency holds for what comes from then on.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._toxics: dict[str, Toxic] = {}

    def __getitem__(self, name: str) -> Toxic:
        if name not in self._toxics:
            raise RefusedError(404, "toxic not found")
        return self._toxics[name]

    def all(self) -> list[Toxic]:
        """Return those upstream, then those downstream, each in the order in which they were added."""
        return sorted(self._toxics.values(), key=lambda toxic: toxic.direction is Direction.TO_CLIENT)

    def add(self, fields: Fields) -> Toxic:
        """Let a toxic work from now on. Raises RefusedError."""
        asked = converted(fields, _Asked)
        if asked.stream.lower() not in STREAMS:
            raise RefusedError(400, "stream was invalid, can be either upstream or downstream")
        if asked.type not in ATTRIBUTES:
            raise RefusedError(400, "invalid toxic type")
        name = asked.name or f"{asked.type}_{asked.stream}"
        if name in self._toxics:
            raise RefusedError(409, "toxic already exists")
        attributes = dict.fromkeys(ATTRIBUTES[asked.type], 0)
        return self._put(Toxic(attributes, name, asked.type, asked.stream, asked.toxicity), asked.attributes)

    def update(self, name: str, fields: Fields) -> Toxic:
        """Change attributes; those not given stay. Raises RefusedError."""
        toxic = self[name]
        asked = converted({"toxicity": toxic.toxicity, **fields}, _Asked)
        return self._put(msgspec.structs.replace(toxic, toxicity=asked.toxicity), asked.attributes)

    def remove(self, name: str) -> None:
        """Undo a toxic. Raises RefusedError."""
        toxic = self[name]
        del self._toxics[name]
        if toxic.type == "timeout":
            self._proxy.deliver(toxic.direction)
        self._apply(toxic.type, toxic.direction)

    def clear(self) -> None:
        """Undo all."""
        for name in list(self._toxics):
            self.remove(name)

    def move(self, proxy: Proxy) -> None:
        """Do to another proxy, from now on, what is done to this one."""
        self._proxy = proxy
        for toxic in self._toxics.values():
            self._apply(toxic.type, toxic.direction)

    def _put(self, toxic: Toxic, given: Fields) -> Toxic:
        known = [key for key in ATTRIBUTES[toxic.type] if given.get(key) is not None]
        changed = {key: converted(given[key], Count, f"attribute {key}: ") for key in known}
        toxic = msgspec.structs.replace(toxic, attributes=toxic.attributes | changed)
        self._check(toxic)
        self._toxics[toxic.name] = toxic
        self._apply(toxic.type, toxic.direction)
        return toxic

    def _check(self, toxic: Toxic) -> None:
        """Raise RefusedError for what cannot be done here, or makes no sense."""
        if toxic.toxicity != 1.0:
            raise RefusedError(400, f"toxicity {toxic.toxicity} is not done here, only 1: every connection has a toxic")
        attributes = toxic.attributes
        if toxic.type == "slicer" and attributes["average_size"] <= attributes["size_variation"]:
            raise RefusedError(400, "attribute average_size of a slicer must be larger than its size_variation")
        exclusive = EXCLUSIVE.get(toxic.type)
        for other in self._toxics.values():
            is_alike = (other.type, other.direction) == (toxic.type, toxic.direction) and other.name != toxic.name
            if is_alike and (exclusive is None or attributes[exclusive] or other.attributes[exclusive]):
                several = "" if exclusive is None else f", or several without {exclusive}"
                raise RefusedError(400, f"a stream can have one {toxic.type} toxic here, {other.name!r}{several}")

    def _apply(self, kind: str, direction: Direction) -> None:
        """Do to the proxy what the toxics of a type come to in a direction."""
        proxy = self._proxy
        found = self._of(kind, direction)
        match kind, found:
            case (("latency" | "slow_close"), _):
                latencies, closes = self._of("latency", direction), self._of("slow_close", direction)
                jitter_s = sum(each["jitter"] for each in latencies) / 1000
                proxy.delay(
                    sum(each["latency"] for each in latencies) / 1000 - jitter_s,
                    jitter_s=2 * jitter_s,
                    close_s=sum(each["delay"] for each in closes) / 1000,
                    direction=direction,
                )
            case "bandwidth", [only]:
                proxy.throttle(only["rate"] * 1000.0, direction=direction)
            case "bandwidth", _:
                proxy.throttle(math.inf, direction=direction)
            case "timeout", _:
                for each in found:
                    proxy.discard(direction, timeout_s=each["timeout"] / 1000 or math.inf)
            case "reset_peer", _:
                proxy.reset_on_data(found[0]["timeout"] / 1000 if found else None, direction=direction)
            case "slicer", [only]:
                proxy.slice(
                    only["average_size"],
                    variation_bytes=only["size_variation"],
                    pause_s=only["delay"] / 1e6,
                    direction=direction,
                )
            case "slicer", _:
                proxy.slice(0, direction=direction)
            case _:
                proxy.limit_data(found[0]["bytes"] if found else math.inf, direction=direction)

    def _of(self, kind: str, direction: Direction) -> list[dict[str, int]]:
        alike = [each for each in self._toxics.values() if (each.type, each.direction) == (kind, direction)]
        return [each.attributes for each in alike]


def converted(value: object, kind: type[T], what: str = "") -> T:
    """Return a decoded JSON value as what it is meant to be. Raises RefusedError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"bad request body: {what}{error}") from error
