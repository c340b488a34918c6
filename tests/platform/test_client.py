"""The user's device, with a gateway that says what a test wants."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing
from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket

from models.client import ChatClient, Outcome
from models.protocol import CHAT, Cancelling, ErrorFrame, ServerFrame, Welcome, encode

HOST = "127.0.0.1"
WELCOME = Welcome(user="alice", session="s", token="t", expires_in=300)


class Seen:
    """What a device tells."""

    def __init__(self) -> None:
        self.frames: list[ServerFrame] = []
        self.states: list[str] = []
        self.unreadable: list[str] = []


@asynccontextmanager
async def connected(
    gateway: Callable[[WebSocketConnection], Awaitable[None]],
) -> AsyncIterator[tuple[ChatClient, Seen]]:
    """Provide a device that is connected; its gateway goes on after the welcome."""

    async def serve(request: WebSocketRequest) -> None:
        socket = await request.accept()
        await socket.get_message()
        await socket.send_message(encode(WELCOME))
        await gateway(socket)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, HOST, 0, ssl_context=None))
        seen = Seen()
        client = ChatClient(
            user="alice",
            login="l",
            host=HOST,
            port=server.port,
            on_frame=seen.frames.append,
            on_state=seen.states.append,
            on_unreadable=seen.unreadable.append,
        )
        nursery.start_soon(client.run)
        with trio.fail_after(5.0):
            while "connected" not in seen.states:
                await trio.sleep(0.01)
        yield client, seen
        nursery.cancel_scope.cancel()


def test_what_a_device_cannot_read_is_told() -> None:
    """It ends the connection, and nobody else has seen it."""

    async def gateway(socket: WebSocketConnection) -> None:
        await socket.send_message('{"type":"ack"}')
        await trio.sleep_forever()

    async def main() -> None:
        async with connected(gateway) as (_, seen):
            with trio.fail_after(5.0):
                while "disconnected" not in seen.states:
                    await trio.sleep(0.01)
            assert seen.unreadable == ['{"type":"ack"}']
            assert seen.frames == [WELCOME]

    trio.run(main)


def test_an_error_is_the_answer_to_what_was_sent_first() -> None:
    """A message and its cancel wait for answers under one id: what is said of the second says nothing of the first."""

    async def gateway(socket: WebSocketConnection) -> None:
        for _ in range(2):
            await socket.get_message()
        for code in ("unavailable", "try_later"):
            await socket.send_message(encode(ErrorFrame(code=code, id="m")))
        await socket.get_message()
        await socket.send_message(encode(Cancelling(id="m")))
        await trio.sleep_forever()

    async def main() -> None:
        async with connected(gateway) as (client, _):
            outcomes: dict[str, Outcome] = {}

            async def ask() -> None:
                outcomes["message"] = await client.send("m", "why?", "c", CHAT)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                outcomes["cancel"] = await client.cancel("m")
            assert outcomes == {"message": Outcome.INFO, "cancel": Outcome.FAIL}
            assert await client.cancel("m") is Outcome.OK

    trio.run(main)
