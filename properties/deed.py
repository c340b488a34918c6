"""Deeds: what users and agents did that came to something, as far as nothing of the user's own explains what."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import attrs

from properties.exchange import Exchange, exchanges, has_all_places, user_of
from properties.oracle import LLM_KINDS, kind_of
from properties.places import AGENTS, GATEWAYS
from properties.presence import Connection, Interludes, connections, ended_s_of, is_refused_refresh
from properties.storm import Storm, ends_life
from simulator.history import Event, Operation, Reading

__all__ = ["Deed", "deeds", "works"]

CONNECTS_WITHIN_S = 3.0
REFRESHES_WITHIN_S = 2.5
"""Two commands of Redis, of a second each at most."""
CANCELS_WITHIN_S = 6.0
"""A cancellation may be waiting for as long."""
SETTLED_S = 1.0
"""After this much time what was done before has reached whom it may concern."""
TOLD_LAST = ("agent_completed", "agent_failed")


@attrs.frozen
class Deed:
    """Something that was done, from when, and what it came to: an outcome of the table, or none so far.

    `processes` are those whose view of the dependencies matters, `hosts` who else must be well, and `rivals` who must
    be well because they may hold what is locked in a dependency that is there. After `well_until_s` the user's own
    doing, or the end of their connection, may matter. `turns` is how many such things had to be done one after another.
    """

    what: str
    who: str
    processes: tuple[str, ...]
    from_s: float
    outcome: str = ""
    decided_s: float = inf
    hosts: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    well_until_s: float = inf
    turns: int = 1


def deeds(history: Reading, storm: Storm) -> Iterator[Deed]:
    """Yield every deed of a run, of each kind in order."""
    doings = _Doings(history)
    yield from _log_ins(history, doings)
    yield from _log_outs(history)
    for user in sorted(doings.present):
        for connection in doings.present[user]:
            yield from _refreshes(doings, connection)
            yield from _stays(doings, connection, storm)
            yield from _catches_up(history, doings, connection, storm)
    for sent in doings.sent_by.values():
        for place, exchange in enumerate(sent):
            present = doings.connection_at(exchange.user, exchange.sent.at_s)
            if present is not None and not exchange.unsent:
                yield from _message(doings, present, sent, place)
                yield from _answer(doings, present, sent, place)
    yield from works(history)


class _Doings:
    """What is needed to tell deeds: users' connections and messages, and what they did besides."""

    def __init__(self, history: Reading) -> None:
        self.present = connections(history)
        self.leaving = Interludes.of(history, "leave", "log_out", "stall")
        self.cancelling = Interludes.of(history, "cancel")
        self.sent = exchanges(history)
        self.sent_by: defaultdict[str, list[Exchange]] = defaultdict(list)
        for exchange in self.sent.values():
            self.sent_by[exchange.user].append(exchange)
        self._opened: defaultdict[str, list[Event]] = defaultdict(list)
        for event in history.observed("connection_opened"):
            self._opened[str(event.data["user"])].append(event)

    def connection_at(self, user: str, at_s: float) -> Connection | None:
        """Return the connection that a user had at a moment."""
        return next((each for each in self.present.get(user, ()) if each.lasted(at_s, at_s)), None)

    def gateways_of(self, connection: Connection) -> tuple[str, ...]:
        """Return where a connection may be: at which gateways one of its user's was opened just before its welcome."""
        to_s, from_s = connection.began_s, connection.began_s - CONNECTS_WITHIN_S
        found = {event.host for event in self._opened[connection.user] if from_s <= event.at_s <= to_s}
        return tuple(sorted(found)) or GATEWAYS

    def well_until_s(self, connection: Connection, from_s: float) -> float:
        """Return how long a connection's user only waits."""
        return min(connection.ended_s, self.leaving.next_s(connection.user, from_s - SETTLED_S))


def _log_ins(history: Reading, doings: _Doings) -> Iterator[Deed]:
    """A user connects. In a session that they have ended, or after it has expired, that takes another attempt."""
    frames = [frame for frame in history.observed("frame") if frame.data["type"] in ("welcome", "error")]
    ending, leaving = Interludes.of(history, "log_out"), Interludes.of(history, "leave")
    for operation in history.operations("connect"):
        user, from_s = operation.user, operation.invoked.at_s
        welcomed_s = max((each.began_s for each in doings.present.get(user, ()) if each.began_s < from_s), default=0.0)
        told = (frame for frame in frames if user_of(frame) == user and frame.at_s >= from_s and _is_verdict(frame))
        frame = next(told, None)
        yield Deed(
            "connect",
            f"{user}'s log-in at {from_s:.3f} s",
            GATEWAYS,
            from_s,
            str(frame.data.get("code", frame.data["type"])) if frame is not None else "",
            frame.at_s if frame is not None else inf,
            hosts=(f"user:{user}",),
            well_until_s=min(ending.next_s(user, welcomed_s - SETTLED_S), leaving.next_s(user, from_s)),
        )


def _is_verdict(frame: Event) -> bool:
    """Whether it says what became of a log-in. A token that has expired is replaced, and nobody is the wiser."""
    return not frame.data.get("id") and frame.data.get("code") != "expired"


def _log_outs(history: Reading) -> Iterator[Deed]:
    """A user ends their session, from another device. One that has ended, or is just ending, cannot be ended."""
    ending = Interludes.of(history, "log_out")
    for operation in history.operations("log_out"):
        if operation.failed or ending.count(operation.user, operation.invoked.at_s, ended_s_of(operation)) > 1:
            continue
        outcome = "logged_out" if operation.ok else "unavailable" if _was_unavailable(operation) else ""
        yield Deed(
            "log_out",
            f"{operation.user}'s log-out at {operation.invoked.at_s:.3f} s",
            GATEWAYS,
            operation.invoked.at_s,
            outcome,
            ended_s_of(operation) if outcome else inf,
            hosts=(f"user:{operation.user}",),
        )


def _was_unavailable(operation: Operation) -> bool:
    return operation.completed is not None and "unavailable" in str(operation.completed.data.get("error"))


def _refreshes(doings: _Doings, connection: Connection) -> Iterator[Deed]:
    """A device asks for a new token; what is seen of that is the answer."""
    for frame in connection.frames:
        is_refused = is_refused_refresh(frame)
        from_s = frame.at_s - REFRESHES_WITHIN_S
        if frame.data["type"] != "token" and not is_refused:
            continue
        yield Deed(
            "refresh",
            f"{connection.user}'s token at {frame.at_s:.3f} s",
            from_s=from_s,
            outcome="unavailable" if is_refused else "token",
            decided_s=frame.at_s,
            well_until_s=doings.leaving.next_s(connection.user, from_s),
            processes=doings.gateways_of(connection),
            hosts=(f"user:{connection.user}",),
        )


def _stays(doings: _Doings, connection: Connection, storm: Storm) -> Iterator[Deed]:
    """A user is connected when something goes away."""
    last = connection.frames[-1]
    lost = str(last.data["code"]) if last.data["type"] == "error" and not last.data.get("id") else "lost"
    for each in storm.disturbances:
        if not connection.lasted(each.began_s, each.began_s):
            continue
        stayed = connection.ended_s >= each.ended_s
        yield Deed(
            "stay",
            f"{connection.user}'s connection of {connection.began_s:.3f} s",
            from_s=each.began_s,
            outcome="connected" if stayed else lost,
            decided_s=min(connection.ended_s, each.ended_s),
            well_until_s=doings.leaving.next_s(connection.user, connection.began_s - SETTLED_S),
            processes=doings.gateways_of(connection),
            hosts=(f"user:{connection.user}",),
        )


def _catches_up(history: Reading, doings: _Doings, connection: Connection, storm: Storm) -> Iterator[Deed]:
    """A user comes back, and is sent what they missed; from Redis, if nothing has kept it from getting there."""
    from_s = connection.began_s
    stored = {
        event.data["message"]
        for event in history.observed("reply_stored")
        if event.data["user"] == connection.user and event.at_s < from_s - SETTLED_S
    }
    missed = [each for each in doings.sent_by[connection.user] if each.message in stored and each.answered_s > from_s]
    if not missed or storm.struck_before(from_s, "redis", AGENTS):
        return
    decided_s = max(each.answered_s for each in missed)
    yield Deed(
        "catch_up",
        f"what {connection.user} had missed at {from_s:.3f} s",
        from_s=from_s,
        outcome="reply" if decided_s < inf else "",
        decided_s=decided_s,
        well_until_s=doings.well_until_s(connection, from_s),
        processes=doings.gateways_of(connection),
        hosts=(f"user:{connection.user}",),
    )


def _message(doings: _Doings, connection: Connection, sent: Sequence[Exchange], place: int) -> Iterator[Deed]:
    """A user asks. Messages on one connection, and cancellations, are dealt with one after another."""
    exchange = sent[place]
    from_s = exchange.sent.at_s
    if exchange.error == "overloaded" and has_all_places(sent[:place], from_s):
        return
    before = [
        each
        for each in sent[:place]
        if each.sent.at_s >= connection.began_s and not each.unsent and each.told_s >= from_s
    ]
    yield Deed(
        "ask",
        exchange.message,
        from_s=from_s,
        outcome="ack" if exchange.acknowledged else exchange.error,
        decided_s=exchange.told_s,
        processes=doings.gateways_of(connection),
        hosts=(f"user:{exchange.user}",),
        # Who dies in a transaction holds what it has locked for as long as PostgreSQL takes to notice.
        rivals=(AGENTS, *GATEWAYS),
        well_until_s=doings.well_until_s(connection, from_s),
        turns=1 + len(before) + doings.cancelling.count(exchange.user, from_s - CANCELS_WITHIN_S, from_s),
    )


def _answer(doings: _Doings, connection: Connection, sent: Sequence[Exchange], place: int) -> Iterator[Deed]:
    """A user waits for the answer, behind earlier ones, and agents for each other. A cancellation makes it no later."""
    exchange = sent[place]
    if not exchange.acknowledged:
        return
    from_s = exchange.sent.at_s
    before = [each for each in sent[:place] if each.is_open_at(from_s)]
    yield Deed(
        "answer",
        f"the answer to {exchange.message}",
        (*doings.gateways_of(connection), AGENTS),
        from_s,
        "reply" if exchange.reply is not None else "",
        exchange.answered_s,
        hosts=(f"user:{exchange.user}",),
        well_until_s=doings.well_until_s(connection, from_s),
        turns=sum(map(_depth_of, (*before, exchange))),
    )


def _depth_of(exchange: Exchange) -> int:
    """Return how many agents work one after another on a message, at most; those of kind data take two turns."""
    workflow: Mapping[str, Sequence[str]] = exchange.sent.data["workflow"]  # type: ignore[assignment]
    depths: dict[str, int] = {}
    while len(depths) < len(workflow):
        known = len(depths)
        for node, needed in workflow.items():
            if all(each in depths for each in needed):
                depths[node] = (2 if kind_of(node) == "data" else 1) + max((depths[each] for each in needed), default=0)
        assert len(depths) > known, f"the workflow of {exchange.message} is a circle"
    return max(depths.values(), default=1)


def works(history: Reading) -> Iterator[Deed]:
    """An agent works on its task, until its user cancels; what the LLM refuses is no matter of anybody's absence."""
    cancelling = Interludes.of(history, "cancel")
    sent_s = {event.data["message"]: event.at_s for event in history.observed("message_sent")}

    def done(began: Event, outcome: str = "", decided_s: float = inf) -> Deed:
        node, message = str(began.data["node"]), str(began.data["message"])
        kind = kind_of(node)
        return Deed(
            "think" if kind in LLM_KINDS else kind,
            f"{node} of {message}",
            (AGENTS,),
            began.at_s,
            outcome,
            decided_s,
            well_until_s=cancelling.next_s(str(began.data["user"]), sent_s.get(message, 0.0)),
        )

    started: dict[tuple[str, str, str], Event] = {}
    history.observed("agent_event")
    for event in history.events:
        if event.host == AGENTS and ends_life(event):
            started.clear()
        if event.name != "agent_event":
            continue
        task = (str(event.data["user"]), str(event.data["message"]), str(event.data["node"]))
        if event.data["name"] == "agent_started":
            started[task] = event
        elif event.data["name"] in TOLD_LAST and task in started:
            outcome = "failed" if event.data["name"] == "agent_failed" else str(event.data["detail"])
            began = started.pop(task)
            if event.data["detail"] != "refused":
                yield done(began, outcome, event.at_s)
    yield from map(done, started.values())
