"""A shop to be observed: one host, one operation, promises of each sort; and what its logs and recordings look like."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import structlog
import trio

from simulator import (
    Event,
    Host,
    Invocation,
    Observer,
    Reading,
    System,
    Unknown,
    User,
    always,
    eventually,
    operation,
    sometimes,
)
from simulator.history import Value
from simulator.plan import Plan
from simulator.simulated_run import simulate
from simulator.trace import event_record

SHOP = "tests.command.watched:shop"
BEGUN_AT_S = 1_750_000_000.0
PORT = 7000


class Shop(System):
    """Sells things, and does not look whether it has them."""

    users: ClassVar[tuple[int, int]] = (1, 2)

    def hosts(self) -> Iterator[Host]:
        yield Host("shop", self.serve, open_to_users=True)

    async def serve(self) -> None:
        async def answer(stream: trio.SocketStream) -> None:
            async for line in stream:
                user, _, item = line.decode().partition(" ")
                if item:
                    structlog.get_logger().info("sold", user=user, item=item)
                await stream.send_all(b"sold" if item else b"enough")

        await trio.serve_tcp(answer, PORT)

    @operation(item=st.sampled_from(("hat", "pen")))
    async def buy(self, user: User, item: str) -> str:
        return await said(f"{user.name} {item}")

    async def inspect(self, observer: Observer) -> None:
        if observer.reaches("shop"):
            observer.observe("stock", left=await said("stock?"))

    def operation_behind(self, logged: Event) -> Invocation | None:
        if logged.name != "sold":
            return None
        return Invocation(str(logged.data["user"]), "buy", {"item": logged.data["item"]})

    @always(in_parts=True)
    def sold_once(self, history: Reading) -> str | None:
        """Nothing is sold twice."""
        counts = Counter(str(each.data["item"]) for each in history.observed("sold"))
        return next((f"the {item} was sold {count} times" for item, count in counts.items() if count > 1), None)

    @always(in_parts=True)
    def few_queue(self, history: Reading) -> str | None:
        """At most nine customers wait."""
        waiting = (each.data['queue{till="1"}'] for each in history.observed("metrics"))
        return next((f"{count:g} wait" for count in waiting if isinstance(count, int | float) and count > 9), None)

    @always
    def told(self, history: Reading) -> str | None:
        """What is sold was ordered."""
        ordered = {each.arguments["item"] for each in history.operations("buy")}
        sold = (each.data["item"] for each in history.observed("sold"))
        return next((f"nobody ordered the {item}" for item in sold if item not in ordered), None)

    @eventually(in_parts=True)
    def left_over(self, history: Reading) -> str | Unknown | None:
        """When all is quiet nothing is missing in the stock."""
        for stock in history.observed("stock"):
            return "the stock is short" if stock.data["left"] == "short" else None
        return Unknown("the stock was not looked into")

    @sometimes
    def busy(self, history: Reading) -> bool:
        """Somebody buys."""
        return bool(history.operations("buy"))


async def said(words: str) -> str:
    """What the shop answers."""
    async with await trio.open_tcp_stream("shop", PORT) as stream:
        await stream.send_all(words.encode())
        return (await stream.receive_some()).decode()


shop = Shop()


def line(event: str, at_s: float, **fields: Value) -> str:
    """An entry of a log, so many seconds after the first."""
    timestamp = datetime.fromtimestamp(BEGUN_AT_S + at_s, UTC).isoformat()
    return json.dumps({"event": event, "timestamp": timestamp, "level": "info", **fields}) + "\n"


def sold(item: str, at_s: float, **fields: Value) -> str:
    """The entry that the shop logs."""
    return line("sold", at_s, item=item, **fields)


def session(path: Path, events: Iterable[Mapping[str, Value]], system: str = SHOP) -> Path:
    """Write a recorded session, as `wavetank observe --record` does."""
    header = {"format": "wavetank-session", "version": 1, "system": system}
    path.write_text("".join(json.dumps(each) + "\n" for each in (header, *events)))
    return path


def events_of(system: System, plan: Plan) -> list[dict[str, Value]]:
    """What is seen of a simulated run, users and all."""
    return [event_record(event) for event in simulate(system, plan, ()).history.events]
