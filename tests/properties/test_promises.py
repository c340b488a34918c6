"""What all promises have in common."""

import pytest

from properties import PROMISES
from simulator import Property
from simulator.property import Outcome
from tests.properties.made import Made, outcome


def test_no_two_promises_share_a_name() -> None:
    """A trace names the promise it broke."""
    assert len({each.name for each in PROMISES}) == len(PROMISES)
    assert all(each.summary for each in PROMISES)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
@pytest.mark.parametrize("marks", [(), ("heal", "quiet", "end")])
def test_without_observations_nothing_is_known(promise: Property, marks: tuple[str, ...]) -> None:
    """A run in which nothing happened keeps no promise and reaches no state."""
    assert outcome(Made().mark(*marks), promise) is Outcome.UNKNOWN
