"""Small programs, and shorthands, that the tests of the world share."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from simulator.world import World

__all__ = ["PORT", "Ending", "echo", "receive_exactly", "receive_until_end", "serve", "serve_echo", "world_with"]

PORT = 7000
Handler = Callable[[trio.SocketStream], Awaitable[object]]


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):  # a client that gives up must not bring down the server
        async with stream:
            async for data in stream:
                await stream.send_all(data)


def serve(handler: Handler, port: int = PORT) -> Callable[[], Awaitable[None]]:
    async def main() -> None:
        await trio.serve_tcp(handler, port)

    return main


serve_echo = serve(echo)


class Ending:
    """A program that can be told to end: it accepts no more, lets each connection be served to its end, and returns."""

    def __init__(self, handler: Handler = echo) -> None:
        self.handler = handler
        self.told = 0

    async def main(self) -> None:
        self.accepting = trio.CancelScope()
        async with trio.open_nursery() as handlers:
            with self.accepting:
                await trio.serve_tcp(self.handler, PORT, handler_nursery=handlers)

    def end(self) -> None:
        self.told += 1
        self.accepting.cancel()


def world_with(
    server: Callable[[], Awaitable[object]] | None = serve_echo,
    *,
    clients: int = 1,
    seed: int = 0,
    on_terminate: Callable[[], None] | None = None,
) -> World:
    """Open a world with a host `server` and hosts `c0`, `c1`, ..."""
    world = World(seed=seed)
    world.add_host("server", server, on_terminate=on_terminate)
    for number in range(clients):
        world.add_host(f"c{number}")
    return world


async def receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        assert part, f"the stream ended after {len(data)} of {count} bytes"
        data += part
    return bytes(data)


async def receive_until_end(stream: trio.SocketStream) -> bytes:
    return b"".join([part async for part in stream])
