"""How wavetank speaks with the hall."""

import json

from trio_websocket import connect_websocket

from models.adapter import FOREVER_S, Adapter
from models.protocol import Ack, ErrorFrame, Reply, Welcome


class HallAdapter(Adapter):
    def __init__(self, user, credentials):
        super().__init__(user, credentials)
        self.socket = None
        self.unnumbered = []  # posts whose numbers are not known yet, the oldest first
        self.posts = {}  # which message each number is
        self.replies = 0

    async def connect(self, nursery, host, port):
        self.unnumbered.clear()
        self.socket = await connect_websocket(nursery, host, port, "/", use_ssl=False)
        await self.say(enter=self.user, password=self.credentials["password"])

    async def send(self, id, text, context):
        self.unnumbered.append(id)
        await self.say(post=text, room=context)

    async def receive(self):
        return await self.socket.get_message()

    def classify(self, received):
        match json.loads(received):
            case {"entered": guest}:
                return Welcome(user=guest, session=guest, token="a ticket", expires_in=FOREVER_S)
            case {"turned_away": _}:
                return ErrorFrame(code="unauthorised")
            case {"posted": number}:
                self.posts[number] = self.unnumbered.pop(0)
                return Ack(id=self.posts[number])
            case {"bot": text, "about": number}:
                self.replies += 1
                nodes = {"triage": "completed"}
                return Reply(to=self.posts[number], seq=self.replies, status="done", text=text, nodes=nodes)

    def tokens(self, received):
        return [json.loads(received).get("ticket", "")]

    async def ping(self):
        await self.socket.ping()

    async def close(self):
        if self.socket is not None:
            await self.socket.aclose()

    async def say(self, **words):
        await self.socket.send_message(json.dumps(words))
