"""Objectives in one line."""

import pytest

from simulator.errors import InputError
from simulator.load.objective import parse_objective
from simulator.load.tally import Tally


def tally(*values: float) -> Tally:
    made = Tally()
    for each in values:
        made.add(each)
    return made


@pytest.mark.parametrize(
    ("text", "told", "value"),
    [
        ("p(99) < 100ms", "p(99) < 100ms", 0.2),
        ("p(50)<=0.1s", "p(50) <= 100ms", 0.1),
        ("max < 5s", "max < 5s", 0.2),
        ("min > 1ms", "min > 1ms", 0.1),
        ("med < 1s", "med < 1s", 0.1),
        ("avg < 1s", "avg < 1s", 0.15),
        ("count >= 2", "count >= 2", 2.0),
        ("< 20%", "< 20%", 0.15),
    ],
)
def test_each_form_is_understood(text: str, told: str, value: float) -> None:
    objective = parse_objective("it", text)
    assert str(objective) == told
    found = tally(0.1, 0.2).value_of(objective.statistic)
    assert found == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    "text", ["", "100ms", "p99 < 100ms", "p(0) < 1s", "p(101) < 1s", "p(1.2.3) < 1s", "< ", "p(99) = 1s", "fast < 1s"]
)
def test_what_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError):
        parse_objective("ws_latency", text)


def test_a_bound_is_kept_or_not() -> None:
    below, at_most = parse_objective("it", "max < 1s"), parse_objective("it", "max <= 1s")
    assert [below.is_met(each) for each in (0.9, 1.0, 1.1)] == [True, False, False]
    assert [at_most.is_met(each) for each in (0.9, 1.0, 1.1)] == [True, True, False]
