"""Link deeds done through a Toxiproxy server, the real one or ours, by its HTTP API (2.x)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import msgspec

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.deed import Deed, Means

__all__ = ["PREFIX", "Toxiproxy"]

PREFIX = "wavetank-"  # of the names of our toxics, by which also those of a process that was killed are found
ANSWER_WITHIN_S = 5.0
HOLD_S = 3600.0
SHOWN_CHARACTERS = 60
EXAMPLE = "http://127.0.0.1:8474"
STREAMS = ("upstream", "downstream")
DONE = ("hold", "release", "delay", "reset", "silence", "unsilence")
NOT_DONE = {
    "refuse": "Toxiproxy ends the present connections as well when it refuses new ones",
    "admit": "Toxiproxy ends the present connections as well when it refuses new ones",
    "hold-message": "Toxiproxy reads no messages",
    "release-message": "Toxiproxy reads no messages",
}


class _Version(msgspec.Struct):
    version: str


class _Named(msgspec.Struct):
    name: str


class _Refusal(msgspec.Struct):
    error: str


@attrs.frozen
class _Way:
    """A direction of a proxy."""

    proxy: str
    stream: str


class Toxiproxy(Means):
    """Does link deeds at the proxies of a Toxiproxy server. `links` names its proxy of each link ("agents->redis").

    A `hold` is a latency of an hour, in whose place that of a `delay` comes again when it ends; what was kept then goes
    on. It keeps back a close only behind bytes. `silence` discards what flows both ways: a side that closes is still
    heard, and new connections are made, but carry nothing; all are closed when it ends. `reset` closes the present
    connections: Toxiproxy can send RST only on connections that it had begun to prepare for it.

    Toxiproxy lets through the one chunk that a toxic is at when that is changed, or one is added behind it: when a hold
    begins, what a delay keeps back; when a `silence` or `reset` meets a hold, what this keeps back. It loses a chunk
    that a receiver does not take within five seconds when a hold ends; the call fails then.

    It is connected to, and its proxies are looked for, when something is first asked of it. That raises InputError for
    links that are not there, EnvironmentFailedError when no Toxiproxy answers.
    """

    def __init__(self, url: str, links: Mapping[str, str]) -> None:
        self._url = url
        self._links = links
        self._ways = dict(_ways(links))
        self._held: dict[_Way, None] = {}
        self._delays_s: dict[_Way, float] = {}
        self._base_url = _checked(url)
        self._opened: httpx.Client | None = None

    def why_not(self, deed: Deed) -> str | None:
        """Return None when it can be done in this way; otherwise why it cannot, "" when the place is not ours."""
        if deed.at not in self._ways:
            return ""
        return None if deed.action in DONE else NOT_DONE.get(deed.action, f"Toxiproxy cannot {deed.action} a link")

    def do(self, deed: Deed) -> None:
        """Do it. To undo what is not done does nothing."""
        if self.why_not(deed) is not None:
            raise EnvironmentFailedError(f"Toxiproxy cannot do {deed}: {self.why_not(deed) or 'it has no such link'}.")
        way = self._ways[deed.at]
        if deed.action == "delay":
            self._delays_s[way] = deed.seconds
        both = [_Way(way.proxy, stream) for stream in STREAMS]
        match deed.action:
            case "hold" | "delay" if way in self._held:
                pass  # a toxic that is changed lets a chunk through; the delay comes with the release
            case "hold":
                self._put(way, "delay", "latency", latency=round(HOLD_S * 1000))
                self._held[way] = None
            case "release":
                self._held.pop(way, None)
                self._slow(way)
            case "delay":
                self._slow(way)
            case "silence":
                for each in both:
                    self._put(each, "silence", "timeout", timeout=0)
            case "unsilence":
                for each in both:
                    self._remove(each, "silence")
            case _:
                for each in both:
                    self._put(each, "reset", "timeout", timeout=0)
                for each in both:
                    self._remove(each, "reset")

    def heal(self) -> None:
        """Undo all that was ever done in this way: remove every toxic of ours, also those of a process that is gone."""
        self._held.clear()
        self._delays_s.clear()
        for proxy in dict.fromkeys(way.proxy for way in self._ways.values()):
            path = f"/proxies/{quote(proxy, safe='')}/toxics"
            names = [each.name for each in self._decoded(self._ask("GET", path), list[_Named])]
            # What closes connections goes first: Toxiproxy loses count of the toxics of one whose close is on its way.
            ours = sorted((each for each in names if each.startswith(PREFIX)), key=lambda name: "-delay-" in name)
            for name in ours:
                self._ask("DELETE", f"{path}/{quote(name, safe='')}", missing="toxic not found")

    def probe(self) -> str:
        """Ask for its version and its proxies."""
        self._http()
        return f"a Toxiproxy {self._check_version()} with {len(self._links)} of our links"

    def close(self) -> None:
        """Let go of connections. What was done stays done."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _http(self) -> httpx.Client:
        if self._opened is None:
            self._opened = httpx.Client(base_url=self._base_url, timeout=ANSWER_WITHIN_S, trust_env=False)
            try:
                self._check_version()
                self._check_proxies(self._links)
            except BaseException:
                self.close()
                raise
        return self._opened

    def _slow(self, way: _Way) -> None:
        """Let a delay be all that slows a direction.

        It is the toxic that may have held it: Toxiproxy would let a chunk through when another one is added behind.
        """
        if latency := round(self._delays_s.get(way, 0.0) * 1000):
            self._put(way, "delay", "latency", latency=latency)
        else:
            self._remove(way, "delay")

    def _put(self, way: _Way, action: str, kind: str, **attributes: int) -> None:
        name, path = _toxic(way, action)
        toxic = {"name": name, "type": kind, "stream": way.stream, "attributes": attributes}
        if self._ask("POST", path, toxic, missing="toxic already exists") is None:
            self._ask("POST", f"{path}/{name}", {"attributes": attributes})

    def _remove(self, way: _Way, action: str) -> None:
        name, path = _toxic(way, action)
        self._ask("DELETE", f"{path}/{name}", missing="toxic not found")

    def _ask(self, method: str, path: str, body: Any = None, *, missing: str | None = None) -> httpx.Response | None:
        """Return the answer, or None for the error `missing`. Raises EnvironmentFailedError for any other error."""
        try:
            response = self._http().request(method, path, json=body)
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}"
            raise EnvironmentFailedError(
                f"no Toxiproxy answers at {self._url}: {why}. request={method} {path}. Start it, or correct the URL."
            ) from error
        if response.is_success:
            return response
        try:
            error_told = msgspec.json.decode(response.content, type=_Refusal).error
        except msgspec.MsgspecError:
            raise self._no_toxiproxy(response) from None
        if error_told == missing:
            return None
        raise EnvironmentFailedError(f"Toxiproxy at {self._url} refused {method} {path}: {error_told}.")

    def _decoded(self, response: httpx.Response | None, kind: Any) -> Any:
        assert response is not None
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError as error:
            raise self._no_toxiproxy(response) from error

    def _no_toxiproxy(self, response: httpx.Response) -> EnvironmentFailedError:
        request, shown = response.request, response.text[:SHOWN_CHARACTERS]
        return EnvironmentFailedError(
            f"what answers at {self._url} is no Toxiproxy: {request.method} {request.url.path} got"
            f" {response.status_code} {shown!r}. Correct the URL; it is like {EXAMPLE}."
        )

    def _check_version(self) -> str:
        version: str = self._decoded(self._ask("GET", "/version"), _Version).version
        if version.startswith("1."):
            raise EnvironmentFailedError(f"Toxiproxy at {self._url} is of version {version}. Use one from 2.0 on.")
        return version

    def _check_proxies(self, links: Mapping[str, str]) -> None:
        known = list(self._decoded(self._ask("GET", "/proxies"), dict[str, msgspec.Raw]))
        for link, proxy in links.items():
            if proxy not in known:
                there = f"Known: {', '.join(sorted(known))}" if known else "It has none"
                raise InputError(f"Toxiproxy at {self._url} has no proxy {proxy!r} for link {link}. {there}.")


def _checked(url: str) -> httpx.URL:
    """Return the URL. Raises InputError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"{url!r} is no URL of a Toxiproxy. Write one like {EXAMPLE}.")
    return parsed


def _ways(links: Mapping[str, str]) -> list[tuple[tuple[str, ...], _Way]]:
    """Return the direction of a proxy that each direction of a link is. Raises InputError."""
    found: list[tuple[tuple[str, ...], _Way]] = []
    for link, proxy in links.items():
        source, arrow, destination = link.partition("->")
        if not (source and arrow and destination):
            raise InputError(f"{link!r} is no link. Write it like 'agents->redis'.")
        found.append(((source, destination), _Way(proxy, "upstream")))
        found.append(((destination, source), _Way(proxy, "downstream")))
    return found


def _toxic(way: _Way, action: str) -> tuple[str, str]:
    """Return the name of our toxic for an action, and the path of the toxics of its proxy."""
    return f"{PREFIX}{action}-{way.stream}", f"/proxies/{quote(way.proxy, safe='')}/toxics"
