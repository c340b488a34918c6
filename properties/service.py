"""Service: while all is well users are refused nothing and lose nothing, but by what they did themselves.

All is well until the first fault, and where messages do not take so long that the platform's own time limits may be
exceeded. Everybody's log-ins, log-outs and questions count, and their connections.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import inf
from typing import Self

import attrs

from properties.exchange import Exchange, exchanges, has_all_places, user_of
from properties.presence import Connection, Interludes, connections, ended_s_of
from simulator.history import Event, Operation, Reading
from simulator.property import Violation

__all__ = ["LATENCY_S_MAX", "SERVED", "latency_s_of", "struck_s_of", "unserved"]

LATENCY_S_MAX = 0.005
"""Above it the platform's own time limits may be exceeded, by a hundred messages one after another."""
TOLD_WITHIN_S = 3.0
"""As long as a device waits to be welcomed, or told what became of a message."""
SLACK_S = 1.0
EXPLAINING: Mapping[str, tuple[str, ...]] = {
    "bad_request": ("send_malformed",),
    "too_late": ("cancel",),
    "unauthorised": ("log_out",),
    "expired": ("leave", "stall"),
}
"""What a user must have done since they were last welcomed to be told this."""
ENDING = ("leave", "stall", "send_malformed")
"""And this to lose their connection without a word. How malformed frames are borne is for the contract to say."""
SERVED = ("question", "log-in", "log-out")
"""What is judged, as it is counted."""
LAST_WORDS = ("unauthorised", "expired")


@attrs.frozen
class _Evidence:
    """What the promise looks at, each found once."""

    struck_s: float
    done: Mapping[str, Interludes]  # what users did, by the operation's name
    present: Mapping[str, Sequence[Connection]]
    sent: Mapping[str, Exchange]

    @classmethod
    def of(cls, history: Reading) -> Self:
        """Collect it from a history."""
        done = {name: Interludes.of(history, name) for names in EXPLAINING.values() for name in names}
        return cls(struck_s_of(history), done, connections(history), exchanges(history))

    def did(self, user: str, names: Collection[str], from_s: float, to_s: float) -> bool:
        """Whether a user was at an operation of one of these names at some moment of a span."""
        return any(self.done[name].during(user, from_s, to_s) for name in names)


def unserved(history: Reading) -> Iterator[Violation]:
    """Yield whatever a user was refused, or waited for in vain, although all was well."""
    evidence = _Evidence.of(history)
    yield from _refused(history, evidence)
    yield from _cut_off(evidence)
    for exchange in evidence.sent.values():
        yield from _not_told(history, evidence, exchange)
    for operation in history.operations("connect", "log_out"):
        yield from _in_vain(history, evidence, operation)


def struck_s_of(history: Reading) -> float:
    """Return until when all was well."""
    return min((fault.at_s for fault in history.faults()), default=inf)


def latency_s_of(history: Reading) -> float:
    """Return the nominal latency of a run, as its start tells; 0 when it does not."""
    latency_s = history.events[0].data.get("latency_s") if history.events else None
    return float(latency_s) if isinstance(latency_s, int | float) else 0.0


def _refused(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """Look what each error frame may be about. One that is about a message says that its cancellation was too late."""
    sent = evidence.sent
    welcomed_s: dict[str, float] = {}
    for frame in history.observed("frame"):
        user = user_of(frame)
        if frame.at_s >= evidence.struck_s:
            return
        if frame.data["type"] == "welcome":
            welcomed_s[user] = frame.at_s
        if frame.data["type"] != "error":
            continue
        code, message = str(frame.data["code"]), str(frame.data.get("id"))
        if message in sent and code == "overloaded" and _has_all_places(sent, message):
            continue
        explaining = EXPLAINING.get(code, ()) if message not in sent or code == "too_late" else ()
        since_s = welcomed_s.get(user, 0.0) - SLACK_S
        if not evidence.did(user, explaining, since_s, frame.at_s):
            about = f" of {message}" if message in sent else ""
            yield Violation(f"{user} was told {code}{about} at {frame.at_s:.3f} s although all was well", "refused")


def _has_all_places(sent: Mapping[str, Exchange], message: str) -> bool:
    this = sent[message]
    before = (each for each in sent.values() if each.user == this.user and each.sent.index < this.sent.index)
    return has_all_places(before, this.sent.at_s)


def _cut_off(evidence: _Evidence) -> Iterator[Violation]:
    """A connection ends when its user wants, or is told why."""
    for user in sorted(evidence.present):
        for connection in evidence.present[user]:
            if connection.ended_s >= evidence.struck_s or any(map(_is_last_word, connection.frames)):
                continue
            from_s, to_s = connection.began_s - SLACK_S, connection.ended_s
            if not evidence.did(user, ENDING, from_s, to_s):
                yield Violation(f"{user} lost the connection at {to_s:.3f} s although all was well", "cut off")


def _is_last_word(frame: Event) -> bool:
    return frame.data["type"] == "error" and frame.data["code"] in LAST_WORDS


def _not_told(history: Reading, evidence: _Evidence, exchange: Exchange) -> Iterator[Violation]:
    """A message is acknowledged, if nothing keeps the device from hearing of it."""
    user, from_s = exchange.user, exchange.sent.at_s
    to_s = exchange.told.at_s if exchange.told is not None else from_s + TOLD_WITHIN_S
    if to_s >= evidence.struck_s or to_s > history.events[-1].at_s:
        return
    if not any(each.lasted(from_s, to_s) for each in evidence.present.get(user, ())):
        return
    if evidence.did(user, ("leave", "log_out", "stall"), from_s - SLACK_S, to_s):
        return
    history.examined["question"] += 1
    if exchange.told is None:
        yield Violation(
            f"{user} heard nothing of {exchange.message} for {TOLD_WITHIN_S:g} s although all was well", "silence"
        )


def _in_vain(history: Reading, evidence: _Evidence, operation: Operation) -> Iterator[Violation]:
    """A log-in succeeds, and so does a log-out; neither does in a session that the user has ended."""
    user, from_s = operation.user, operation.invoked.at_s
    to_s = ended_s_of(operation)
    if to_s >= evidence.struck_s:
        return
    present = evidence.present.get(user, ())
    welcomed_s = max((each.began_s for each in present if each.began_s < from_s), default=0.0)
    is_log_in = operation.name == "connect"
    other_log_outs = evidence.done["log_out"].count(user, welcomed_s - SLACK_S, to_s) - (not is_log_in)
    if other_log_outs or (is_log_in and evidence.did(user, ("leave",), from_s, to_s)) or operation.failed:
        return
    history.examined["log-in" if is_log_in else "log-out"] += 1
    if not operation.ok:
        what = operation.name.replace("_", " ")
        yield Violation(f"{user} could not {what} from {from_s:.3f} to {to_s:.3f} s although all was well", "in vain")
