"""Kernels of classic races, each as a system of one host: how soon are they found, and how small do they get?"""

from collections.abc import Awaitable, Callable

import trio

from simulator import Host, System, Violation, always, operation
from simulator.history import Reading
from simulator.property import Finding
from simulator.user import User

__all__ = ["KERNELS", "Kernel"]

pause = trio.lowlevel.checkpoint


async def lost_update(tasks: int = 5) -> bool:
    """Check then act across a checkpoint, by tasks that start at once."""
    value = 0

    async def work() -> None:
        nonlocal value
        seen = value
        await pause()
        value = seen + 1

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(work)
    return value != tasks


async def lost_update_staggered(tasks: int = 5) -> bool:
    """The same, but each task starts so late that in fair turns it sees the one before."""
    value = 0

    async def work(number: int) -> None:
        nonlocal value
        for _ in range(2 * number):
            await pause()
        seen = value
        await pause()
        value = seen + 1

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(work, number)
    return value != tasks


async def rare(steps: int = 10, bystanders: int = 3) -> bool:
    """Two exact conditions: b is at its step 2 while a is at 4, and a at 8 while b is at 6."""
    at = {"a": -1, "b": -1}
    met = broken = False

    async def a() -> None:
        nonlocal broken
        for step in range(steps):
            at["a"] = step
            broken |= step == 8 and met and at["b"] == 6
            await pause()

    async def b() -> None:
        nonlocal met
        for step in range(steps):
            met |= step == 2 and at["a"] == 4
            at["b"] = step
            await pause()

    async def bystander() -> None:
        for _ in range(steps):
            await pause()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(a)
        nursery.start_soon(b)
        for _ in range(bystanders):
            nursery.start_soon(bystander)
    return broken


async def starve(steps: int = 30) -> bool:
    """One task does all of its steps before the other does its second."""
    done = broken = False

    async def a() -> None:
        nonlocal broken
        await pause()
        await pause()
        broken = done

    async def b() -> None:
        nonlocal done
        for _ in range(steps):
            await pause()
        done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(a)
        nursery.start_soon(b)
    return broken


KERNELS: dict[str, Callable[[], Awaitable[bool]]] = {
    each.__name__: each for each in (lost_update, lost_update_staggered, rare, starve)
}


class Kernel(System):
    """One race: the operation runs it, and the promise is that it does not break."""

    users = (1, 1)
    latencies_s = (0.001,)

    def __init__(self, name: str) -> None:
        self.name = name

    def hosts(self) -> tuple[Host, ...]:
        return ()

    @operation()
    async def race(self, user: User) -> bool:
        return await KERNELS[self.name]()

    @always
    def no_race(self, history: Reading) -> Finding:
        """Nothing breaks."""
        for each in history.operations("race"):
            if each.result:
                return Violation("broken", "race")
        return None
