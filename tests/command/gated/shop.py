"""A shop that asks a store for prices through a breaker: small enough for all evidence to be made in seconds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import structlog
import trio

from simulator import Failed, History, Host, Reading, System, User, always, operation
from simulator.component import Component
from simulator.load.profile import Mixed

HERE = Path(__file__).parent
PRICE = 5
PATIENCE_S = 1.0
OPEN_S = 2.0
MOVES = ("closed > open", "open > half-open", "half-open > open", "half-open > closed")
OBJECTIVES = {"buy": "p(99) < 3s", "error_rate": "< 1%", "memory": "max < 1GiB"}
log = structlog.get_logger()


async def sell_prices() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async for _ in stream:
            await stream.send_all(str(PRICE).encode())

    await trio.serve_tcp(answer, 7001)


class Shop:
    """Sells at the price of the store, and asks no store that has just failed."""

    def __init__(self, defects: frozenset[str]) -> None:
        self._defects = defects
        self._state, self._opened_s = "closed", 0.0
        self._kept: list[trio.SocketStream] = []

    async def serve(self) -> None:
        if "starts-late" in self._defects:
            await trio.sleep(10)
        await trio.serve_tcp(self._sell, 7000)

    async def _sell(self, stream: trio.SocketStream) -> None:
        async for number in stream:
            try:
                price = await self._price() + ("overcharges" in self._defects)
            except (OSError, ValueError, trio.TooSlowError, trio.BrokenResourceError):
                await stream.send_all(b"sold out")
            else:
                await stream.send_all(str(price * int(number)).encode())

    async def _price(self) -> int:
        if self._state == "open":
            if trio.current_time() < self._opened_s + OPEN_S or "never-asks-again" in self._defects:
                raise OSError("the store was not there")
            self._move("half-open")
        try:
            price = await self._asked()
        except BaseException:
            if self._state != "open":
                self._move("open")
                self._opened_s = trio.current_time()
            raise
        if self._state == "half-open":
            self._move("closed")
        return price

    async def _asked(self) -> int:
        with trio.fail_after(PATIENCE_S):
            stream = await trio.open_tcp_stream("store", 7001)
            try:
                await stream.send_all(b"price?")
                return int(await stream.receive_some())
            finally:
                if "keeps-connections" in self._defects:
                    self._kept.append(stream)
                else:
                    await trio.aclose_forcefully(stream)

    def _move(self, state: str) -> None:
        log.info("moved", move=f"{self._state} > {state}")
        self._state = state


class ShopSystem(System):
    """Users buy."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = ("crash", "partition")
    mix: ClassVar[tuple[Mixed, ...]] = (Mixed("buy", arguments={"number": 2}),)
    objectives: ClassVar[Mapping[str, str]] = OBJECTIVES
    experiments: ClassVar[Path | None] = HERE / "experiments"
    journeys: ClassVar[Path | None] = HERE / "journeys"
    components: ClassVar[Mapping[str, Component]] = {
        name: Component(hosts=(name,), promises=("honest",), objectives=OBJECTIVES, journeys=("two-things",))
        for name in ("shop", "store")
    }
    defects: ClassVar[Mapping[str, str]] = {
        "overcharges": "honest: it takes more than the price",
        "keeps-connections": "resources: connections to the store are never closed",
        "never-asks-again": "nothing: a breaker that opened stays open",
        "starts-late": "nothing: it needs ten seconds until it sells",
    }

    def hosts(self) -> Iterator[Host]:
        yield Host("shop", Shop(self.planted).serve, needs=("store",), open_to_users=True)
        yield Host("store", sell_prices)

    @operation(number=st.integers(1, 9))
    async def buy(self, user: User, number: int) -> int:
        with trio.fail_after(2 * PATIENCE_S):
            async with await trio.open_tcp_stream("shop", 7000) as stream:
                await stream.send_all(str(number).encode())
                answer = (await stream.receive_some()).decode()
        if not answer.isdigit():
            raise Failed(answer)
        return int(answer)

    @always
    def honest(self, history: Reading) -> str | None:
        """Nobody pays more than the price."""
        for each in history.operations("buy"):
            if each.ok and each.result != PRICE * each.arguments["number"]:
                return f"{each.user} paid {each.result}"
        return None

    @always
    def resources(self, history: Reading) -> str | None:
        """Connections to the store are closed."""
        for event in history.observed("holdings"):
            if event.host == "shop" and event.data["sockets"].get("store"):
                return f"the shop keeps {event.data['sockets']}"
        return None

    def transitions(self) -> Iterator[str]:
        yield from (f"breaker of store at shop: {move}" for move in MOVES)

    def transitions_in(self, history: History) -> Iterator[str]:
        yield from (f"breaker of store at shop: {event.data['move']}" for event in history.observed("moved"))


system = ShopSystem()
