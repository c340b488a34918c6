"""What the platform has not finished yet, by the history of a run so far: it goes on until there is nothing."""

from collections.abc import Iterator
from math import inf

from properties.exchange import user_of
from properties.observed import are_logged, are_told
from properties.places import GATEWAYS
from properties.storm import ends_life
from simulator import Event, History, Pending

__all__ = ["unfinished"]

ARRIVES_WITHIN_S = 3.0
"""How long a message that its device has given up may be on its way, or about to be stored, all the same."""
ENDS_WITHIN_S = 3.0
"""How long a gateway may take to end a connection that its user has left: what it waits for may come late."""


def unfinished(history: History) -> Iterator[Pending]:
    """Name messages under way or unanswered, connections just ending, undrained analytics, breakers not closed."""
    accepted = {
        str(event.data["message"]): str(event.data["user"])
        for event in history.observed("message_accepted", "run_started")
    }
    arrived = {event.data["message"] for event in history.observed("message_accepted")}
    if not are_logged(history, *GATEWAYS):
        # Then what users are told is all that there is to go by.
        told = [event for event in history.observed("frame") if event.data["type"] == "ack"]
        arrived.update(event.data["id"] for event in told)
        accepted.update((str(event.data["id"]), user_of(event)) for event in told)
    for sent in history.observed("message_sent"):
        if sent.data["message"] not in arrived and history.now_s < sent.at_s + ARRIVES_WITHIN_S:
            yield Pending(f"{sent.data['message']} may still arrive", needs=("gateway",))
    answered = {event.data["to"] for event in history.observed("frame") if event.data["type"] == "reply"}
    # A message may be stored although its gateway does not know: then the agents find it.
    for message, user in accepted.items() if are_told(history, "reply") else ():
        if message not in answered:
            yield Pending(f"{user} waits for the reply to {message}", needs=(f"user:{user}", "agents"))
    left_s = {
        event.host.removeprefix("user:"): event.at_s
        for event in history.observed("client_state")
        if event.data["state"] == "disconnected"
    }
    for opened in connections_of(history):
        user = str(opened.data["user"])
        if opened.at_s <= left_s.get(user, -inf) and history.now_s < left_s[user] + ENDS_WITHIN_S:
            what = f"{opened.host} may still be ending a connection that {user} has left"
            yield Pending(what, needs=(opened.host,))
    for message, state in analytics_of(history).items():
        if state != "analytics_written":
            # They have to come as far as the buffer while ClickHouse is away.
            needs = ("agents",) if state == "reply_stored" else ("agents", "clickhouse")
            yield Pending(f"the analytics of {message} are not written yet ({state})", needs)
    for (host, breaker), state in breakers_of(history).items():
        if state != "closed":
            yield Pending(f"the breaker of {breaker} in {host} is {state}", needs=(host, breaker))


def analytics_of(history: History) -> dict[str, str]:
    """Return, per message, the last that was heard of its analytics.

    What the agents had neither written nor buffered when they crashed is lost, as it may be: nobody was promised it.
    """
    states: dict[str, str] = {}
    for event in history.events:
        if event.name in ("reply_stored", "analytics_buffered", "analytics_written"):
            states[str(event.data["message"])] = event.name
        elif event.name == "analytics_lost":
            states.pop(str(event.data["message"]), None)
        elif ends_life(event) and event.host == "agents":
            states = {message: state for message, state in states.items() if state != "reply_stored"}
    return states


def connections_of(history: History) -> list[Event]:
    """Return the openings of the connections that no gateway has closed, nor lost with its memory."""
    opened: dict[tuple[str, object], Event] = {}
    for event in history.events:
        if event.name == "connection_opened":
            opened[event.host, event.data["connection"]] = event
        elif event.name == "connection_closed":
            opened.pop((event.host, event.data["connection"]), None)
        elif ends_life(event):
            opened = {key: opening for key, opening in opened.items() if key[0] != event.host}
    return list(opened.values())


def breakers_of(history: History) -> dict[tuple[str, str], str]:
    """Return each breaker's present state. It lives in its host's memory: after a crash it begins anew."""
    states: dict[tuple[str, str], str] = {}
    for event in history.events:
        if event.name == "breaker_moved":
            states[event.host, str(event.data["breaker"])] = str(event.data["new"])
        elif ends_life(event):
            for key in [key for key in states if key[0] == event.host]:
                del states[key]
    return states
