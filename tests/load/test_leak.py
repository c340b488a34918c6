"""A leak is growth that noise does not explain, over a time in which caches have long been filled."""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from math import sqrt

import pytest

from simulator.load.leak import growths_in, unjudged_in
from simulator.load.sample import Sample

MIB, MB = 2.0**20, 1e6
SERIES = 200


def memory(per_s: float, lasts_s: int, noise: float = 0.0, host: str = "agents") -> list[Sample]:
    draw = random.Random(1)
    return [
        Sample(f"memory of {host}", at_s, 100 * MIB + per_s * at_s + draw.gauss(0, noise), dimension="B")
        for at_s in range(lasts_s)
    ]


@pytest.mark.parametrize(
    ("per_s", "noise", "leaks"),
    [(0.0, MIB, False), (0.03 * MIB, 0.0, True), (0.03 * MIB, 3 * MIB, True), (0.002 * MIB, MIB, False)],
)
def test_growth_is_told_from_noise(per_s: float, noise: float, leaks: bool) -> None:
    (growth,) = growths_in(memory(per_s, 600, noise))
    assert growth.is_leak is leaks
    assert growth.per_s == pytest.approx(per_s, abs=0.005 * MIB)
    assert growth.at_least_per_s <= growth.per_s


def comes_back(alike: float, deviates: float) -> Callable[[random.Random], Iterator[float]]:
    """Noise around a level, of which each value is like the one before (an AR(1) process)."""

    def series(draw: random.Random) -> Iterator[float]:
        now = draw.gauss(0, deviates)
        while True:
            yield now
            now = alike * now + draw.gauss(0, deviates * sqrt(1 - alike**2))

    return series


def sawtooth(draw: random.Random) -> Iterator[float]:
    """What a collector leaves to grow until there is enough of it."""
    now = full = draw.uniform(20, 60)
    while True:
        now = now + draw.uniform(0.2, 0.8) if now < full else 0.0
        yield now + draw.gauss(0, 1)


def one_step(draw: random.Random) -> Iterator[float]:
    at = draw.randrange(310)
    return (30.0 * (at_s > at) + draw.gauss(0, 1) for at_s in range(3600))


def full_half_way(draw: random.Random) -> Iterator[float]:
    full_s = draw.uniform(200, 250)
    return (0.2 * min(at_s, full_s) + draw.gauss(0, 1) for at_s in range(3600))


def walk(draw: random.Random) -> Iterator[float]:
    """Memory that goes up as easily as down, and comes back to nothing."""
    return accumulate(draw.gauss(0, 1) for _ in range(3600))


def leaks_among(series: Callable[[random.Random], Iterator[float]], per_s: float = 0.0, lasts_s: int = 310) -> int:
    """Return how many of 200 series, in MB around 200, are called leaks when they also grow by so many MB a second."""
    draw = random.Random(1)
    memories = [
        [
            Sample("memory of agents", float(at_s), MB * (200 + value + per_s * at_s), dimension="B")
            for at_s, value in zip(range(lasts_s), series(draw), strict=False)
        ]
        for _ in range(SERIES)
    ]
    return sum(growth.is_leak for memory in memories for growth in growths_in(memory))


@pytest.mark.parametrize("series", [comes_back(0.9, 21), comes_back(0.99, 21), sawtooth, one_step, full_half_way])
def test_memory_that_comes_back_or_stays_is_no_leak(series: Callable[[random.Random], Iterator[float]]) -> None:
    """However alike neighbouring samples are: those who run it daily would soon believe no alarm."""
    assert leaks_among(series) <= 1


@pytest.mark.parametrize("series", [walk, comes_back(0.999, 21)])
def test_memory_that_wanders_is_hardly_ever_called_a_leak(series: Callable[[random.Random], Iterator[float]]) -> None:
    """One in a hundred: some rise all the time, and nothing but a longer time could tell."""
    assert leaks_among(series) <= 2


def test_a_leak_is_found_in_noise() -> None:
    """Of 100 kB a second, which is 350 MiB an hour."""
    assert leaks_among(comes_back(0.0, 5), per_s=0.1, lasts_s=600) >= 198


def test_much_memory_hides_no_leak() -> None:
    """200 kB a second are 720 MB an hour, and in five minutes less than a twentieth of 2 GB."""
    samples = [Sample("memory of agents", at_s, 2000 * MB + 0.2 * MB * at_s, dimension="B") for at_s in range(310)]
    (growth,) = growths_in(samples)
    assert growth.is_leak
    assert growth.at_least_per_s == pytest.approx(0.2 * MB)


def test_what_is_made_once_is_no_leak() -> None:
    """A cache that is filled in the first minute."""
    samples = [Sample("memory of agents", at_s, MIB * (100 + min(at_s, 60)), dimension="B") for at_s in range(600)]
    (growth,) = growths_in(samples)
    assert not growth.is_leak


def test_of_a_short_time_nothing_is_said_but_that() -> None:
    assert growths_in(memory(MIB, 100)) == []
    assert unjudged_in([*memory(MIB, 100), *memory(MIB, 400, host="gateway-a")]) == ["agents"]
    assert unjudged_in(memory(MIB, 400)[::40]) == ["agents"]
    assert growths_in([Sample("memory", at_s, MIB * at_s, dimension="B") for at_s in range(600)]) == []


def test_each_host_has_its_own() -> None:
    found = growths_in([*memory(0.1 * MIB, 400, host="agents"), *memory(0.0, 400, host="gateway-a")])
    assert {each.host: each.is_leak for each in found} == {"agents": True, "gateway-a": False}
