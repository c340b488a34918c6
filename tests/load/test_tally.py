"""Tallies: percentiles to three digits, merged as if all had been counted in one place."""

from fractions import Fraction
from math import ceil, inf

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.load.measured import LIVE_ONLY, Measured, Met, fails, judge_objectives
from simulator.load.objective import Statistic, parse_objective
from simulator.load.quantity import parse_quantity
from simulator.load.sample import LOST, Sample
from simulator.load.tally import STEPS_MAX, STEPS_PER_UNIT, Tally

VALUES = st.lists(st.floats(1e-6, 1e5) | st.just(LOST), min_size=1, max_size=60)
PERCENTS = (0.1, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0)


def tally(values: list[float]) -> Tally:
    made = Tally()
    for each in values:
        made.add(each)
    return made


@given(VALUES)
def test_percentiles_are_those_of_the_sorted_values(values: list[float]) -> None:
    """Three digits of them: HdrHistogram's promise, checked against what it would be slow to keep."""
    made = tally(values)
    for percent in PERCENTS:
        true = sorted(values)[max(1, ceil(Fraction(str(percent)) * len(values) / 100)) - 1]
        assert made.percentile(percent) == pytest.approx(true, rel=2e-3, abs=1e-6)


@settings(deadline=None, max_examples=30)  # the library searches each histogram from its beginning
@given(st.lists(st.integers(0, 2**43), min_size=1, max_size=30), st.sampled_from(PERCENTS))
def test_values_share_a_bucket_where_they_do_in_hdrhistogram(steps: list[int], percent: float) -> None:
    """Its own library is asked for the bounds of the bucket; of what is in it, ours tells the roundest."""
    library = HdrHistogram(1, STEPS_MAX, 3)
    for each in steps:
        library.record_value(each)
    rank = max(1, ceil(Fraction(str(percent)) * len(steps) / 100))
    theirs = library.get_value_at_percentile(100 * rank / len(steps))
    ours = tally([each / STEPS_PER_UNIT["s"] for each in steps]).percentile(percent)
    assert library.values_are_equivalent(theirs, round(ours * STEPS_PER_UNIT["s"]))


@pytest.mark.parametrize("count", [1000, 2000, 5000, 10_000, 100_000])
def test_one_in_a_thousand_may_exceed_a_percentile_of_99_9(count: int) -> None:
    """99.9 / 100 is a little more than 0.999, by which it would be one less."""
    exceeding = count // 1000
    assert tally([0.001] * (count - exceeding) + [1.0] * exceeding).percentile(99.9) == 0.001
    assert tally([0.001] * (count - exceeding - 1) + [1.0] * (exceeding + 1)).percentile(99.9) == 1.0


def test_a_percentile_of_a_hundred_values_is_the_one_of_that_rank() -> None:
    made = tally([float(place) for place in range(1, 101)])
    assert [made.percentile(percent) for percent in range(1, 101)] == [float(percent) for percent in range(1, 101)]


@pytest.mark.parametrize(
    ("bound", "dimension"),
    [("8ms", "s"), ("9ms", "s"), ("100ms", "s"), ("1.25s", "s"), ("2m", "s"), ("700MiB", "B"), ("2GiB", "B")],
)
def test_a_round_value_keeps_the_bound_that_it_is(bound: str, dimension: str) -> None:
    """Not only where all values are the same."""
    made = Tally(dimension)
    exact = parse_quantity(bound).amount
    for value in (exact / 2, exact, exact, exact * 1.0005, exact * 2):
        made.add(value)
    assert made.percentile(50) == exact


def test_what_can_only_be_one_value_is_told_as_it_was() -> None:
    assert tally([0.008002] * 5).percentile(50) == 0.008002
    assert tally([0.0]).percentile(50) == 0.0


@given(VALUES, VALUES)
def test_what_was_counted_apart_can_be_merged(one: list[float], other: list[float]) -> None:
    """As several generators of load count, and one of them tells."""
    merged, together = tally(one), tally(one + other)
    merged.merge(tally(other))
    assert (merged.count, merged.lost, merged.least, merged.most) == (
        together.count,
        together.lost,
        together.least,
        together.most,
    )
    assert [merged.percentile(each) for each in PERCENTS] == [together.percentile(each) for each in PERCENTS]


def test_what_never_came_is_longer_than_anything() -> None:
    """Leaving it out would make a system look faster the more it loses."""
    made = tally([0.1] * 98 + [LOST] * 2)
    assert made.percentile(98) == pytest.approx(0.1, rel=1e-3)
    assert made.percentile(99) == inf
    assert made.value_of(Statistic("max")) == inf


def test_memory_is_kept_as_exactly_as_time() -> None:
    made = Tally("B")
    for gigabytes in range(1, 101):
        made.add(gigabytes * 2.0**30)
    assert made.percentile(99) == pytest.approx(99 * 2.0**30, rel=2e-3)


def test_without_samples_an_objective_is_not_met() -> None:
    """Else a broken measurement would pass."""
    objectives = [parse_objective("latency", "p(99) < 1s"), parse_objective("memory", "max < 1GiB")]
    measured = Measured(60.0, ())
    judged = judge_objectives(objectives, measured.tallies, LIVE_ONLY)
    assert [each.met for each in judged] == [Met.NO_SAMPLES, Met.LIVE_ONLY]
    assert fails(judged, is_interrupted=False)
    assert not fails(judged, is_interrupted=True)
    assert not fails(judged[1:], is_interrupted=False)
    assert fails(judge_objectives(objectives, measured.tallies)[1:], is_interrupted=False)
    measured = Measured(60.0, [Sample("latency", 1.0, 0.5), Sample("memory", 1.0, 3 * 2.0**30, dimension="B")])
    judged = judge_objectives(objectives, measured.tallies, LIVE_ONLY)
    assert [each.met for each in judged] == [Met.MET, Met.MISSED]
    assert not fails(judged[:1], is_interrupted=False)
    assert fails(judged, is_interrupted=True)


def test_a_bound_in_another_unit_is_not_met() -> None:
    """Nor is it compared: 0.5 s are less than 1 GiB."""
    measured = Measured(60.0, [Sample("latency", 1.0, 0.5)])
    objectives = [parse_objective("latency", each) for each in ("max < 1GiB", "max < 1", "count < 2", "count < 2s")]
    judged = judge_objectives(objectives, measured.tallies)
    assert [each.met for each in judged] == [Met.OTHER_UNIT, Met.OTHER_UNIT, Met.MET, Met.OTHER_UNIT]
    assert fails(judged[:1], is_interrupted=True)


def test_each_part_of_the_time_has_its_own_tally() -> None:
    """Also what is begun in the last moment."""
    measured = Measured(60.0, [Sample("latency", at_s, 1.0) for at_s in (0.0, 0.5, 1.5, 60.0)])
    counts = [window.count if window is not None else 0 for window in measured.windows["latency"]]
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (2, 1, 1, 4)
