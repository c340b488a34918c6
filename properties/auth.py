"""Auth: no data without a valid token, none once the token expired or its session was ended, nobody in another's name.

What shows each breach: anything but a refusal that reaches a device which nobody has welcomed (`uninvited`), a
connection whose token has expired and was not renewed in time (`expired`), or one of a session that was ended (`ended
session`); a session that is back in the store after its end (`revived`); a welcome that gives another user's name,
session or token, or that an expired token was enough for; a trespass that is not refused (`... welcomed`).

An ended session is served for a moment, until every gateway has heard of its end; and by a gateway that cannot hear
of it, until its connection's token expires. What a gateway is just storing it stores to the end, and says so. The
times below are counted without what held up the way from the gateway to the user: faults on either or between them,
and a device that does not read. Whatever happens elsewhere excuses nothing, since a gateway needs nobody to know what
time it is, and only Redis to hear of ends.
"""

import json
from collections.abc import Iterator, Mapping

import attrs

from properties.exchange import user_of
from properties.observed import are_logged, leave_unjudged
from properties.places import GATEWAYS
from properties.presence import Connection, Interludes, connections, ended_s_of
from properties.storm import Disturbance, Storm
from simulator.history import Event, Operation, Reading, Value
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["AUTH"]

TOKEN_S = 12.0
"""How long a token is valid, where no frame says otherwise."""
LATE_S = 0.5
"""How late anything may arrive that was sent in time: the way to the user varies."""
ANSWERS_LATE_S: Mapping[str, float] = {"ack": 4.0, "cancelling": 4.0}
"""How long after the end of its connection's right to be, something may still be stored and answered."""
HEARD_WITHIN_S = 1.5
"""How long after its end a session may be served while all is well."""
CALM_BEFORE_S = 10.0
"""How long before a session's end all must have been well: a reader at a dead connection waits for up to 6 s."""
GREETED_WITHIN_S = 2.0
"""After how long a device gives up to be welcomed: a welcome was asked for no longer ago than that."""
NEWS_FROM = (*GATEWAYS, "redis")
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

    def late_s(self, user: str, due_s: float, at_s: float) -> float:
        """Return how much later than due something arrived that nothing held up since."""
        # Only what is late at all is worth a look at what held it up.
        late_s = at_s - due_s
        return late_s - self.held_up_s(user, due_s, at_s) if late_s > LATE_S else late_s

    def is_heard(self, log_out: Operation) -> bool:
        """Whether every gateway must have heard at once that a session was ended."""
        from_s, to_s = ended_s_of(log_out) - CALM_BEFORE_S, ended_s_of(log_out) + HEARD_WITHIN_S
        return not self.storm.during(from_s, to_s, lambda each: each.is_among(*NEWS_FROM))


def check_auth(history: Reading) -> Violation | Unknown | None:
    """Follow every connection's session and token, and what became of every trespass."""
    evidence = _Evidence(
        connections(history),
        [each for each in history.operations("log_out") if each.ok],
        Storm.of(history),
        Interludes.of(history, "stall"),
    )
    leave_unjudged(history, {"foreign session": GATEWAYS, "revived": ("redis",)})
    for finding in (
        _uninvited(history, evidence),
        _expired(evidence),
        _served(evidence),
        _revived(history, evidence),
        _admitted(history, evidence),
        _welcomed(history, evidence),
    ):
        violation = next(finding, None)
        if violation is not None:
            return violation
    if not any(evidence.connections.values()) and not history.observed("trespassed"):
        return Unknown("nobody was welcomed, and nobody trespassed")
    return None


# What arrives


def _uninvited(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """Before its welcome, and after its end, a connection brings refusals only."""
    invited = {frame.index for each in evidence.connections.values() for found in each for frame in found.frames}
    for frame in history.observed("frame"):
        if frame.index not in invited and frame.data["type"] != "error":
            yield Violation(f"{_received(frame)} on a connection that was not welcomed", "uninvited")


def _expired(evidence: _Evidence) -> Iterator[Violation]:
    """A connection ends with its token; one that is renewed too late is not renewed."""
    for user in sorted(evidence.connections):
        for connection in evidence.connections[user]:
            token_s, life_s = connection.began_s, _life_s(connection.frames[0])
            for frame in connection.frames:
                kind = str(frame.data["type"])
                late_s = evidence.late_s(user, token_s + life_s, frame.at_s)
                if kind not in REFUSALS and late_s > ANSWERS_LATE_S.get(kind, LATE_S):
                    yield Violation(
                        f"{_received(frame)} on a connection whose token had come at {token_s:.3f} s and was valid "
                        f"for {life_s:g} s",
                        "expired",
                    )
                if kind == "token":
                    token_s, life_s = frame.at_s, _life_s(frame)


def _life_s(frame: Event) -> float:
    """Return for how long a token is valid, as the frame that brought it says."""
    return float(frame.data.get("expires_in", TOKEN_S))  # type: ignore[arg-type]


def _served(evidence: _Evidence) -> Iterator[Violation]:
    """Data on a connection of a session that was ended."""
    for log_out in evidence.log_outs:
        for connection in evidence.connections.get(log_out.user, ()):
            if connection.session == log_out.result:
                yield from _after(log_out, connection, evidence)


def _after(log_out: Operation, connection: Connection, evidence: _Evidence) -> Iterator[Violation]:
    ended_s = ended_s_of(log_out)
    heard_s = ended_s + HEARD_WITHIN_S if evidence.is_heard(log_out) else ended_s + TOKEN_S
    for frame in connection.frames:
        kind = str(frame.data["type"])
        if kind in REFUSALS or frame.at_s <= heard_s:
            continue
        if evidence.late_s(log_out.user, heard_s, frame.at_s) > ANSWERS_LATE_S.get(kind, LATE_S):
            yield Violation(f"{_received(frame)} in a session that was ended at {ended_s:.3f} s", "ended session")


def _received(frame: Event) -> str:
    return f"{user_of(frame)} received a frame of type {frame.data['type']} at {frame.at_s:.3f} s"


def _revived(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """Nothing brings back a session that was ended."""
    live = {event.data["session"] for event in history.observed("session_key")}
    for log_out in evidence.log_outs:
        if log_out.result in live:
            yield Violation(
                f"the session that {log_out.user} ended at {ended_s_of(log_out):.3f} s is in the store again",
                "revived",
            )


# Who is welcomed


def _admitted(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """A device is welcomed as its user, in a session begun for them, and goes on with it by a token that is valid."""
    begun = {(event.data["session"], event.data["user"]) for event in history.observed("session_begun")}
    for user in sorted(evidence.connections):
        tokens_s: dict[str, tuple[float, float]] = {}  # when the last token of each session came, and its life
        for connection in evidence.connections[user]:
            welcomed = f"{user} was welcomed at {connection.began_s:.3f} s"
            session, welcome = connection.session, connection.frames[0]
            if welcome.data["user"] != user:
                yield Violation(f"{welcomed} as {welcome.data['user']}", "another user")
            if are_logged(history, *GATEWAYS) and (session, user) not in begun:
                yield Violation(f"{welcomed} in a session that was not begun for them", "foreign session")
            token_s, life_s = tokens_s.get(session, (connection.began_s, TOKEN_S))
            if connection.began_s - GREETED_WITHIN_S - token_s > life_s + LATE_S:
                yield Violation(
                    f"{welcomed} with the token of a session whose last had come at {token_s:.3f} s and was valid for "
                    f"{life_s:g} s",
                    "expired token",
                )
            for frame in connection.frames:
                if "token" in frame.data:
                    tokens_s[session] = frame.at_s, _life_s(frame)
                    yield from _foreign_token(frame, user, session)


def _foreign_token(frame: Event, user: str, session: str) -> Iterator[Violation]:
    """A token claims what its user may claim."""
    claims = _claims(frame.data["token"])
    if claims and (claims.get("sub"), claims.get("sid")) != (user, session):
        yield Violation(
            f"{user} was given at {frame.at_s:.3f} s a token of {claims.get('sub')} in another session than theirs",
            "foreign token",
        )


def _claims(token: Value) -> Mapping[str, Value]:
    try:
        claims = json.loads(str(token))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


# Who must not be


BY: Mapping[str, str] = {
    "claimed user": "in the name of another user",
    "proposed session": "in a session which is their own idea",
    "ended session": "in a session that was ended before they tried",
    "expired token": "with a token that had expired before they tried",
    "forged token": "with a token that they had signed themselves",
    "unsigned token": "with a token that nobody had signed",
    "stolen session": "in the session of another user",
    "another's stream": "in the name of another user, whose stream they wanted to resume",
    "no hello": "without having said who they are",
}
"""Each way to trespass, and how evidence words that it was not refused."""


def _welcomed(history: Reading, evidence: _Evidence) -> Iterator[Violation]:
    """Every trespass is refused."""
    attempts = history.operations("trespass")
    for event in history.observed("trespassed"):
        frame = event.data["frame"]
        if not isinstance(frame, dict) or frame["type"] == "error":
            continue
        user, how = user_of(event), str(event.data["how"])
        began = next((each.invoked for each in attempts if each.user == user and _is_open_at(each, event)), event)
        if _is_trespass(how, event, frame, began, history, evidence):
            answer = "was welcomed" if frame["type"] == "welcome" else f"received a frame of type {frame['type']}"
            yield Violation(f"{user} {answer} at {event.at_s:.3f} s {BY.get(how, how)}", f"{how} welcomed")


def _is_trespass(
    how: str, event: Event, frame: Mapping[str, Value], began: Event, history: Reading, evidence: _Evidence
) -> bool:
    """Whether what was tried had certainly to be refused when it began."""
    match how:
        case "proposed session" | "stolen session":
            return frame.get("session") == event.data["session"]
        case "ended session":
            return any(
                each.result == event.data["session"]
                and each.completed is not None
                and each.completed.index < began.index
                for each in evidence.log_outs
            )
        case "expired token":
            came_s = [each.at_s for each in history.observed("frame") if each.data.get("token") == event.data["token"]]
            return bool(came_s) and began.at_s - came_s[0] > TOKEN_S
        case _:
            return True


def _is_open_at(operation: Operation, event: Event) -> bool:
    completed = operation.completed
    return operation.invoked.index < event.index and (completed is None or completed.index > event.index)


AUTH = Property(
    "auth",
    Expectation.ALWAYS,
    check_auth,
    "no data without a valid token, none once it expired or its session was ended, nobody in another's name",
)
