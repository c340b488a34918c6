"""Real protocol libraries run in a world, unmodified."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import coredis
import h11
import httpx
import pytest
import trio
import trio_websocket

from simulator.services.redis import SimulatedRedis
from simulator.world import World
from tests.world.stage import PORT, serve, serve_echo, world_with

Program = Callable[[], Awaitable[object]]


WEATHERS = [0, 1, 2]


def run(client: Program, server: Program, weather: int) -> Any:
    with world_with(server) as world:
        world.weather.change(weather)
        result = world.run(client, host="c0", timeout_s=60)
        assert not world.failures
        return result


@pytest.mark.parametrize("weather", WEATHERS)
def test_trio_websocket_echoes(weather):
    """The gateway of every chat."""

    async def handler(request):
        connection = await request.accept()
        try:
            while True:
                await connection.send_message((await connection.get_message()).upper())
        except trio_websocket.ConnectionClosed:
            pass

    async def client():
        async with trio_websocket.open_websocket("server", PORT, "/", use_ssl=False) as connection:
            answers = []
            for number in range(5):
                await connection.send_message(f"message {number}")
                answers.append(await connection.get_message())
            return answers

    async def main():
        await trio_websocket.serve_websocket(handler, None, PORT, ssl_context=None)

    assert run(client, main, weather) == [f"MESSAGE {number}" for number in range(5)]


async def answer_http(stream):
    connection = h11.Connection(h11.SERVER)
    body = b""
    async with stream:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                head = h11.Response(status_code=200, headers=[("content-length", str(len(body)))])
                await stream.send_all(connection.send(head) + connection.send(h11.Data(data=body[::-1])))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
                body = b""
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return


@pytest.mark.parametrize("weather", WEATHERS)
def test_httpx_asks_an_h11_server_over_pooled_connections(weather):
    """ClickHouse and language models speak HTTP."""

    async def client():
        async with httpx.AsyncClient(base_url=f"http://server:{PORT}") as http:
            answers = []

            async def post(text: str) -> None:
                answers.append((await http.post("/", content=text)).raise_for_status().text)

            async with trio.open_nursery() as nursery:
                for text in ("one", "two", "three"):
                    nursery.start_soon(post, text)
            await post("four")
            return sorted(answers)

    assert run(client, serve(answer_http), weather) == sorted(["eno", "owt", "eerht", "ruof"])


def test_httpx_times_out_in_virtual_time():
    """Its time-outs are AnyIO's or Trio's, both on the world's clock."""

    async def say_nothing(stream):
        await trio.sleep(60)

    async def client():
        async with httpx.AsyncClient(timeout=5) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(f"http://server:{PORT}/")
        return trio.current_time()

    assert run(client, serve(say_nothing), 0) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("weather", WEATHERS)
def test_coredis_talks_to_the_simulated_redis(weather):
    """Sessions, streams and caches live there."""

    async def client():
        redis = coredis.Redis(host="server", port=6379, decode_responses=True)
        async with redis:
            await redis.set("key", "value")
            await redis.lpush("list", ["a", "b"])
            return await redis.get("key"), await redis.lrange("list", 0, -1)

    with World() as world:
        redis = SimulatedRedis()
        world.add_host("server", redis.main, redis.crash)
        world.add_host("c0")
        world.weather.change(weather)
        assert world.run(client, host="c0", timeout_s=60) == ("value", ["b", "a"])


def test_anyio_connects_listens_and_asks_for_addresses():
    """Programs written for AnyIO run on Trio."""

    async def client():
        async with await anyio.connect_tcp("server", PORT) as stream:
            await stream.send(b"hello")
            remote = stream.extra(anyio.abc.SocketAttribute.remote_port)
            return await stream.receive(), remote

    assert run(client, serve_echo, 0) == (b"hello", PORT)
