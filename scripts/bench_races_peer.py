"""The same race kernels on asyncio, under another simulator. Run by an interpreter that has it, not by ours:

    python3.12 scripts/bench_races_peer.py simloop|simloom KERNEL uniform|pct RUNS     prints hits and seconds

Both take their seeds from 0. PCT gets what these tools offer to set its horizon: a first run's number of choices.
"""

import asyncio
import importlib
import math
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

pause = asyncio.sleep


async def lost_update(tasks: int = 5) -> None:
    value = 0

    async def work() -> None:
        nonlocal value
        seen = value
        await pause(0)
        value = seen + 1

    await asyncio.gather(*(work() for _ in range(tasks)))
    assert value == tasks


async def lost_update_staggered(tasks: int = 5) -> None:
    value = 0

    async def work(number: int) -> None:
        nonlocal value
        for _ in range(2 * number):
            await pause(0)
        seen = value
        await pause(0)
        value = seen + 1

    await asyncio.gather(*map(work, range(tasks)))
    assert value == tasks


async def rare(steps: int = 10, bystanders: int = 3) -> None:
    at = {"a": -1, "b": -1}
    met = False

    async def a() -> None:
        for step in range(steps):
            at["a"] = step
            assert not (step == 8 and met and at["b"] == 6)
            await pause(0)

    async def b() -> None:
        nonlocal met
        for step in range(steps):
            met |= step == 2 and at["a"] == 4
            at["b"] = step
            await pause(0)

    async def bystander() -> None:
        for _ in range(steps):
            await pause(0)

    await asyncio.gather(a(), b(), *(bystander() for _ in range(bystanders)))


async def starve(steps: int = 30) -> None:
    done = False

    async def a() -> None:
        await pause(0)
        await pause(0)
        assert not done

    async def b() -> None:
        nonlocal done
        for _ in range(steps):
            await pause(0)
        done = True

    await asyncio.gather(a(), b())


KERNELS: dict[str, Callable[[], Awaitable[None]]] = {
    each.__name__: each for each in (lost_update, lost_update_staggered, rare, starve)
}


def simloop_run(kernel: Callable[[], Awaitable[None]], policy: str) -> Callable[[int], bool]:
    simloop, policies, runs = (importlib.import_module(name) for name in ("simloop", "simloop._policy", "simloop._run"))
    first = simloop.SimLoop(0)
    runs.run_once(first, kernel)
    horizon = max(math.ceil(1.5 * len(first._choices)), 100)
    runs.finish(first)

    def run(seed: int) -> bool:
        loop = simloop.SimLoop(seed)
        if policy == "pct":
            loop._policy = policies.PCTPolicy(seed, 3, horizon)
        failure = runs.run_once(loop, kernel)
        runs.finish(loop)
        return isinstance(failure, AssertionError)

    return run


def simloom_run(kernel: Callable[[], Awaitable[None]], policy: str) -> Callable[[int], bool]:
    simloom, runs = importlib.import_module("simloom"), importlib.import_module("simloom._run")

    async def program(*_: Any) -> None:
        await kernel()

    scheduler = runs.resolve_auto_horizon(program, "pct:auto", seed=0) if policy == "pct" else None

    def run(seed: int) -> bool:
        result = simloom.run(program, seed=seed, raise_on_error=False, scheduler=scheduler)
        return isinstance(result.error, AssertionError)

    return run


if __name__ == "__main__":
    tool, name, policy, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    run = {"simloop": simloop_run, "simloom": simloom_run}[tool](KERNELS[name], policy)
    begun_s = time.perf_counter()
    hits = sum(map(run, range(runs)))
    print(hits, time.perf_counter() - begun_s)
