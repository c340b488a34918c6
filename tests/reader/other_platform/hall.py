"""The hall: a small chat server, written with asyncio and websockets, that knows nothing of wavetank.

Who enters with the password posts in rooms. Posts are numbered, and a bot answers each: python hall.py --port 9100
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
from pathlib import Path

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


class Hall:
    def __init__(self, password, *, hasty):
        self.password = password
        self.hasty = hasty  # the bug: the bot remembers its answers by what was asked, whoever asked it and where
        self.numbers = itertools.count(1)
        self.guests = {}
        self.answers = {}
        self.thinking = set()

    async def receive(self, connection):
        entry = json.loads(await connection.recv())
        if entry.get("password") != self.password:
            await connection.send(json.dumps({"turned_away": "that is not the password"}))
            return
        guest = entry["enter"]
        self.guests[guest] = connection
        await self.tell(guest, entered=guest, ticket=secrets.token_hex(16))
        await self.tell(guest, notice=f"{len(self.guests)} guests were here today")
        async for line in connection:
            await self.take(guest, json.loads(line))

    async def take(self, guest, post):
        number = next(self.numbers)
        await self.tell(guest, posted=number)
        thought = asyncio.create_task(self.answer(guest, number, post["room"], post["post"]))
        self.thinking.add(thought)
        thought.add_done_callback(self.thinking.discard)

    async def answer(self, guest, number, room, question):
        await asyncio.sleep(0.3)  # a language model, say
        key = question if self.hasty else (guest, room, question)
        answer = self.answers.setdefault(key, f"Welcome to {room}! I do not know: {question}")
        await self.tell(guest, bot=answer, about=number)

    async def tell(self, guest, **words):
        with contextlib.suppress(ConnectionClosed):  # who is not here hears nothing
            await self.guests[guest].send(json.dumps(words))


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--pid-file", type=Path, default=Path("hall.pid"))
    parser.add_argument("--hasty", action="store_true", help="with the bug")
    options = parser.parse_args()
    hall = Hall(os.environ["HALL_PASSWORD"], hasty=options.hasty)
    async with serve(hall.receive, "127.0.0.1", options.port) as server:
        options.pid_file.write_text(str(os.getpid()))
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
