"""Link deeds through Toxiproxy's HTTP API, from our means to our server, on real sockets.

`TOXIPROXY_URL` lets the tests of the means run against a real Toxiproxy instead.
"""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs
import httpx
import pytest
import trio

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.deed import UNDONE_BY, Deed, Means
from simulator.live.means.toxiproxy import PREFIX, Toxiproxy
from simulator.live.proxy import Proxy
from simulator.live.toxiproxy_api import BODY_BYTES_MAX, ToxiproxyAPI
from tests.live.test_proxy import (
    PATIENCE_S,
    SILENCE_S,
    Pair,
    assert_echoes,
    assert_nothing_comes,
    receive,
    wait_reset,
    wait_until,
)

REAL_URL = os.environ.get("TOXIPROXY_URL") or None
FORTH, BACK = ("agents", "redis"), ("redis", "agents")
LINK = "agents->redis"


@attrs.frozen
class Stage:
    """A Toxiproxy with one proxy, "link", in front of a server whose accepted connections the test receives."""

    url: str
    upstream: str
    accepted: trio.MemoryReceiveChannel[trio.SocketStream]
    closing: contextlib.AsyncExitStack
    http: httpx.AsyncClient
    own: Proxy | None

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return await self.http.request(method, path, json=body)

    async def told(self, name: str = "link") -> Any:
        return (await self.ask("GET", f"/proxies/{name}")).json()

    async def toxic(self, kind: str, stream: str = "upstream", **attributes: int) -> str:
        toxic = {"type": kind, "stream": stream, "attributes": attributes}
        answer = await self.ask("POST", "/proxies/link/toxics", toxic)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["name"])

    async def untoxic(self, name: str) -> None:
        assert (await self.ask("DELETE", f"/proxies/link/toxics/{name}")).status_code == 204

    async def dial(self) -> trio.SocketStream:
        host, _, port = (await self.told())["listen"].rpartition(":")
        return await self.closing.enter_async_context(await trio.open_tcp_stream(host, int(port)))

    async def connect(self) -> Pair:
        client = await self.dial()
        return Pair(client, await self.closing.enter_async_context(await self.accepted.receive()))

    async def means(self, links: Mapping[str, str] | None = None) -> "BlockingMeans":
        means = Toxiproxy(self.url, links or {LINK: "link"})
        self.closing.callback(means.close)
        await trio.to_thread.run_sync(means.probe)
        return BlockingMeans(means)


@attrs.frozen
class BlockingMeans:
    """Means whose calls leave the event loop, in which the server may be, to itself."""

    means: Means

    async def do(self, action: str, at: tuple[str, ...] = FORTH, *, seconds: float = 0.0) -> Deed:
        deed = Deed(action, at, seconds)
        await trio.to_thread.run_sync(self.means.do, deed)
        return deed

    async def undo(self, deed: Deed) -> None:
        undoing = deed.undoing()
        assert undoing is not None
        await trio.to_thread.run_sync(self.means.do, undoing)

    async def heal(self) -> None:
        await trio.to_thread.run_sync(self.means.heal)


@contextlib.asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    sender, receiver = trio.open_memory_channel[trio.SocketStream](100)

    async def serve(stream: trio.SocketStream) -> None:
        await sender.send(stream)
        await trio.sleep_forever()

    async with contextlib.AsyncExitStack() as closing, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        upstream, own, url = listener.socket.getsockname(), None, REAL_URL
        if url is None:
            own = Proxy(upstream)
            await nursery.start(own.run)
            api = ToxiproxyAPI({"link": own})
            await nursery.start(api.run)
            url = f"http://127.0.0.1:{api.port}"
        http = await closing.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
        where = f"127.0.0.1:{upstream[1]}"
        if REAL_URL:
            await http.delete("/proxies/link")
            await http.post("/proxies", json={"name": "link", "listen": "127.0.0.1:0", "upstream": where})
        yield Stage(url, where, receiver, closing, http, own)
        nursery.cancel_scope.cancel()


def on_a_stage(test: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with a_stage() as stage:
                await test(stage)

    trio.run(main)


async def assert_ended(stream: trio.SocketStream) -> None:
    assert await stream.receive_some() == b""


ours_only = pytest.mark.skipif(REAL_URL is not None, reason="of our server only")
each_way = pytest.mark.parametrize(("at", "stream"), [(FORTH, "upstream"), (BACK, "downstream")])


def along(pair: Pair, at: tuple[str, ...]) -> tuple[trio.SocketStream, trio.SocketStream]:
    return (pair.client, pair.server) if at == FORTH else (pair.server, pair.client)


# The means


@each_way
def test_a_hold_keeps_back_one_way_until_it_is_released(at, stream):
    """The fault that duplicates work is a request that arrives while its answer does not."""

    async def test(stage: Stage) -> None:
        means, pair = await stage.means(), await stage.connect()
        sender, receiver = along(pair, at)
        hold = await means.do("hold", at)
        (toxic,) = (await stage.told())["toxics"]
        assert toxic["name"] == f"{PREFIX}delay-{stream}"
        for part in (b"one ", b"two ", b"three"):
            await sender.send_all(part)
            await trio.sleep(0.01)
        await means.do("hold", at)
        await receiver.send_all(b"in time")
        assert await receive(sender, 7) == b"in time"
        await assert_nothing_comes(receiver)
        await means.undo(hold)
        assert await receive(receiver, 13) == b"one two three"
        assert (await stage.told())["toxics"] == []

    on_a_stage(test)


def test_a_delay_during_a_hold_lets_nothing_through_and_comes_with_the_release():
    """Toxiproxy lets a chunk through when a toxic is changed: a hold that leaks loses the race it was to win."""

    async def test(stage: Stage) -> None:
        means, pair = await stage.means(), await stage.connect()
        hold = await means.do("hold")
        await pair.client.send_all(b"held")
        await means.do("delay", seconds=SILENCE_S / 2)
        await assert_nothing_comes(pair.server)
        await means.undo(hold)
        assert await receive(pair.server, 4) == b"held"
        started_at_s = trio.current_time()
        await pair.client.send_all(b"late")
        assert await receive(pair.server, 4) == b"late"
        assert trio.current_time() - started_at_s >= SILENCE_S / 2 * 0.9

    on_a_stage(test)


@each_way
def test_a_delay_takes_the_place_of_the_one_before_and_is_undone_by_none(at, stream):
    """A replay sets the latency of each link anew, often."""

    async def test(stage: Stage) -> None:
        means, pair = await stage.means(), await stage.connect()
        sender, receiver = along(pair, at)
        await means.do("delay", at, seconds=3600.0)
        delay = await means.do("delay", at, seconds=0.2)
        (toxic,) = (await stage.told())["toxics"]
        assert (toxic["stream"], toxic["attributes"]["latency"]) == (stream, 200)
        started_at_s = trio.current_time()
        await sender.send_all(b"late")
        assert await receive(receiver, 4) == b"late"
        assert trio.current_time() - started_at_s >= 0.19
        await means.undo(delay)
        await assert_echoes(pair, b"soon")
        assert (await stage.told())["toxics"] == []

    on_a_stage(test)


def test_a_reset_ends_present_connections_also_idle_ones_and_leaves_new_ones():
    """Toxiproxy's reset_peer would wait for the next bytes, of which an idle connection has none."""

    async def test(stage: Stage) -> None:
        means, pairs = await stage.means(), [await stage.connect() for _ in range(3)]
        await means.do("reset")
        for pair in pairs:
            await assert_ended(pair.client)
            await assert_ended(pair.server)
        assert (await stage.told())["toxics"] == []
        await assert_echoes(await stage.connect(), b"new")

    on_a_stage(test)


def test_silence_loses_what_both_send_and_its_end_closes_them():
    """Half-open connections are where systems without heartbeats wait for ever."""

    async def test(stage: Stage) -> None:
        means, present = await stage.means(), await stage.connect()
        silence = await means.do("silence")
        new = await stage.connect()
        for pair in (present, new):
            await pair.client.send_all(b"anyone?")
            await pair.server.send_all(b"anyone?")
            await assert_nothing_comes(pair.client)
            await assert_nothing_comes(pair.server)
        await means.undo(silence)
        for pair in (present, new):
            await assert_ended(pair.client)
            await assert_ended(pair.server)
        await assert_echoes(await stage.connect(), b"found again")

    on_a_stage(test)


def test_a_reset_during_silence_ends_connections_and_the_silence_goes_on():
    """Faults compose: one must not undo another in the same place."""

    async def test(stage: Stage) -> None:
        means, pair = await stage.means(), await stage.connect()
        silence = await means.do("silence")
        await means.do("reset")
        await assert_ended(pair.client)
        await assert_ended(pair.server)
        new = await stage.connect()
        await new.client.send_all(b"anyone?")
        await assert_nothing_comes(new.server)
        await means.undo(silence)
        await assert_ended(new.server)

    on_a_stage(test)


def test_healing_undoes_what_a_process_that_was_killed_has_done_and_nobody_elses():
    """A replay that was killed cannot undo what it did; the next one can, and must not touch the user's own toxics."""

    async def test(stage: Stage) -> None:
        killed = await stage.means()
        await killed.do("hold")
        await killed.do("delay", BACK, seconds=3600.0)
        await killed.do("silence")
        await stage.toxic("slow_close", delay=1)
        await (await stage.means()).heal()
        assert [each["type"] for each in (await stage.told())["toxics"]] == ["slow_close"]
        await assert_echoes(await stage.connect(), b"healed")

    on_a_stage(test)


def test_to_undo_what_is_not_done_does_nothing():
    """What undoes a journal of deeds need not know how far they came."""

    async def test(stage: Stage) -> None:
        means, pair = await stage.means(), await stage.connect()
        for action in ("release", "unsilence", "delay"):
            await means.do(action)
        await assert_echoes(pair, b"untouched")

    on_a_stage(test)


def test_why_not_tells_what_is_not_ours_from_what_cannot_be_done():
    """Whoever has several means asks each; only the one at whose place it fails has the reason."""

    async def test(stage: Stage) -> None:
        means = (await stage.means()).means
        for action in ("hold", "release", "delay", "reset", "silence", "unsilence"):
            assert means.why_not(Deed(action, BACK)) is None
        for action in ("refuse", UNDONE_BY["refuse"]):
            assert "present connections" in (means.why_not(Deed(action, FORTH)) or "")
        assert "messages" in (means.why_not(Deed("hold-message", FORTH, nth=1)) or "")
        assert "cannot flood" in (means.why_not(Deed("flood", FORTH)) or "")
        for place in (("redis",), ("agents", "postgres")):
            assert means.why_not(Deed("crash", place)) == ""
        with pytest.raises(EnvironmentFailedError, match="present connections"):
            means.do(Deed("refuse", FORTH))
        with pytest.raises(EnvironmentFailedError, match="no such link"):
            means.do(Deed("hold", ("agents", "postgres")))

    on_a_stage(test)


def test_a_proxy_may_be_named_as_its_link():
    """A staging's proxies are: an arrow must survive the way through a URL."""

    async def test(stage: Stage) -> None:
        made = {"name": LINK, "listen": "127.0.0.1:0", "upstream": stage.upstream}
        await stage.ask("DELETE", "/proxies/agents-%3Eredis")
        assert (await stage.ask("POST", "/proxies", made)).status_code == 201
        means = await stage.means({LINK: LINK})
        await means.do("hold", BACK)
        assert [each["stream"] for each in (await stage.told("agents-%3Eredis"))["toxics"]] == ["downstream"]
        await means.heal()
        assert (await stage.told("agents-%3Eredis"))["toxics"] == []
        assert (await stage.ask("DELETE", "/proxies/agents-%3Eredis")).status_code == 204

    on_a_stage(test)


@pytest.mark.parametrize(
    ("links", "match"),
    [
        ({LINK: "nobody"}, r"has no proxy 'nobody' for link agents->redis\. Known: .*link"),
        ({"agents": "link"}, "'agents' is no link"),
    ],
)
def test_a_mapping_that_is_wrong_is_told_at_once(links, match):
    """A typing mistake must not show as a fault that never strikes."""

    async def test(stage: Stage) -> None:
        with pytest.raises(InputError, match=match):
            await stage.means(links)

    on_a_stage(test)


@pytest.mark.parametrize("url", ["127.0.0.1:8474", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", ""])
def test_a_url_that_is_none_is_the_users_to_correct(url):
    """It is no server that went away."""
    with pytest.raises(InputError, match="no URL of a Toxiproxy"):
        Toxiproxy(url, {LINK: "link"})


def test_a_server_or_a_proxy_that_is_gone_is_told():
    """The user must learn what is missing, also when it goes in between."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(EnvironmentFailedError, match=f"no Toxiproxy answers at http://127.0.0.1:{port}"):
            Toxiproxy(f"http://127.0.0.1:{port}", {LINK: "link"}).probe()

    async def test(stage: Stage) -> None:
        await stage.ask("DELETE", "/proxies/made")
        made = {"name": "made", "listen": "127.0.0.1:0", "upstream": stage.upstream}
        assert (await stage.ask("POST", "/proxies", made)).status_code == 201
        means = await stage.means({LINK: "made"})
        assert (await stage.ask("DELETE", "/proxies/made")).status_code == 204
        for do in (lambda: means.do("hold"), lambda: means.do("release"), means.heal):
            with pytest.raises(EnvironmentFailedError, match="proxy not found"):
                await do()

    on_a_stage(test)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 404 No\r\n\r\nnot here"]
)
def test_a_server_that_is_no_toxiproxy_is_told_with_what_it_says(answer):
    """A port of another service, mistaken for Toxiproxy's."""

    async def main() -> None:
        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await stream.send_all(answer)

        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, serve, [listener])
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            with pytest.raises(EnvironmentFailedError, match="is no Toxiproxy: GET /version got"):
                await trio.to_thread.run_sync(Toxiproxy(url, {LINK: "link"}).probe)
            nursery.cancel_scope.cancel()

    trio.run(main)


# The toxics, as any client asks for them


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_bandwidth_of_kilobytes_a_second(stream):
    """Its unit is 1000 bytes; what was on its way goes on when it is removed."""

    async def test(stage: Stage) -> None:
        pair = await stage.connect()
        sender, receiver = along(pair, FORTH if stream == "upstream" else BACK)
        name = await stage.toxic("bandwidth", stream, rate=10)
        started_at_s = trio.current_time()
        await sender.send_all(bytes(5000))
        await receive(receiver, 5000)
        assert 0.45 <= trio.current_time() - started_at_s < 2.0
        await sender.send_all(bytes(20_000))
        await trio.sleep(SILENCE_S / 2)
        await stage.untoxic(name)
        await receive(receiver, 20_000)
        assert trio.current_time() - started_at_s < 2.0

    on_a_stage(test)


def test_a_latency_delays_bytes_and_not_the_close_of_an_idle_connection():
    """What Toxiproxy's does: who wants the close late adds a slow_close."""

    async def test(stage: Stage) -> None:
        talking, idle = await stage.connect(), await stage.connect()
        await stage.toxic("latency", latency=300, jitter=100)
        started_at_s = trio.current_time()
        await idle.client.aclose()
        await assert_ended(idle.server)
        assert trio.current_time() - started_at_s < 0.19
        await talking.client.send_all(b"late")
        assert await receive(talking.server, 4) == b"late"
        assert trio.current_time() - started_at_s >= 0.19

    on_a_stage(test)


def test_a_slow_close_delays_the_close_and_not_bytes():
    """Removed, it lets the close go on."""

    async def test(stage: Stage) -> None:
        pair = await stage.connect()
        name = await stage.toxic("slow_close", delay=3_600_000)
        await pair.client.send_all(b"last words")
        await pair.client.aclose()
        assert await receive(pair.server, 10) == b"last words"
        await assert_nothing_comes(pair.server)
        await stage.untoxic(name)
        await assert_ended(pair.server)

    on_a_stage(test)


def test_a_timeout_discards_one_way_and_closes_when_nothing_came_for_so_long():
    """Bytes start it anew; so Toxiproxy's does, whatever its name says."""

    async def test(stage: Stage) -> None:
        await stage.toxic("timeout", timeout=300)
        started_at_s = trio.current_time()
        pair = await stage.connect()
        await trio.sleep(0.15)
        await pair.client.send_all(b"lost")
        await pair.server.send_all(b"arrives")
        assert await receive(pair.client, 7) == b"arrives"
        await assert_ended(pair.server)
        assert trio.current_time() - started_at_s >= 0.44
        await assert_ended(pair.client)

    on_a_stage(test)


def test_reset_peer_ends_a_connection_at_its_next_bytes():
    """One that was made after it is reset; one that was there before is closed; an idle one lives on."""

    async def test(stage: Stage) -> None:
        present, idle = await stage.connect(), await stage.connect()
        name = await stage.toxic("reset_peer", timeout=0)
        new = await stage.connect()
        for pair in (present, new):
            await pair.client.send_all(b"lost")
        await assert_ended(present.client)
        await assert_ended(present.server)
        await wait_reset(new.client)
        await wait_reset(new.server)
        await stage.untoxic(name)
        await assert_echoes(idle, b"unharmed")

    on_a_stage(test)


def test_a_slicer_cuts_and_pauses():
    """Its pause is in microseconds."""

    async def test(stage: Stage) -> None:
        pair = await stage.connect()
        await stage.toxic("slicer", average_size=100, size_variation=10, delay=50_000)
        started_at_s = trio.current_time()
        await pair.client.send_all(bytes(range(200)) * 2)
        slices = [await pair.server.receive_some()]
        while sum(map(len, slices)) < 400:
            slices.append(await pair.server.receive_some())
        assert b"".join(slices) == bytes(range(200)) * 2
        assert max(map(len, slices)) <= 110
        assert trio.current_time() - started_at_s >= 0.05 * (len(slices) - 1) * 0.9

    on_a_stage(test)


def test_limit_data_passes_so_many_bytes_and_closes_both_sides():
    """A limit that is changed goes on counting."""

    async def test(stage: Stage) -> None:
        pair = await stage.connect()
        await pair.client.send_all(b"before")
        assert await receive(pair.server, 6) == b"before"
        name = await stage.toxic("limit_data", bytes=5)
        await pair.client.send_all(b"123")
        assert await receive(pair.server, 3) == b"123"
        answer = await stage.ask("POST", f"/proxies/link/toxics/{name}", {"attributes": {"bytes": 6}})
        assert answer.json()["attributes"] == {"bytes": 6}
        await pair.client.send_all(b"4567")
        assert await receive(pair.server, 3) == b"456"
        await assert_ended(pair.server)
        await assert_ended(pair.client)

    on_a_stage(test)


# The API


def test_proxies_are_made_shown_changed_disabled_and_deleted():
    """What every client library does."""

    async def test(stage: Stage) -> None:
        await stage.ask("DELETE", "/proxies/made")
        made = {"name": "made", "listen": "localhost:0", "upstream": stage.upstream}
        answer = await stage.ask("POST", "/proxies", made)
        assert answer.status_code == 201
        told = answer.json()
        host, _, port = told["listen"].rpartition(":")
        shown = (told["name"], host, told["upstream"], told["enabled"], told["toxics"])
        assert shown == ("made", "127.0.0.1", stage.upstream, True, [])
        assert (await stage.ask("POST", "/proxies", made)).status_code == 409
        assert "made" in (await stage.ask("GET", "/proxies")).json()

        async with await trio.open_tcp_stream(host, int(port)) as client:
            pair = Pair(client, await stage.accepted.receive())
            await assert_echoes(pair, b"through")
            assert (await stage.ask("POST", "/proxies/made", {"enabled": False})).json()["enabled"] is False
            await assert_ended(pair.client)
            await assert_ended(pair.server)
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(host, int(port))
        assert (await stage.ask("POST", "/reset")).status_code == 204
        assert (await stage.told("made"))["enabled"] is True

        await stage.ask("POST", "/proxies/made/toxics", {"type": "latency", "attributes": {"latency": 200}})
        moved = (await stage.ask("PATCH", "/proxies/made", {"listen": "127.0.0.1:0"})).json()
        assert moved["listen"] != told["listen"]
        assert [each["name"] for each in moved["toxics"]] == ["latency_downstream"]
        async with await trio.open_tcp_stream(host, int(moved["listen"].rpartition(":")[2])) as client:
            started_at_s = trio.current_time()
            await assert_echoes(Pair(client, await stage.accepted.receive()), b"moved")
            assert trio.current_time() - started_at_s >= 0.19

        assert (await stage.ask("DELETE", "/proxies/made")).status_code == 204
        assert (await stage.ask("GET", "/proxies/made")).status_code == 404

    on_a_stage(test)


def test_populate_makes_what_is_missing_and_leaves_what_is_alike():
    """The first thing that a test suite with Toxiproxy does, again and again."""

    async def test(stage: Stage) -> None:
        await stage.ask("DELETE", "/proxies/made")
        made = {"name": "made", "listen": "127.0.0.1:0", "upstream": stage.upstream}
        answer = await stage.ask("POST", "/populate", [made])
        assert answer.status_code == 201
        (told,) = answer.json()["proxies"]
        await stage.ask("POST", "/proxies/made/toxics", {"type": "latency"})
        alike = {key: told[key] for key in ("name", "listen", "upstream")}
        (told,) = (await stage.ask("POST", "/populate", [alike])).json()["proxies"]
        assert [each["name"] for each in told["toxics"]] == ["latency_downstream"]
        (told,) = (await stage.ask("POST", "/populate", [{**alike, "upstream": "127.0.0.1:1"}])).json()["proxies"]
        assert (told["toxics"], told["upstream"], told["listen"]) == ([], "127.0.0.1:1", alike["listen"])
        answer = await stage.ask("POST", "/populate", [made, {"name": "half"}])
        assert (answer.status_code, answer.json()["error"]) == (400, "missing required field: upstream at proxy 2")
        await stage.ask("DELETE", "/proxies/made")

    on_a_stage(test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/proxies/nobody", None, 404, "proxy not found"),
        ("GET", "/proxies/link/toxics/none", None, 404, "toxic not found"),
        ("POST", "/proxies/link/toxics", {"type": "poison"}, 400, "invalid toxic type"),
        ("POST", "/proxies/link/toxics", {"type": "latency", "stream": "sideways"}, 400, "stream was invalid"),
        ("POST", "/proxies/link/toxics", {"type": "latency", "attributes": {"latency": "1s"}}, 400, "bad request body"),
        ("POST", "/proxies", {"upstream": "127.0.0.1:1"}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "x"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", [], 400, "bad request body"),
        ("PUT", "/proxies", {}, 405, None),
        ("GET", "/nothing", None, 404, None),
    ],
)
def test_errors_are_those_of_toxiproxy(method, path, body, status, error):
    """Client libraries tell their users what the body says, and decide by the status."""

    async def test(stage: Stage) -> None:
        answer = await stage.ask(method, path, body)
        assert answer.status_code == status
        if error is not None:
            assert answer.json()["error"].startswith(error)
            assert answer.json()["status"] == status
        assert (await stage.told())["toxics"] == []

    on_a_stage(test)


@ours_only
@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/proxies/link/toxics", {"type": "latency", "toxicity": 0.5}, "toxicity 0.5 is not done here"),
        ("/proxies/link/toxics", {"type": "bandwidth", "attributes": {"rate": -1}}, "attribute rate"),
        ("/proxies/link/toxics", {"type": "slicer", "attributes": {"average_size": 0}}, "attribute average_size"),
        ("/proxies/link/toxics", {"type": "latency", "attributes": {"latency": 10**30}}, "attribute latency"),
        ("/proxies/link", {"upstream": "127.0.0.1:1"}, "proxy 'link' is a part of what is tested"),
        ("/proxies", {"name": "x", "upstream": "127.0.0.1:1", "listen": "0.0.0.0:0"}, "listen '0.0.0.0:0' is not"),
        ("/proxies", {"name": "x", "upstream": "nowhere"}, "upstream 'nowhere' is not"),
        ("/proxies", {"name": "x", "upstream": "a..b:80"}, "upstream 'a..b:80' is not"),
        ("/proxies", {"name": "x", "upstream": "127.0.0.1:99999"}, "upstream '127.0.0.1:99999' is not"),
    ],
)
def test_what_is_not_done_here_is_refused_with_its_reason(path, body, error):
    """A toxic that does something else than it says makes the tests of others lie; some would stop Toxiproxy itself."""

    async def test(stage: Stage) -> None:
        answer = await stage.ask("POST", path, body)
        assert answer.status_code in (400, 403)
        assert error in answer.json()["error"]
        assert (await stage.told())["toxics"] == []

    on_a_stage(test)


@ours_only
def test_latencies_of_a_stream_add_up_and_other_toxics_of_a_type_exclude_each_other():
    """Two limits of one kind have an order that we do not model; two latencies have none."""

    async def test(stage: Stage) -> None:
        pair = await stage.connect()
        for name in ("one", "two"):
            toxic = {"name": name, "type": "latency", "stream": "upstream", "attributes": {"latency": 100}}
            assert (await stage.ask("POST", "/proxies/link/toxics", toxic)).status_code == 200
        started_at_s = trio.current_time()
        await pair.client.send_all(b"late")
        assert await receive(pair.server, 4) == b"late"
        assert trio.current_time() - started_at_s >= 0.19
        answer = await stage.ask("PATCH", "/proxies/link/toxics/two", {"attributes": {"jitter": 1}})
        assert (answer.status_code, "several without jitter" in answer.text) == (400, True)
        await stage.toxic("bandwidth", rate=1000)
        answer = await stage.ask(
            "POST", "/proxies/link/toxics", {"name": "second", "type": "bandwidth", "stream": "upstream"}
        )
        assert (answer.status_code, "one bandwidth toxic" in answer.text) == (400, True)

    on_a_stage(test)


@ours_only
def test_somebody_elses_proxy_can_be_struck_and_disabled_but_not_deleted():
    """A staging whose links can be removed has a platform that cannot work any more."""

    async def test(stage: Stage) -> None:
        assert (await stage.ask("DELETE", "/proxies/link")).status_code == 403
        await stage.ask("POST", "/proxies/link", {"enabled": False})
        assert stage.own is not None
        assert stage.own.is_refusing
        await stage.ask("POST", "/reset")
        await assert_echoes(await stage.connect(), b"enabled")

    on_a_stage(test)


@ours_only
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}]
)
def test_a_browser_is_refused(headers):
    """A page in the user's browser could otherwise reach whatever a proxy can."""

    async def test(stage: Stage) -> None:
        answer = await stage.http.post("/reset", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "User agent not allowed")

    on_a_stage(test)


@ours_only
@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"GET " + b"/" * 100_000,
        b"HEAD /proxies HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[[[[[",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
        b'POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{"name":"\xff\xfe\\ud8"}',
        b"POST /populate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[null,{}]",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\ncut",
        b"GET /proxies/%ff%00/toxics/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["tls", "long", "head", "cut-json", "deep-json", "no-utf-8", "nulls", "cut-body", "path", "connect"],
)
def test_no_bytes_end_the_server(sent):
    """It runs in the staging's own process."""

    async def test(stage: Stage) -> None:
        port = int(stage.url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(sent)
                await stream.send_eof()
                assert b" 2" not in b"".join([chunk async for chunk in stream])[:12]
        assert (await stage.ask("GET", "/version")).status_code == 200

    on_a_stage(test)


@ours_only
def test_a_body_without_end_is_refused_before_it_ends():
    """Memory is finite."""

    async def test(stage: Stage) -> None:
        port = int(stage.url.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
            await stream.send_all(bytes(BODY_BYTES_MAX + 1))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 413 ")

    on_a_stage(test)


@ours_only
def test_a_taken_port_of_the_api_is_an_environment_failure():
    """The user must learn which port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailedError, match=f"port={port}"):
            trio.run(ToxiproxyAPI({}, port=port).run)


@ours_only
def test_resetting_from_within_undoes_what_clients_did():
    """A staging that heals itself must not leave toxics that are shown and no longer work."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            proxy = Proxy(("127.0.0.1", 1))
            api = ToxiproxyAPI({"link": proxy})
            await nursery.start(api.run)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", trust_env=False) as http:
                await http.post("/proxies/link/toxics", json={"type": "timeout"})
                await http.post("/proxies/link", json={"enabled": False})
                api.reset()
                told = (await http.get("/proxies/link")).json()
            assert (told["toxics"], told["enabled"]) == ([], True)
            await wait_until(lambda: not proxy.is_refusing)
            nursery.cancel_scope.cancel()

    trio.run(main)
