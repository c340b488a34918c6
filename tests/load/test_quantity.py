"""Quantities as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.load.quantity import UNITS, Quantity, parse_quantity, seconds_of


@pytest.mark.parametrize(
    ("text", "amount", "dimension"),
    [
        ("100ms", 0.1, "s"),
        ("5s", 5.0, "s"),
        ("2m", 120.0, "s"),
        ("1.5 h", 5400.0, "s"),
        ("2GiB", 2.0**31, "B"),
        ("0.1%", 0.001, "%"),
        ("42", 42.0, ""),
    ],
)
def test_each_unit_is_understood(text: str, amount: float, dimension: str) -> None:
    found = parse_quantity(text)
    assert found.dimension == dimension
    assert found.amount == pytest.approx(amount)


@pytest.mark.parametrize("text", ["", "fast", "100 parsecs", "-5s", "5 s 3 ms", "1e3ms", "..5s", "٣s"])
def test_what_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"is no quantity. Write 100ms"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["0s", "2GiB", "5%", "soon", "-1", "9" * 400])
def test_a_duration_is_time_and_more_than_nothing(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a duration"):
        seconds_of(text)


@given(st.floats(1e-6, 1e7), st.sampled_from([dimension for dimension, _ in UNITS.values()]))
def test_what_is_told_can_be_read_again(amount: float, dimension: str) -> None:
    """To the four digits that are told."""
    told = str(Quantity(amount, dimension))
    if "e" not in told:  # of a count, or a share, that is very large or small
        assert parse_quantity(told).amount == pytest.approx(amount, rel=1e-3)


def test_the_largest_fitting_unit_is_told() -> None:
    told = [str(Quantity(amount, "s")) for amount in (0.0, 0.000004, 0.0123, 1.5, 90.0, 150.0, 7200.0)]
    assert told == ["0us", "4us", "12.3ms", "1.5s", "90s", "2.5m", "2h"]
    assert str(Quantity(float("inf"), "s")) == "never"
    assert str(Quantity(3 * 2.0**30, "B")) == "3GiB"
    assert str(Quantity(0.0015, "%")) == "0.15%"
