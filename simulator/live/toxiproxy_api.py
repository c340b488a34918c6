"""Toxiproxy's HTTP API (2.x) in front of our proxies: whatever drives Toxiproxy drives them."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from urllib.parse import unquote

import attrs
import h11
import msgspec
import trio

from simulator.errors import EnvironmentFailedError
from simulator.live.proxy import Proxy
from simulator.live.toxics import Fields, RefusedError, Toxic, Toxics, converted
from simulator.services.http import Request, serve_requests

__all__ = ["BODY_BYTES_MAX", "VERSION", "ToxiproxyAPI"]

VERSION = "2.12.0"  # of the API: clients look at what they may ask for
BODY_BYTES_MAX = 1024 * 1024
KEEP_ALIVE_S = 60.0
PORT_MAX = 65_535
PATHS = re.compile(r"/(version|reset|populate|proxies(/[^/]+(/toxics(/[^/]+)?)?)?)")

Answer = msgspec.Struct | Mapping[str, object] | list[Toxic]


class _Asked(msgspec.Struct, frozen=True):
    """What a client says of a proxy; what it leaves out stays, or is the usual."""

    name: str = ""
    listen: str | None = None
    upstream: str = ""
    enabled: bool | None = None


class _Told(msgspec.Struct, frozen=True):
    """What a client is told of a proxy."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: list[Toxic]


@attrs.define(eq=False)
class _Served:
    """A proxy under its name. One that a client had made has a scope, whose cancellation ends it."""

    name: str
    proxy: Proxy
    toxics: Toxics
    scope: trio.CancelScope | None

    def told(self) -> _Told:
        proxy = self.proxy
        enabled = not proxy.is_refusing
        return _Told(self.name, _joined(proxy.host, proxy.port), _joined(*proxy.upstream), enabled, self.toxics.all())

    def differs(self, listen: tuple[str, int], upstream: tuple[str, int]) -> bool:
        return (self.proxy.host, self.proxy.port) != listen or self.proxy.upstream != upstream

    def enable(self) -> None:
        if self.proxy.is_refusing:
            self.proxy.admit()

    def disable(self) -> None:
        if not self.proxy.is_refusing:
            self.proxy.refuse()
            self.proxy.hang_up()

    def end(self) -> None:
        assert self.scope is not None
        self.proxy.hang_up()
        self.scope.cancel()


class ToxiproxyAPI:
    """Serves Toxiproxy's HTTP API on `proxies`, which somebody else runs, and on those that clients make.

    Toxics are described in `Toxics`. The proxies are ours: half-closes and resets are passed on, which Toxiproxy turns
    into closes, and a client whose upstream refuses is reset. Somebody else's cannot be deleted, nor moved. Clients'
    proxies listen on loopback as well, unless `host` is not; IPv6 and metrics are not modelled. A browser is refused.
    What is done to a proxy otherwise is not shown as a toxic, and whoever sets a latency last has set it.
    """

    def __init__(self, proxies: Mapping[str, Proxy], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self._served = {name: _Served(name, proxy, Toxics(proxy), None) for name, proxy in proxies.items()}
        self._turn = trio.Lock()
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `port` is known when started. A taken port is an EnvironmentFailedError."""
        try:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host)
        except OSError as error:
            where = f"host={self.host} port={self.port}"
            raise EnvironmentFailedError(
                f"Toxiproxy's API has no port: {error}. {where}. End what listens there, or use port 0."
            ) from error
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.serve_listeners(self._converse, listeners)

    def reset(self) -> None:
        """Enable every proxy and undo every toxic."""
        for served in self._served.values():
            served.enable()
            served.toxics.clear()

    # HTTP

    async def _converse(self, stream: trio.SocketStream) -> None:
        handle = partial(self._handle, stream)
        await serve_requests(stream, handle, keep_alive_timeout_s=KEEP_ALIVE_S, body_bytes_max=BODY_BYTES_MAX)

    async def _handle(self, stream: trio.SocketStream, request: Request, connection: h11.Connection) -> bool:
        try:
            async with self._turn:
                status, answer = await self._answer(request)
        except RefusedError as error:
            status, answer = error.status, _refusal(error.status, error)
        except (EnvironmentFailedError, OSError) as error:
            status, answer = 500, _refusal(500, error)
        body = b"" if answer is None else msgspec.json.encode(answer) + b"\n"
        headers = [] if answer is None else [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)
        data = connection.send(response)
        if body and request.method != "HEAD":
            data += connection.send(h11.Data(data=body))
        await stream.send_all(data + connection.send(h11.EndOfMessage()))
        return True

    async def _answer(self, request: Request) -> tuple[int, Answer | None]:
        """Return the status and what is told, None for no body. Raises RefusedError."""
        path = request.target.partition("?")[0]
        if "origin" in request.headers or request.headers.get("user-agent", "").startswith("Mozilla/"):
            raise RefusedError(403, "User agent not allowed")
        if len(request.body) > BODY_BYTES_MAX:
            raise RefusedError(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
        if not PATHS.fullmatch(path):
            raise RefusedError(404, "404 page not found")
        match request.method, [unquote(part) for part in path.split("/")[1:]]:
            case "GET", ["version"]:
                return 200, {"version": VERSION}
            case "POST", ["reset"]:
                self.reset()
                return 204, None
            case "POST", ["populate"]:
                return await self._populate(request.body)
            case "GET", ["proxies"]:
                return 200, {name: served.told() for name, served in self._served.items()}
            case "POST", ["proxies"]:
                return 201, await self._create(converted(_decoded(request.body), _Asked))
            case method, ["proxies", name, *rest]:
                return await self._answer_of(self._named(name), method, rest, request.body)
            case _:
                raise RefusedError(405, "method not allowed")

    async def _answer_of(self, served: _Served, method: str, rest: list[str], body: bytes) -> tuple[int, Answer | None]:
        toxics = served.toxics
        match method, rest:
            case "GET", []:
                return 200, served.told()
            case (("POST" | "PATCH"), []):
                return 200, await self._update(served, converted(_decoded(body), _Asked))
            case "DELETE", []:
                _check_is_movable(served)
                served.end()
                del self._served[served.name]
                return 204, None
            case "GET", ["toxics"]:
                return 200, toxics.all()
            case "POST", ["toxics"]:
                return 200, toxics.add(_decoded(body))
            case "GET", ["toxics", name]:
                return 200, toxics[name]
            case (("POST" | "PATCH"), ["toxics", name]):
                return 200, toxics.update(name, _decoded(body))
            case "DELETE", ["toxics", name]:
                toxics.remove(name)
                return 204, None
            case _:
                raise RefusedError(405, "method not allowed")

    # Proxies

    def _named(self, name: str) -> _Served:
        if name not in self._served:
            raise RefusedError(404, "proxy not found")
        return self._served[name]

    async def _create(self, asked: _Asked) -> _Told:
        _check_is_whole(asked)
        if asked.name in self._served:
            raise RefusedError(409, "proxy already exists")
        listen, upstream = self._listen(asked.listen or ""), _address(asked.upstream, "upstream")
        proxy, scope = await self._start(listen, upstream, is_refusing=asked.enabled is False)
        served = self._served[asked.name] = _Served(asked.name, proxy, Toxics(proxy), scope)
        return served.told()

    async def _start(
        self, listen: tuple[str, int], upstream: tuple[str, int], *, is_refusing: bool
    ) -> tuple[Proxy, trio.CancelScope]:
        """Return a proxy that runs, and what ends it. Raises EnvironmentFailedError."""
        proxy, scope = Proxy(upstream, host=listen[0], port=listen[1]), trio.CancelScope()
        if is_refusing:
            proxy.refuse()
        await self._nursery.start(self._run, proxy, scope)
        return proxy, scope

    async def _run(self, proxy: Proxy, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await proxy.run(task_status=task_status)

    async def _update(self, served: _Served, asked: _Asked) -> _Told:
        """Raises RefusedError or EnvironmentFailedError; nothing has changed then."""
        proxy = served.proxy
        listen = (proxy.host, proxy.port) if asked.listen is None else self._listen(asked.listen)
        upstream = _address(asked.upstream, "upstream") if asked.upstream else proxy.upstream
        if served.differs(listen, upstream):
            await self._move(served, listen, upstream)
        if asked.enabled is not None:
            (served.enable if asked.enabled else served.disable)()
        return served.told()

    async def _move(self, served: _Served, listen: tuple[str, int], upstream: tuple[str, int]) -> None:
        _check_is_movable(served)
        old = served.proxy
        if (old.host, old.port) == listen:
            old.upstream = upstream
            old.hang_up()
            return
        new, scope = await self._start(listen, upstream, is_refusing=old.is_refusing)
        served.end()
        served.proxy, served.scope = new, scope
        served.toxics.move(new)

    async def _populate(self, body: bytes) -> tuple[int, Answer]:
        """Make the proxies that are missing or differ. What went wrong is told with those that are there."""
        told: list[_Told] = []
        try:
            all_asked = [converted(each, _Asked) for each in _decoded_list(body)]
            for number, asked in enumerate(all_asked, 1):
                _check_is_whole(asked, f" at proxy {number}")
            for asked in all_asked:
                told.append(await self._create_or_replace(asked))  # noqa: PERF401  # those made are told with an error
        except RefusedError as error:
            return error.status, {**_refusal(error.status, error), "proxies": told}
        except (EnvironmentFailedError, OSError) as error:
            return 500, {**_refusal(500, error), "proxies": told}
        return 201, {"proxies": told}

    async def _create_or_replace(self, asked: _Asked) -> _Told:
        served = self._served.get(asked.name)
        if served is None:
            return await self._create(asked)
        listen, upstream = self._listen(asked.listen or ""), _address(asked.upstream, "upstream")
        if served.differs(listen, upstream):
            await self._move(served, listen, upstream)
            served.toxics.clear()
            (served.disable if asked.enabled is False else served.enable)()
        return served.told()

    def _listen(self, address: str) -> tuple[str, int]:
        """Return where a client's proxy is to listen. Raises RefusedError."""
        host, port = _address(address or ":0", "listen")
        host = {"localhost": "127.0.0.1", "": self.host}.get(host, host)
        if not _is_loopback(host) and _is_loopback(self.host):
            raise RefusedError(
                403, f"listen {address!r} is not an address of loopback. Use 127.0.0.1, or let the API listen elsewhere"
            )
        return host, port


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(text: str, what: str) -> tuple[str, int]:
    """Return "127.0.0.1:80" as its two parts. Raises RefusedError."""
    host, _, port = text.rpartition(":")
    if re.fullmatch(r"[\w.-]*", host, re.ASCII) and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= PORT_MAX:
        try:
            host.encode("idna")
        except UnicodeError:
            pass  # a part of it is empty, or longer than a name's may be
        else:
            return host, int(port)
    raise RefusedError(400, f"{what} {text!r} is not a host name or IPv4 address, a colon and a port")


def _joined(host: str, port: int) -> str:
    return f"{host}:{port}"


def _check_is_movable(served: _Served) -> None:
    if served.scope is None:
        raise RefusedError(403, f"proxy {served.name!r} is a part of what is tested: it stays where it is")


def _check_is_whole(asked: _Asked, where: str = "") -> None:
    for field in ("name", "upstream"):
        if not getattr(asked, field):
            raise RefusedError(400, f"missing required field: {field}{where}")


def _refusal(status: int, error: Exception) -> dict[str, object]:
    return {"error": str(error), "status": status}


def _decoded(body: bytes) -> Fields:
    """Return a JSON object. Toxiproxy takes null for what is not given. Raises RefusedError."""
    return {key: value for key, value in converted(_json(body), Fields).items() if value is not None}


def _decoded_list(body: bytes) -> Iterator[Fields]:
    for each in converted(_json(body), list[Fields]):
        yield {key: value for key, value in each.items() if value is not None}


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"bad request body: {error}") from error
