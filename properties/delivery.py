"""Delivery: the reply to each accepted message reaches its user, in order, once, across reconnects."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from properties.exchange import Exchange, exchanges, user_of
from properties.observed import are_told, leave_unjudged
from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["DELIVERY"]

NEEDED = dict.fromkeys(("numbers", "stored twice", "altered", "not stored"), ("postgres",))
"""What must be looked at for each site but those of what users see."""


def check_delivery(history: Reading) -> Violation | Unknown | None:
    """Compare, per user, the messages with the replies that arrived, and those with the replies that are stored."""
    quiet_s = history.marked_at("quiet")
    if quiet_s is None:
        return Unknown("the run ended before everything was quiet")
    frames = _by_user((user_of(frame), frame) for frame in history.observed("frame") if frame.data["type"] == "reply")
    stored = _by_user((str(reply.data["user"]), reply) for reply in history.observed("stored_reply"))
    sent = exchanges(history)
    for user in sorted({*frames, *stored}):
        violation = next(_of_user(user, frames[user], stored[user], sent), None)
        if violation is not None:
            return violation
    known = _accepted(history, quiet_s)
    accepted = [each for each in sent.values() if each.acknowledged or each.message in known]
    history.examined["message"] += len(accepted)
    leave_unjudged(history, NEEDED)
    if not are_told(history, "reply"):
        return Unknown("nobody tells of replies")
    violation = next(_missing(history, accepted, stored), None)
    return violation or (None if accepted else Unknown("no message was accepted"))


def _of_user(
    user: str, frames: Sequence[Event], stored: Sequence[Event], sent: Mapping[str, Exchange]
) -> Iterator[Violation]:
    yield from _disorder(user, frames)
    yield from _overtaking(user, frames, sent)
    yield from _misnumbered(user, stored)
    yield from _altered(user, frames, {reply.data["seq"]: reply for reply in stored})


def _disorder(user: str, frames: Sequence[Event]) -> Iterator[Violation]:
    """The user's device remembers what it saw: replies are numbered 1, 2, 3, ... whatever the connection."""
    seen: dict[str, float] = {}
    for place, frame in enumerate(frames, 1):
        to, seq = str(frame.data["to"]), frame.data["seq"]
        if to in seen:
            yield Violation(
                f"{user} received the reply to {to} at {seen[to]:.3f} s and again at {frame.at_s:.3f} s", "twice"
            )
        if seq != place:
            yield Violation(
                f"{user} received the reply to {to} as number {seq} at {frame.at_s:.3f} s, after {place - 1} others",
                "order",
            )
        seen[to] = frame.at_s


def _overtaking(user: str, frames: Sequence[Event], sent: Mapping[str, Exchange]) -> Iterator[Violation]:
    """A message that was sent after another was acknowledged is answered after it."""
    latest: Exchange | None = None  # of those answered so far, the one that was sent last
    for frame in frames:
        exchange = sent.get(str(frame.data["to"]))
        if exchange is None:
            yield Violation(f"{user} received a reply to {frame.data['to']}, which nobody has sent", "not sent")
            continue
        if latest is not None and exchange.acknowledged_s < latest.sent.at_s:
            yield Violation(
                f"{user} sent {latest.message} after {exchange.message} was acknowledged, and it was answered before",
                "overtaken",
            )
        if latest is None or exchange.sent.index > latest.sent.index:
            latest = exchange


def _misnumbered(user: str, stored: Sequence[Event]) -> Iterator[Violation]:
    for place, reply in enumerate(sorted(stored, key=_number), 1):
        if reply.data["seq"] != place:
            yield Violation(f"the stored replies to {user} have number {reply.data['seq']} in place {place}", "numbers")
    for to, count in Counter(str(reply.data["to"]) for reply in stored).items():
        if count > 1:
            yield Violation(f"there are {count} stored replies to {to} of {user}", "stored twice")


def _altered(user: str, frames: Sequence[Event], stored: Mapping[object, Event]) -> Iterator[Violation]:
    for frame in frames:
        reply = stored.get(frame.data["seq"])
        for field in ("to", "text", "status", "nodes") if reply is not None else ():
            if reply is not None and frame.data[field] != reply.data[field]:
                yield Violation(
                    f"{user} received {field}={frame.data[field]!r} as number {frame.data['seq']}, "
                    f"and stored is {reply.data[field]!r}",
                    "altered",
                )


def _accepted(history: Reading, quiet_s: float) -> set[object]:
    """Return the messages that the platform knew to be in the ledger before everything was quiet, for looking up."""
    told = history.observed("message_accepted", "run_started")
    return {event.data["message"] for event in told if event.at_s < quiet_s}


def _missing(
    history: Reading, accepted: Sequence[Exchange], stored: Mapping[str, Sequence[Event]]
) -> Iterator[Violation]:
    is_inspected = any(event.data["store"] == "postgres" for event in history.observed("inspected"))
    for exchange in accepted:
        if exchange.reply is None:
            yield Violation(f"the reply to {exchange.message} never reached {exchange.user}", "missing")
        elif is_inspected and all(reply.data["to"] != exchange.message for reply in stored.get(exchange.user, ())):
            yield Violation(f"the reply to {exchange.message} reached {exchange.user} and is not stored", "not stored")


def _by_user(events: Iterable[tuple[str, Event]]) -> defaultdict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for user, event in events:
        found[user].append(event)
    return found


def _number(reply: Event) -> int:
    return int(reply.data["seq"])  # type: ignore[arg-type]


DELIVERY = Property(
    "delivery",
    Expectation.EVENTUALLY,
    check_delivery,
    "the reply to each accepted message reaches its user once and in order, across reconnects",
)
