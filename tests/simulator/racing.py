"""A system whose history is the order in which tasks ran and messages came: it shows the least change of either."""

from collections.abc import Iterator
from typing import ClassVar

import structlog
import trio

from simulator import Host, System, User, operation

PORT = 7000


class Racing(System):
    """Users ask a server, whose many tasks tell when they run."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = ()

    def hosts(self) -> Iterator[Host]:
        yield Host("server", self.serve, open_to_users=True)

    async def serve(self) -> None:
        await trio.serve_tcp(self.answer, PORT)

    async def answer(self, stream: trio.SocketStream) -> None:
        async def tell(number: int) -> None:
            for turn in range(3):
                await trio.lowlevel.checkpoint()
                structlog.get_logger().info("turn", number=number, turn=turn)

        async for data in stream:
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(tell, number)
            await stream.send_all(data)

    @operation()
    async def act(self, user: User) -> None:
        async with await trio.open_tcp_stream("server", PORT) as stream:
            for turn in range(3):
                await stream.send_all(b"x")
                await stream.receive_some()
                user.observe("answered", turn=turn)


system = Racing()
