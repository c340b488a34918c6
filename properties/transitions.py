"""Transitions: of every breaker, of the frames of a connection, and of an agent's events, as the contract has them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from properties.coverage import MOVES
from properties.exchange import user_of
from properties.schema import DOCUMENT, Json
from properties.storm import ends_life
from simulator.history import Event, History, Value

__all__ = ["transitions", "transitions_in"]

States = Mapping[str, Mapping[str, str]]
CONVERSATION, AGENT = "connection", "agent"


def transitions(needs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Name them all. `needs` says for each process which dependencies it has a breaker for."""
    for host, dependencies in needs.items():
        for dependency in dependencies:
            yield from (_moved(host, dependency, old, new) for old, new in MOVES.values())
    yield from _named(CONVERSATION, DOCUMENT["x-conversation"]["states"])
    yield from _named(AGENT, DOCUMENT["x-order"]["states"])


def transitions_in(history: History) -> Iterator[str]:
    """Name those that a history shows."""
    for event in history.observed("breaker_moved"):
        yield _moved(event.host, *(str(event.data[each]) for each in ("breaker", "old", "new")))
    yield from _followed(CONVERSATION, DOCUMENT["x-conversation"], _frames(history))
    yield from _followed(AGENT, DOCUMENT["x-order"], _told(history))


def _moved(host: str, breaker: str, old: str, new: str) -> str:
    return f"breaker of {breaker} at {host}: {old} > {new}"


def _named(machine: str, states: States) -> Iterator[str]:
    for state, steps in states.items():
        yield from (f"{machine}: {state} > {step}" for step in steps)


def _followed(machine: str, described: Json, steps: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """Follow each of many machines, by what is told of it. What cannot follow begins it anew, as no name does."""
    initial: str = described["initial"]
    states: States = described["states"]
    at: dict[str, str] = {}
    for who, names in steps:
        for state in dict.fromkeys((at.pop(who, initial), initial)):
            step = next((name for name in names if name in states[state]), None)
            if step is not None:
                yield f"{machine}: {state} > {step}"
                at[who] = states[state][step]
                break


def _frames(history: History) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield whose connection, and what a frame may be called in the contract; nothing where a connection ends."""
    for event in history.observed("frame", "answered_beside", "client_state"):
        if event.name == "frame":
            yield user_of(event), _called(event.data)
        elif event.name == "answered_beside":
            frame = event.data["frame"]
            yield f"{user_of(event)} beside", _called(frame) if isinstance(frame, Mapping) else ()
        elif event.data["state"] != "connected":
            yield user_of(event), ()


def _called(frame: Mapping[str, Value]) -> tuple[str, str]:
    kind = str(frame["type"])
    return f"{kind} {frame.get('code')}", kind


def _told(history: History) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield which agent of which message and life, and what it tells."""
    life = 0
    for event in history.events:
        if ends_life(event):
            life += 1
        elif event.name == "agent_event":
            yield _agent(event, life), (str(event.data["name"]),)


def _agent(event: Event, life: int) -> str:
    return f"{event.data['user']} {event.data['message']} {event.data['node']} {life}"
