"""Auth: no data without a valid token, none once the token expired or its session was ended, nobody in another's name.

What shows each breach: data that reach a connection of an ended session, or an ended session that is back in the store
(`ended session`, `revived`); anything but a refusal on a connection whose token has expired and was not renewed in
time (`expired`), which happens when refreshing fails for longer than a token is valid, as while Redis is away; a
trespass that is welcomed.

An ended session is served for a moment, until every gateway has heard of its end; and by a gateway that cannot hear
of it, until its connection's token expires. The times below are counted without what held up the way from the gateway
to the user: faults on either or between them, and a device that does not read. Whatever happens elsewhere excuses
nothing, since a gateway needs nobody to know what time it is.
"""

from collections.abc import Iterator

import attrs

from properties.exchange import user_of
from properties.presence import Connection, Interludes, connections
from properties.storm import Disturbance, Storm
from simulator.history import Event, Operation, Reading
from simulator.property import Expectation, Property, Violation

__all__ = ["AUTH"]

TOKEN_S = 12.0
RENEWAL_LATE_S = 0.5
"""How late a token may arrive that was issued in time: the way to the user varies."""
GRACE_S = 4.0
"""How long after its token's end a connection may last: what it is storing is stored to the end."""
HEARD_WITHIN_S = 2.0
"""How long after its end a session may be served while all is well."""
CALM_BEFORE_S = 10.0
"""How long before a session's end all must have been well: a reader at a dead connection waits for up to 6 s."""
GATEWAYS = ("gateway-a", "gateway-b")
DATA = ("reply", "event", "welcome")
REFUSALS = ("error", "logged_out")


@attrs.frozen
class _Evidence:
    """What the promise looks at, each found once."""

    connections: dict[str, list[Connection]]
    log_outs: list[Operation]  # those that happened
    storm: Storm
    stalls: Interludes

    def held_up_s(self, user: str, from_s: float, to_s: float) -> float:
        """Return for how much of a span the way between the gateways and a user may have been held up."""

        def is_on_the_way(each: Disturbance) -> bool:
            return each.touches(f"user:{user}") or (len(each.places) == 1 and each.touches(*GATEWAYS))

        return self.storm.time_s(from_s, to_s, is_on_the_way) + self.stalls.time_s(user, from_s, to_s)


def check_auth(history: Reading) -> Violation | None:
    """Follow every connection's session and token, and what became of every trespass."""
    evidence = _Evidence(
        connections(history),
        [each for each in history.operations("log_out") if each.ok],
        Storm.of(history),
        Interludes.of(history, "stall"),
    )
    for finding in (_expired(evidence), _served(evidence), _revived(history, evidence), _welcomed(history, evidence)):
        violation = next(finding, None)
        if violation is not None:
            return violation
    return next(_foreign_sessions(history, evidence), None)


def _expired(evidence: _Evidence) -> Iterator[Violation]:
    """A connection ends with its token; one that is renewed too late is not renewed."""
    for user in sorted(evidence.connections):
        for connection in evidence.connections[user]:
            token_s = connection.began_s
            for frame in connection.frames:
                # Only what is late at all is worth a look at what held it up.
                late_s = frame.at_s - token_s - TOKEN_S
                if late_s > RENEWAL_LATE_S:
                    late_s -= evidence.held_up_s(user, token_s, frame.at_s)
                if frame.data["type"] == "token" and late_s <= RENEWAL_LATE_S:
                    token_s = frame.at_s
                elif frame.data["type"] not in REFUSALS and late_s > GRACE_S:
                    yield Violation(
                        f"{user} received a frame of type {frame.data['type']} at {frame.at_s:.3f} s on a connection "
                        f"whose token had come at {token_s:.3f} s and was valid for {TOKEN_S:g} s",
                        "expired",
                    )


def _served(evidence: _Evidence) -> Iterator[Violation]:
    """Data on a connection of a session that was ended."""
    for log_out in evidence.log_outs:
        for connection in evidence.connections.get(log_out.user, ()):
            if connection.session == log_out.result:
                yield from _after(log_out, connection, evidence)


def _after(log_out: Operation, connection: Connection, evidence: _Evidence) -> Iterator[Violation]:
    assert log_out.completed is not None
    user, began_s, ended_s = log_out.user, log_out.invoked.at_s, log_out.completed.at_s
    for frame in connection.frames:
        late_s = frame.at_s - ended_s
        if frame.data["type"] not in DATA or late_s <= HEARD_WITHIN_S:
            continue
        all_was_well = not evidence.storm.during(ended_s - CALM_BEFORE_S, frame.at_s)
        was_reading = not evidence.stalls.during(user, began_s, frame.at_s)
        limit_s = TOKEN_S + GRACE_S + evidence.held_up_s(user, ended_s, frame.at_s)
        if (all_was_well and was_reading) or late_s > limit_s:
            yield Violation(
                f"{user} received a frame of type {frame.data['type']} at {frame.at_s:.3f} s in a session that was "
                f"ended at {ended_s:.3f} s",
                "ended session",
            )


def _revived(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """Nothing brings back a session that was ended."""
    live = {event.data["session"] for event in history.observed("session_key")}
    for log_out in evidence.log_outs:
        assert log_out.completed is not None
        if log_out.result in live:
            yield Violation(
                f"the session that {log_out.user} ended at {log_out.completed.at_s:.3f} s is in the store again",
                "revived",
            )


def _welcomed(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """No trespass is welcomed."""
    attempts = history.operations("trespass")
    for event in history.observed("trespassed"):
        frame = event.data["frame"]
        if not isinstance(frame, dict) or frame["type"] != "welcome":
            continue
        user, how = user_of(event), event.data["how"]
        began = min(each.invoked.index for each in attempts if each.user == user and _is_open_at(each, event))
        if how == "claimed user":
            yield Violation(f"{user} was welcomed at {event.at_s:.3f} s in the name of another user", "claimed user")
        elif how == "proposed session" and frame["session"] == event.data["session"]:
            yield Violation(
                f"{user} was welcomed at {event.at_s:.3f} s in the session {frame['session']}, which is their own idea",
                "proposed session",
            )
        elif how == "ended session" and event.data["session"] in _ended_before(began, evidence):
            yield Violation(
                f"{user} was welcomed at {event.at_s:.3f} s in a session that was ended before they tried",
                "ended session welcomed",
            )


def _is_open_at(operation: Operation, event: Event) -> bool:
    completed = operation.completed
    return operation.invoked.index < event.index and (completed is None or completed.index > event.index)


def _ended_before(index: int, evidence: _Evidence) -> list[object]:
    return [each.result for each in evidence.log_outs if each.completed is not None and each.completed.index < index]


def _foreign_sessions(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """A device is welcomed in a session that a gateway has begun for its user."""
    begun = {(event.data["session"], event.data["user"]) for event in history.observed("session_begun")}
    for user in sorted(evidence.connections):
        for connection in evidence.connections[user]:
            if (connection.session, user) not in begun:
                yield Violation(
                    f"{user} was welcomed at {connection.began_s:.3f} s in a session that was not begun for them",
                    "foreign session",
                )


AUTH = Property(
    "auth",
    Expectation.ALWAYS,
    check_auth,
    "no data without a valid token, none once it expired or its session was ended, nobody in another's name",
)
