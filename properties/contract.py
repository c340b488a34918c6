"""Contract: what is sent and stored is as the protocol's public description (asyncapi.json) says, and in that order.

Read from the document, not restated here: the schemas of frames and of what services say to each other, the order of
the frames of a connection and that of an agent's events.
Not judged: events that were lost, and whether what a reply says is right.
"""

from collections.abc import Mapping

from properties.agent_events import check_order, check_seen
from properties.frames import check_conversations, check_frames
from properties.malformed import check_malformed
from properties.observed import leave_unjudged
from properties.places import AGENTS
from properties.services import check_services
from simulator.history import Reading
from simulator.property import Expectation, Property, Violation

__all__ = ["CONTRACT"]

CHECKS = (check_frames, check_conversations, check_order, check_seen, check_malformed, check_services)
CHECKS_IN_PARTS = (check_frames, check_services)
"""Those that look at each thing by itself, and not at what came before it."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("order", "attempt", "event", "event twice", "event order"), (AGENTS,)),
    **dict.fromkeys(("llm_exchanged", "analytics_written", "analytics_buffered"), (AGENTS,)),
    **dict.fromkeys(("buffered_row", "stream_entry", "session_key"), ("redis",)),
    **dict.fromkeys(("stored_user", "stored_message", "stored_result", "stored_action", "stored_reply"), ("postgres",)),
}
"""What must be looked at for each site but those of what users see."""


def check_contract(history: Reading) -> Violation | None:
    """Compare everything that was sent or stored with the document."""
    leave_unjudged(history, NEEDED)
    checks = CHECKS_IN_PARTS if history.is_part else CHECKS
    return next((violation for check in checks for violation in check(history)), None)


CONTRACT = Property(
    "contract",
    Expectation.ALWAYS,
    check_contract,
    "frames and rows are as the protocol's document says, and in its order, and what is malformed is refused",
    in_parts=True,
)
