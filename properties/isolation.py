"""Isolation: what belongs to one user is seen by that user only."""

from collections.abc import Iterable

from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Violation

__all__ = ["ISOLATION"]


def check_isolation(history: Reading) -> Violation | None:
    """Look for one user's contexts in frames, stored replies and rows of another."""
    owners = {str(event.data["context"]): _user(event) for event in history.observed("message_sent")}
    for frame in history.observed("frame"):
        stranger = _stranger(str(frame.data.get("text", "")), _user(frame), owners.items())
        if stranger is not None:
            return Violation(
                f"{_user(frame)} received {frame.data.get('text')!r} at {frame.at_s:.3f} s, "
                f"and the context in it is {stranger}'s",
                site="frame",
            )
    for reply in history.observed("stored_reply"):
        owner = str(reply.data["key"]).removeprefix("replies:")
        stranger = _stranger(str(reply.data["text"]), owner, owners.items())
        if stranger is not None:
            return Violation(f"{reply.data['key']} holds {reply.data['text']!r}, which is {stranger}'s", site="key")
    for row in history.observed("row"):
        if not str(row.data["message"]).startswith(f"{row.data['user']}-"):
            return Violation(f"the analytics row of {row.data['message']} names {row.data['user']}", site="row")
    return None


def _user(event: Event) -> str:
    return event.host.removeprefix("user:")


def _stranger(text: str, user: str, owners: Iterable[tuple[str, str]]) -> str | None:
    """Return whose context the text holds, if not the user's own."""
    return next((owner for context, owner in owners if owner != user and context in text), None)


ISOLATION = Property(
    "isolation",
    Expectation.ALWAYS,
    check_isolation,
    "a user's context is seen only by that user: in frames, stored replies and rows",
)
