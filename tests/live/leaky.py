"""A system that lets its password out wherever it can."""

from collections.abc import Iterator
from typing import ClassVar

import trio

from simulator import Host, Observer, System, User, always, operation
from simulator.history import Reading


class Leaky(System):
    """Users log in to a server that says their password again, in whatever it says."""

    patience: ClassVar[dict[str, float]] = {"nothing": 1.0}

    def hosts(self) -> Iterator[Host]:
        yield Host("server", self.serve, open_to_users=True)

    async def serve(self) -> None:
        await trio.serve_tcp(self.answer, 7000)

    async def answer(self, stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some())

    @operation()
    async def log_in(self, user: User) -> str:
        """Send the password, and tell what comes back in every way there is."""
        password = self.credentials.get("password", "simulated")
        async with await trio.open_tcp_stream("server", 7000) as stream:
            await stream.send_all(password.encode())
            echoed = (await stream.receive_some()).decode()
        user.observe("frame", text=f"hello {echoed}", nested=[{echoed: echoed}])
        return echoed

    @operation()
    async def fail(self, user: User) -> None:
        """Raise what nobody handles, with the password in it."""
        raise RuntimeError(f"rejected: {self.credentials.get('password', 'simulated')}")

    async def inspect(self, observer: Observer) -> None:
        observer.observe("stored", password=self.credentials.get("password", "simulated"))

    @always
    def secretive(self, history: Reading) -> str | None:
        """Nothing is said of the password."""
        said = [*history.observed("frame"), *history.observed("stored"), *history.observed("logged")]
        return f"it was said: {said}" if said else None


system = Leaky()
