"""Capacity: how long a service works on what it is asked, and on how much at once."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from simulator.services.capacity import Capacity, ServiceModel
from simulator.world import World


def in_a_world(body: Callable[[], Awaitable[None]]) -> float:
    """Run it, and return how many simulated seconds it took."""
    took_s: list[float] = []

    async def timed() -> None:
        begun_s = trio.current_time()
        await body()
        took_s.append(trio.current_time() - begun_s)

    with World(seed=1) as world:
        world.add_host("here")
        world.run(timed, host="here", timeout_s=10_000.0)
    return took_s[0]


@pytest.mark.parametrize(("at_once", "took_s"), [(1, 6.0), (2, 3.0), (4, 2.0), (None, 1.0)])
def test_what_is_too_much_waits_for_its_turn(at_once: int | None, took_s: float) -> None:
    """Six requests of a second each, in the order of their coming."""
    capacity = Capacity(ServiceModel(((1.0, 1.0),), at_once))
    done: list[int] = []

    async def ask(number: int) -> None:
        await trio.sleep(number * 1e-6)
        await capacity.work()
        done.append(number)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(ask, number)

    assert in_a_world(all_of_them) == pytest.approx(took_s, abs=1e-3)
    assert done == list(range(6))


def test_service_times_have_the_distribution_of_the_model() -> None:
    """None below the first point, nine in ten below two seconds, none above ten."""
    capacity = Capacity(ServiceModel(((0.5, 1.0), (0.9, 2.0), (1.0, 10.0))))
    times: list[float] = []

    async def measure() -> None:
        for _ in range(2000):
            begun_s = trio.current_time()
            await capacity.work()
            times.append(trio.current_time() - begun_s)

    in_a_world(measure)
    shares = [sum(each <= most + 1e-6 for each in times) / len(times) for most in (0.999, 1.0, 1.5, 2.0, 6.0, 10.0)]
    assert shares == pytest.approx([0.0, 0.5, 0.7, 0.9, 0.95, 1.0], abs=0.04)


def test_without_a_model_nothing_takes_time_or_a_turn() -> None:
    """So that what was found before there were models is found in the same runs."""

    async def ask() -> None:
        for _ in range(100):
            await Capacity().work()

    assert in_a_world(ask) == 0
