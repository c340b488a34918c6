"""Frames: what a user's device sent and received is what the contract describes, in the order that it states.

A device has one connection at a time. Of one that is made beside it, to trespass, only the answer is looked at.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import attrs

from properties.exchange import user_of
from properties.schema import DOCUMENT, Schema, messages_of
from simulator.history import Event, Kind, Reading, Value
from simulator.property import Violation

__all__ = ["check_conversations", "check_frames", "frame_complaint"]

TEXT_LENGTH_MAX = 120
_FRAMES = {
    action: {name: Schema(DOCUMENT, f"#/components/messages/{name}/payload") for name in messages_of(DOCUMENT, action)}
    for action in ("send", "receive")
}
"""By what a gateway does with them, and by their kind."""
_INITIAL: str = DOCUMENT["x-conversation"]["initial"]
_STATES: Mapping[str, Mapping[str, str]] = DOCUMENT["x-conversation"]["states"]
_ABOUT: Sequence[str] = DOCUMENT["x-conversation"]["about"]


# Each frame by itself


def check_frames(history: Reading) -> Iterator[Violation]:
    """Look at every frame of a user, also at the answers on connections that were made to trespass."""
    for event in history.observed("frame", "frame_unreadable", "trespassed", "answered_beside", "frame_sent"):
        complaint = frame_complaint(event)
        if complaint is not None:
            did = "sent" if event.name == "frame_sent" else "received"
            yield Violation(f"{user_of(event)} {did} at {event.at_s:.3f} s what is {complaint}", site="frame")


def frame_complaint(event: Event) -> str | None:
    """Return what is wrong with the frame that an observation tells of, or None."""
    match event.name:
        case "frame_unreadable":
            return _of_text(str(event.data["text"]))
        case "trespassed" | "answered_beside":
            return _of_frame(event.data["frame"])
        case "frame_sent":
            return _of_frame(dict(event.data), "receive")
        case _:
            return _of_frame(dict(event.data))


def _of_text(text: str) -> str:
    """Return what is wrong with a text that its device could not read."""
    try:
        frame = json.loads(text)
    except ValueError:
        return f"no JSON: {text[:TEXT_LENGTH_MAX]!r}"
    return _of_frame(frame) or f"no frame to its device: {text[:TEXT_LENGTH_MAX]!r}"


def _of_frame(frame: Value, action: str = "send") -> str | None:
    kind = frame.get("type") if isinstance(frame, dict) else None
    if not isinstance(kind, str) or kind not in _FRAMES[action]:
        return f"no frame that a gateway {action}s: type={kind!r}"
    complaint = _FRAMES[action][kind].complaint(frame)
    return None if complaint is None else f"no {kind} frame: {complaint}"


# The frames of a connection, one after another


def check_conversations(history: Reading) -> Iterator[Violation]:
    """Follow every device through its connections, and count what it sent against what it was answered."""
    history.observed("frame")
    devices: defaultdict[str, _Device] = defaultdict(_Device)
    for event in history.events:
        if event.kind is Kind.OBSERVE and event.name == "frame":
            violation = devices[user_of(event)].receive(event)
            if violation is not None:
                yield violation
        elif event.kind is Kind.OBSERVE and event.name == "client_state":
            devices[user_of(event)].note_state(str(event.data["state"]))
        elif event.name in ("message_sent", "cancel", "send_malformed"):
            devices[user_of(event)].note_sent(event)


@attrs.define
class _Device:
    """How far a device's present connection is, and what it has sent on all of them."""

    state: str = _INITIAL
    last: str = "nothing"
    messages: Counter[str] = attrs.field(factory=Counter)  # how often each was sent, by id
    cancels: int = 0
    answers: Counter[tuple[str, str]] = attrs.field(factory=Counter)

    def note_state(self, state: str) -> None:
        """Begin anew after a connection."""
        if state != "connected":
            self.state, self.last = _INITIAL, "nothing"

    def note_sent(self, event: Event) -> None:
        """Take what the device sends, or is about to."""
        if event.name == "message_sent":
            self.messages[str(event.data["message"])] += 1
        elif event.name == "cancel":
            self.cancels += 1
        else:
            self.messages[_id_in(str(event.data.get("text")))] += 1

    def receive(self, frame: Event) -> Violation | None:
        """Take the next frame."""
        kind = str(frame.data["type"])
        step = f"error {frame.data['code']}" if kind == "error" else kind
        said = f"{user_of(frame)} received {step} at {frame.at_s:.3f} s"
        following = _STATES[self.state].get(step) or _STATES[self.state].get(kind)
        if following is None:
            return Violation(f"{said}, which cannot follow {self.last}", site="frame order")
        # A device that is not welcomed reads no further: what comes next is of another connection.
        is_refused = self.state == _INITIAL and not _STATES[following]
        self.state, self.last = (_INITIAL, "nothing") if is_refused else (following, step)
        return self._follow_up(kind, frame.data.get("id"), said) if kind in _ABOUT else None

    def _follow_up(self, kind: str, message: Value, said: str) -> Violation | None:
        """Look whether the device has sent what it is answered."""
        if message is None:
            return None
        if not self.messages[str(message)]:
            return Violation(f"{said} for {message}, which they had not sent", site="frame id")
        self.answers[kind, str(message)] += 1
        asked = {"ack": self.messages[str(message)], "cancelling": self.cancels}
        if self.answers[kind, str(message)] > asked.get(kind, inf):
            return Violation(f"{said} for {message} more often than they had asked", site="frame twice")
        return None


def _id_in(text: str) -> str:
    """Return which message a text is, if it is one all the same: one whose workflow is impossible."""
    try:
        frame = json.loads(text)
    except ValueError:
        return ""
    return str(frame.get("id", "")) if isinstance(frame, dict) else ""
