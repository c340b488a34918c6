"""Exchanges, read from histories made by hand."""

from properties.exchange import Exchange, exchanges
from simulator import Kind
from simulator.history import Reading
from tests.properties.made import Made


def only(made: Made) -> Exchange:
    (exchange,) = exchanges(Reading(made.history)).values()
    return exchange


def test_what_frames_say_counts_and_not_what_the_device_made_of_it() -> None:
    """It stops waiting after a while; the acknowledgement of another user's message is not one."""
    late = Made().ask("alice-1", Kind.INFO).wait(4.0).frame("alice", "ack", id="alice-1")
    assert only(late).acknowledged
    assert only(late).acknowledged_s == late.history.events[-1].at_s
    assert not only(Made().ask("alice-1", Kind.INFO).frame("bob", "ack", id="alice-1")).acknowledged
    refused = only(Made().ask("alice-1", Kind.INFO).error("alice", "overloaded", "alice-1"))
    assert (refused.refused, refused.error, refused.unsent) == (True, "overloaded", False)
    unclear = only(Made().ask("alice-1", Kind.INFO).error("alice", "unavailable", "alice-1"))
    assert (unclear.refused, unclear.error) == (False, "unavailable")


def test_an_operation_tells_only_that_nothing_was_sent() -> None:
    """That is known to the device alone."""
    unsent = only(Made().ask("alice-1", Kind.FAIL))
    assert (unsent.unsent, unsent.refused, unsent.error) == (True, True, "")


def test_an_exchange_ends_with_its_connection() -> None:
    """What comes with the message's id later is about its cancellation."""
    made = Made().welcome("alice").ask("alice-1", Kind.INFO).disconnected("alice").welcome("alice")
    assert only(made.error("alice", "try_later", "alice-1")).told is None
