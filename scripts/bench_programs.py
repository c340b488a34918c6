"""Ordinary Trio programs to be measured: nothing in them knows whether it runs in a world or for real."""

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket

__all__ = ["ask_echoes", "ask_websocket_echoes", "echo", "sleep", "switch", "websocket_echo"]

PAYLOAD = b"x" * 100
RECEIVE_BYTES_MAX = 65536


async def switch(tasks: int, checkpoints: int) -> None:
    """Do nothing but give way to each other."""

    async def give_way() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(give_way)


async def sleep(tasks: int, times: int) -> None:
    """Sleep a second at a time."""

    async def doze() -> None:
        for _ in range(times):
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(doze)


async def echo(stream: trio.SocketStream) -> None:
    """Serve one client: send back whatever comes."""
    while data := await stream.receive_some(RECEIVE_BYTES_MAX):
        await stream.send_all(data)


async def ask_echoes(host: str, port: int, count: int) -> None:
    """Connect, and have 100 bytes sent back `count` times, one after another."""
    async with await trio.open_tcp_stream(host, port) as stream:
        for _ in range(count):
            await stream.send_all(PAYLOAD)
            missing = len(PAYLOAD)
            while missing:
                received = await stream.receive_some(missing)
                assert received, "the server ended the stream in the middle of an echo"
                missing -= len(received)


async def websocket_echo(request: WebSocketRequest) -> None:
    """Serve one WebSocket client: send back whatever message comes."""
    socket = await request.accept()
    try:
        while True:
            await socket.send_message(await socket.get_message())
    except ConnectionClosed:
        pass


async def ask_websocket_echoes(host: str, port: int, count: int) -> None:
    """Connect over WebSocket, and have 100 bytes sent back `count` times, one after another."""
    async with open_websocket(host, port, "/", use_ssl=False) as socket:
        for _ in range(count):
            await socket.send_message(PAYLOAD)
            assert await socket.get_message() == PAYLOAD
