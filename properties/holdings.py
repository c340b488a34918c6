"""Holdings: when all is quiet, each program of the platform has as many tasks and sockets as what it serves explains.

A simulated run counts them; of a live one nothing is known, and nothing is judged.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from properties.places import AGENTS, GATEWAYS
from properties.storm import ends_life
from simulator.history import Event, Reading
from simulator.property import Violation

__all__ = ["check_holdings", "sockets_of_users"]

TASKS: Mapping[str, int] = {**dict.fromkeys(GATEWAYS, 8), AGENTS: 11}
"""What each program has of its own, whatever it serves."""
TASKS_OF_A_SOCKET: Mapping[str, int] = {"redis": 3, "user": 4, "": 1}
"""What comes with a socket: one to Redis is run, read and written; on one to a user frames are parsed, read and pushed,
and its time is watched; for one that listens or is not connected yet (""), somebody waits."""
TASKS_SPARE = 2
"""What may just be beginning or ending."""
SOCKETS_MAX: Mapping[str, int] = {"postgres": 8, "clickhouse": 20, "llm": 20}
"""The sizes of the pools."""
REDIS_MAX = 12
"""How many connections to Redis a program may want at once for itself: all that were, are kept."""
REDIS_OF_A_CONNECTION = 2
"""And for each user's connection: to wait for news, and to ask."""


def check_holdings(history: Reading) -> Iterator[Violation]:
    """Compare what each program has when all is quiet with what it may have."""
    most = _most_connections(history)
    for event in history.observed("holdings"):
        if event.host in TASKS:
            history.examined["program"] += 1
            yield from _tasks(event)
            yield from _sockets(event, REDIS_MAX + REDIS_OF_A_CONNECTION * most[event.host])


def sockets_of_users(history: Reading) -> Counter[str]:
    """Return how many sockets the gateways have open to each user."""
    sockets: Counter[str] = Counter()
    for event in history.observed("holdings"):
        if event.host in GATEWAYS:
            sockets.update({peer: count for peer, count in _by_peer(event).items() if peer.startswith("user:")})
    return Counter({peer.removeprefix("user:"): count for peer, count in sockets.items()})


def _tasks(event: Event) -> Iterator[Violation]:
    peers = Counter[str]()
    for peer, count in _by_peer(event).items():
        peers[peer.partition(":")[0]] += count
    explained = TASKS[event.host] + sum(each * peers[peer] for peer, each in TASKS_OF_A_SOCKET.items())
    tasks = int(event.data["tasks"])  # type: ignore[arg-type]
    if tasks > explained + TASKS_SPARE:
        yield Violation(
            f"{event.host} has {tasks} tasks when all is quiet, and {explained} are explained: {TASKS[event.host]} of "
            f"its own, and those of {peers['redis']} connections to Redis and {peers['user']} to users",
            "task",
        )


def _sockets(event: Event, redis_max: int) -> Iterator[Violation]:
    for peer, count in _by_peer(event).items():
        most = {**SOCKETS_MAX, "redis": redis_max}.get(peer)
        if most is not None and count > most:
            yield Violation(f"{event.host} has {count} sockets open to {peer}, and may have {most}", "socket")


def _by_peer(event: Event) -> Mapping[str, int]:
    sockets: Mapping[str, int] = event.data["sockets"]  # type: ignore[assignment]
    return sockets


def _most_connections(history: Reading) -> Counter[str]:
    """Return how many users' connections each gateway has had at once, in its present life."""
    present: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for event in history.events:
        if ends_life(event):
            present[event.host] = most[event.host] = 0
        elif event.name == "connection_opened":
            present[event.host] += 1
            most[event.host] = max(most[event.host], present[event.host])
        elif event.name == "connection_closed":
            present[event.host] -= 1
    return most
