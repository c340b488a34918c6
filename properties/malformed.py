"""Malformed frames: each is refused as bad_request, and ends no connection.

Not judged: what is sent shortly after something that may itself have ended the connection or held it up.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from properties.exchange import user_of
from properties.places import GATEWAYS
from properties.service import LATENCY_S_MAX, latency_s_of
from properties.storm import Disturbance, Storm
from simulator.history import Event, Kind, Operation, Reading
from simulator.property import Violation

__all__ = ["check_malformed"]

UNNOTICED_S = 8.0
"""How long after a fault a connection may still end because of it: pings come every 5 s, with 2 s for the answer."""
UNSETTLED_S: Mapping[str, float] = {"stall": 15.0, "redis": 15.0, "log_out": 3.0, "leave": 3.0}
"""And after what else: without Redis no token is refreshed, and who does not read for 9 s is missed after that."""
STAYS_OPEN_S = 1.0
"""For how long after a refusal the connection is watched."""
CONCERNED = (*GATEWAYS, "redis", "postgres")
"""Whoever a connection depends on, beside its user."""


def check_malformed(history: Reading) -> Iterator[Violation]:
    """Look how what is no frame was answered, and whether the connection stayed open."""
    lost = [each for each in history.events if each.name == "client_state" and each.data["state"] == "disconnected"]
    is_slow = latency_s_of(history) > LATENCY_S_MAX
    for sent in _judged(history):
        said = f"{sent.user} sent {str(sent.arguments.get('text'))[:40]!r} at {sent.invoked.at_s:.3f} s"
        if not sent.result and is_slow:
            continue  # behind messages that are stored one after another it may wait for longer than its device does
        history.examined["malformed"] += 1
        if sent.result != "bad_request":
            answer = f"{sent.result!r}" if sent.result else "no answer"
            yield Violation(f"{said} and got {answer} instead of 'bad_request'", site="malformed")
        elif any(_is_closed_by(event, sent) for event in lost):
            yield Violation(f"{said}, was refused, and lost the connection with it", site="malformed")


def _judged(history: Reading) -> Iterator[Operation]:
    """Yield what was sent and answered, or not, when nothing else can have made a difference."""
    storm = Storm.of(history)
    acts = [each for each in history.events if each.kind is Kind.INVOKE and each.name in UNSETTLED_S]
    answered: dict[str, float] = defaultdict(float)  # per user, the event at which the last one was answered
    for sent in history.operations("send_malformed"):
        end, waited = sent.completed, sent.invoked.index < answered[sent.user]
        answered[sent.user] = max(answered[sent.user], end.index if end is not None else float("inf"))
        # An answer does not say to which frame it is, so a device sends one at a time, and no second one meanwhile.
        if end is None or sent.failed or waited:
            continue
        if not _is_explained(storm, acts, sent.user, sent.invoked.at_s, end.at_s + STAYS_OPEN_S):
            yield sent


def _is_explained(storm: Storm, acts: Sequence[Event], user: str, from_s: float, to_s: float) -> bool:
    """Whether something else may have ended a user's connection, or held up what comes on it."""

    def is_on_the_way(each: Disturbance) -> bool:
        lasts_s = UNSETTLED_S["redis"] if each.touches("redis") else UNNOTICED_S
        return each.is_among(*CONCERNED, f"user:{user}") and each.ended_s >= from_s - lasts_s

    def is_by_users(act: Event) -> bool:
        # A device that does not read may hold up others', too: that is for another promise to find.
        is_near = from_s - UNSETTLED_S[act.name] <= act.at_s <= to_s
        return is_near and (act.name == "stall" or user_of(act) == user)

    return bool(storm.during(0.0, to_s, is_on_the_way)) or any(map(is_by_users, acts))


def _is_closed_by(lost: Event, sent: Operation) -> bool:
    assert sent.completed is not None
    is_near = sent.invoked.at_s <= lost.at_s <= sent.completed.at_s + STAYS_OPEN_S
    return is_near and lost.host == sent.invoked.host
