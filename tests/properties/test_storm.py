"""The storm: faults as spans of time."""

import pytest

from properties.storm import Disturbance, Storm
from simulator.history import Reading
from tests.properties.made import Made


def storm(made: Made) -> Storm:
    return Storm.of(Reading(made.history))


def test_a_storm_pairs_beginnings_with_ends() -> None:
    """Of the same kind at the same place; what has no end lasts as long as it was to."""
    made = Made().fault("crash", "redis").fault("crash", "llm", for_s=3.0).fault("crash", "redis", phase="end")
    made.fault("reset", "agents", "redis")
    assert [(each.places, each.began_s, each.ended_s) for each in storm(made).disturbances] == [
        (("redis",), 0.1, pytest.approx(0.3)),
        (("llm",), 0.2, 3.2),
        (("agents", "redis"), pytest.approx(0.4), pytest.approx(0.4)),
    ]


def test_equal_faults_that_overlap_cover_the_time_of_both() -> None:
    """Whichever end belongs to which beginning."""
    made = Made().fault("freeze", "llm").fault("freeze", "llm").fault("freeze", "llm", phase="end")
    made.fault("freeze", "llm", phase="end")
    assert storm(made).time_s(0.0, 9.0) == pytest.approx(0.3)


def test_time_that_several_cover_counts_once() -> None:
    """And only what is in the span."""
    found = Storm(
        (Disturbance("a", ("x",), 0.0, 4.0), Disturbance("b", ("y",), 2.0, 3.0), Disturbance("c", ("x",), 6.0, 9.0))
    )
    assert found.time_s(1.0, 7.0) == 4.0
    assert found.time_s(1.0, 7.0, lambda each: each.touches("y")) == 1.0
    assert [each.kind for each in found.during(3.5, 5.0)] == ["a"]
    assert found.struck_before(6.0, "x")
    assert not found.struck_before(1.0, "y")
