"""Degradation: with one dependency away, what does not need it goes on.

| away         | what still works                                            | what is refused, clearly               |
|--------------|-------------------------------------------------------------|----------------------------------------|
| `clickhouse` | every question is answered as ever; analytics wait          | nothing; agents of kind `data` fail    |
| `llm`        | every question is answered, if only as degraded             | nothing                                |
| `redis`      | open connections: every question is answered, found by      | new connections, logins and refreshed  |
|              | looking for it                                              | tokens: `unavailable`                  |
| `postgres`   | open connections stay, and replies come from the streams    | questions: `try_later`, `unavailable`  |

Judged are questions to one agent that are sent while exactly one dependency is away, whether it comes back meanwhile
or not: from some time before until the time limit nothing else may have been struck, and the user must have had
nothing open, have been connected, and have done nothing but wait. Away is a dependency that is down, frozen, cut off
or in trouble from anybody's point of view; not one that is only slow to reach, or whose connections were reset once. No
question is judged in a world whose messages take so long that the platform's own time limits may be exceeded.
Besides, whoever is away, an agent gives up its work in time.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from properties.exchange import Exchange, exchanges
from properties.latency import LATENCY_S_MAX, latency_s_of
from properties.presence import Connection, Interludes, connections
from properties.storm import Disturbance, Storm, ends_life
from simulator.history import Event, Kind, Reading
from simulator.property import Expectation, Property, Violation

__all__ = ["DEGRADATION"]


@attrs.frozen
class _Mode:
    """What is promised of a question while a dependency is away."""

    within_s: float
    why: str  # it takes that long at most
    statuses: tuple[str, ...] = ("completed",)  # what the agent may come to; nothing: it is refused


MODES: Mapping[str, _Mode] = {
    "clickhouse": _Mode(4.0, "nothing waits for it"),
    "llm": _Mode(9.0, "an agent is given 6 s", ("completed", "degraded", "failed")),
    "redis": _Mode(12.0, "2 s to look for work, 1 s each to load and keep an answer, 6 s to look for news"),
    "postgres": _Mode(6.0, "1 s for each who waits at the same gateway", ()),
}
NOT_AWAY = ("slow", "reset")
CALM_BEFORE_S = 10.0
NODE_TIMEOUT_S = 6.0
NODE_SLACK_S = 0.5
EXPLAINING = ("cancel", "leave", "log_out", "stall", "run_workflow")
TOLD_LAST = ("agent_completed", "agent_failed")


def check_degradation(history: Reading) -> Violation | None:
    """Judge every question that was sent while one dependency was away, and every agent's perseverance."""
    storm = Storm.of(history)
    violation = next(_tireless(history, storm), None)
    if violation is not None or not storm.disturbances or latency_s_of(history) > LATENCY_S_MAX:
        return violation
    context = _Context(history, storm)
    for sent in context.by_user.values():
        for place, exchange in enumerate(sent):
            if not _is_first(sent, place):
                continue
            away = _away(storm, exchange.sent.at_s)
            finding = context.judged(exchange, away) if away is not None else None
            if finding is not None:
                return finding
    return None


def _tireless(history: Reading, storm: Storm) -> Iterator[Violation]:
    """An agent works on its task until it has a result or its time is up."""
    started: dict[tuple[object, object, object], Event] = {}
    history.observed("agent_event")
    for event in history.events:
        if event.kind is Kind.FAULT and event.host == "agents" and ends_life(event):
            started.clear()
        if event.name != "agent_event":
            continue
        task = (event.data["user"], event.data["message"], event.data["node"])
        if event.data["name"] == "agent_started":
            started[task] = event
        elif event.data["name"] in TOLD_LAST and task in started:
            began_s = started.pop(task).at_s
            frozen_s = storm.time_s(began_s, event.at_s, lambda each: each.kind == "freeze" and each.touches("agents"))
            if event.at_s - began_s - frozen_s > NODE_TIMEOUT_S + NODE_SLACK_S:
                yield Violation(
                    f"{event.data['node']} worked on {event.data['message']} from {began_s:.3f} to {event.at_s:.3f} s "
                    f"instead of giving up after {NODE_TIMEOUT_S:g} s",
                    "agent",
                )


def _away(storm: Storm, at_s: float) -> str | None:
    """Return which one dependency is away at a moment, if nothing else was struck shortly before."""
    active = storm.during(at_s - CALM_BEFORE_S, at_s)
    names = {name for each in active for name in MODES if each.touches(name)}
    is_away = any(each.began_s < at_s < each.ended_s for each in active)
    return names.pop() if len(names) == 1 and is_away and all(map(_is_absence, active)) else None


def _is_absence(each: Disturbance) -> bool:
    """Whether it takes a dependency away from somebody."""
    return each.touches(*MODES) and each.kind not in NOT_AWAY


def _is_first(sent: Sequence[Exchange], place: int) -> bool:
    """Whether everything that the user sent before was answered or refused, and this is a question to one agent."""
    exchange, from_s = sent[place], sent[place].sent.at_s
    if exchange.operation is None or exchange.operation.name != "ask":
        return False
    return all(each.refused or (each.reply is not None and each.reply.at_s < from_s) for each in sent[:place])


class _Context:
    """What is needed to judge a question: what came to whom, and what users did."""

    def __init__(self, history: Reading, storm: Storm) -> None:
        self._storm = storm
        self._ended_s = history.events[-1].at_s
        self._connections = connections(history)
        self._explained = Interludes.of(history, *EXPLAINING)
        self._errors = {
            str(frame.data["id"]): frame.at_s
            for frame in history.observed("frame")
            if frame.data["type"] == "error" and frame.data.get("id")
        }
        self.by_user: dict[str, list[Exchange]] = {}
        for exchange in exchanges(history).values():
            self.by_user.setdefault(exchange.user, []).append(exchange)

    def judged(self, exchange: Exchange, away: str) -> Violation | None:
        """Judge a question that was sent while one dependency was away."""
        mode, user, from_s = MODES[away], exchange.user, exchange.sent.at_s
        limit_s, decided_s = from_s + mode.within_s, self._decided_s(exchange, mode)
        until_s = limit_s if decided_s is None else min(limit_s, decided_s)
        others = self._storm.during(from_s, until_s, lambda each: not (each.touches(away) and _is_absence(each)))
        if others or until_s > self._ended_s or self._explained.during(user, from_s, until_s):
            return None
        connection = next((each for each in self._connections.get(user, ()) if each.lasted(from_s, from_s)), None)
        if connection is None:
            return None
        if connection.ended_s < until_s:
            stays = not mode.statuses and not _was_told_why(connection)
            return _broken(away, f"{user} lost the connection at {connection.ended_s:.3f} s") if stays else None
        if decided_s is None or decided_s > limit_s:
            done = "answered" if mode.statuses else "acknowledged or refused"
            return _broken(away, f"{exchange.message} was not {done} within {mode.within_s:g} s ({mode.why})")
        return _outcome(away, exchange, mode) if mode.statuses else None

    def _decided_s(self, exchange: Exchange, mode: _Mode) -> float | None:
        """Return when the user was told what they are promised to be told."""
        if mode.statuses:
            return exchange.reply.at_s if exchange.reply is not None else None
        return self._errors.get(exchange.message, exchange.acknowledged_s)


def _outcome(away: str, exchange: Exchange, mode: _Mode) -> Violation | None:
    """Judge what the agent came to that was asked."""
    nodes = exchange.reply.data["nodes"] if exchange.reply is not None else {}
    assert isinstance(nodes, dict)
    for node, status in nodes.items():
        if status not in mode.statuses:
            return _broken(away, f"{node} of {exchange.message} was {status}, and it does not need it")
    return None


def _broken(away: str, what: str) -> Violation:
    return Violation(f"with {away} away {what}", away)


def _was_told_why(connection: Connection) -> bool:
    """Whether the connection ended for a reason that the user was told, which its errors without a message are."""
    return any(frame.data["type"] == "error" and not frame.data.get("id") for frame in connection.frames)


DEGRADATION = Property(
    "degradation",
    Expectation.ALWAYS,
    check_degradation,
    "with one dependency away, what does not need it goes on, and the rest is refused clearly and soon",
)
