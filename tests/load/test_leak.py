"""A leak is growth that noise does not explain, over a time in which caches have long been filled."""

import random

import pytest

from simulator.load.leak import growths_in
from simulator.load.sample import Sample

MIB = 2.0**20


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


def test_what_is_made_once_is_no_leak() -> None:
    """A cache that is filled in the first minute."""
    samples = [Sample("memory of agents", at_s, MIB * (100 + min(at_s, 60)), dimension="B") for at_s in range(600)]
    (growth,) = growths_in(samples)
    assert not growth.is_leak


def test_of_a_short_time_nothing_is_said() -> None:
    assert growths_in(memory(MIB, 100)) == []
    assert growths_in([Sample("memory", at_s, MIB * at_s, dimension="B") for at_s in range(600)]) == []


def test_each_host_has_its_own() -> None:
    found = growths_in([*memory(0.1 * MIB, 400, host="agents"), *memory(0.0, 400, host="gateway-a")])
    assert {each.host: each.is_leak for each in found} == {"agents": True, "gateway-a": False}
