"""Presence: what users were at, and when."""

from math import inf

from properties.presence import Interludes
from simulator.history import Reading
from tests.properties.made import Made


def test_interludes_tell_whether_when_and_how_often_a_user_was_at_something() -> None:
    """A device that does not read is at it for as long as was said, whenever the operation returned."""
    made = Made().operation("alice", "stall", for_s=2.0).wait(4.0).operation("alice", "stall", for_s=0.5)
    stalls = Interludes.of(Reading(made.history), "stall")
    assert [stalls.during("alice", 2.0, 2.1), stalls.during("alice", 2.2, 3.0)] == [True, False]
    assert [stalls.count("alice", 0.0, 9.0), stalls.count("bob", 0.0, 9.0)] == [2, 0]
    assert [stalls.next_s("alice", at_s) for at_s in (0.0, 1.0, 3.0, 9.0)] == [0.1, 1.0, 4.3, inf]
