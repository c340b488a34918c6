"""Resources: when all is quiet, what was taken is given back: places, connections, sessions, buffer, tasks, sockets.

Each part is judged only where nothing has just been disturbed: a gateway notices by its pings that a peer is gone,
and a row that is written is removed from the buffer a moment later.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from properties.exchange import user_of
from properties.holdings import check_holdings, sockets_of_users
from properties.observed import are_logged, leave_unjudged
from properties.places import AGENTS, GATEWAYS
from properties.storm import Storm, ends_life
from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["RESOURCES"]

SETTLED_S = 12.0
"""What a gateway needs to notice that a peer is gone: 5 s until its next ping, 2 s for the answer, and the rest."""
BUFFER_SETTLED_S = 4.0
NO_END = -1
OPEN_STATES = ("accepted", "cancelling")
SUBJECTS = ("stored_user", "session_key", "connection_opened", "holdings")
"""What is judged by itself; the buffer is, once anything was in it."""
BUFFERED = ("analytics_buffered", "analytics_written", "analytics_lost")


def check_resources(history: Reading) -> Violation | Unknown | None:
    """Compare what is held when all is quiet with what is in use."""
    quiet_s = history.marked_at("quiet")
    inspected = {event.data["store"]: event for event in history.observed("inspected")}
    if quiet_s is None or "postgres" not in inspected or "redis" not in inspected:
        return Unknown("the stores were not inspected when all was quiet")
    if not history.observed(*SUBJECTS, *BUFFERED):
        return Unknown("nothing was taken")
    leave_unjudged(history, {"connection": GATEWAYS, "session": GATEWAYS, "buffer": (AGENTS,)})
    storm = Storm.of(history)
    for finding in (
        _places(history, quiet_s),
        _sessions(history, storm),
        _connections(history, storm, quiet_s),
        _buffer(history, storm, quiet_s, inspected["redis"]),
        check_holdings(history),
    ):
        violation = next(finding, None)
        if violation is not None:
            return violation
    return None


def _places(history: Reading, quiet_s: float) -> Iterator[Violation]:
    """A user has as many places taken as messages open."""
    late = {
        event.data["user"] for event in history.observed("message_accepted", "reply_stored") if event.at_s >= quiet_s
    }
    messages = history.observed("stored_message")
    taken = Counter(event.data["user"] for event in messages if event.data["state"] in OPEN_STATES)
    for each in history.observed("stored_user"):
        user, places = each.data["user"], each.data["open"]
        if places != taken[user] and user not in late:
            yield Violation(f"{user} has {places} places taken and {taken[user]} messages open", "place")


def _sessions(history: Reading, storm: Storm) -> Iterator[Violation]:
    """Sessions have an end; and where nothing went wrong, those that are stored were begun and not ended."""
    keys = history.observed("session_key")
    for key in keys:
        if key.data["ttl_s"] == NO_END:
            yield Violation(f"a session of {key.data['user']} is stored without an end", "session without end")
    if storm.disturbances or not are_logged(history, *GATEWAYS):
        return  # a session may be stored whose gateway never heard that it is
    begun = {event.data["session"] for event in history.observed("session_begun")}
    ended = {event.data["session"] for event in history.observed("session_ended")}
    for key in keys:
        if key.data["session"] not in begun - ended:
            yield Violation(f"a session of {key.data['user']} is stored that was ended, or never begun", "session")


def _connections(history: Reading, storm: Storm, quiet_s: float) -> Iterator[Violation]:
    """A gateway holds the connections of those who are connected."""
    connected, disturbed_s = _connected(history)
    if storm.during(quiet_s - SETTLED_S, quiet_s):
        return
    held, sockets = _held(history), sockets_of_users(history)
    for user in sorted({*held, *sockets}):
        if disturbed_s[user] >= quiet_s - SETTLED_S:
            continue
        has, places = f"{user} has {connected[user]} connections and the gateways", held.get(user, [])
        if len(places) > connected[user]:
            yield Violation(f"{has} hold {len(places)} ({', '.join(places)})", "connection")
        elif sockets[user] > connected[user]:
            yield Violation(f"{has} have {sockets[user]} sockets open to them", "socket")


def _connected(history: Reading) -> tuple[Counter[str], defaultdict[str, float]]:
    """Return how many connections each user has, and when that, or what they do beside it, last changed."""
    connected: Counter[str] = Counter()
    disturbed_s: defaultdict[str, float] = defaultdict(float)
    for event in history.observed("client_state", "trespassed"):
        disturbed_s[user_of(event)] = event.at_s
        if event.name == "client_state":
            connected[user_of(event)] = int(event.data["state"] == "connected")
    for operation in history.operations("log_out", "trespass", "leave"):
        if operation.completed is not None:
            disturbed_s[operation.user] = max(disturbed_s[operation.user], operation.completed.at_s)
    return connected, disturbed_s


def _held(history: Reading) -> dict[str, list[str]]:
    """Return which connections of each user the gateways have opened and not closed."""
    opened: dict[tuple[str, object], str] = {}
    for event in history.events:
        if ends_life(event):
            opened = {place: user for place, user in opened.items() if place[0] != event.host}
        elif event.name == "connection_opened":
            opened[event.host, event.data["connection"]] = str(event.data["user"])
        elif event.name == "connection_closed":
            opened.pop((event.host, event.data["connection"]), None)
    held: dict[str, list[str]] = {}
    for (host, connection), user in opened.items():
        held.setdefault(user, []).append(f"{host} {connection}")
    return held


def _buffer(history: Reading, storm: Storm, quiet_s: float, inspected: Event) -> Iterator[Violation]:
    """Nothing waits for ClickHouse any more."""
    last_s = max((event.at_s for event in history.observed(*BUFFERED)), default=0.0)
    is_settled = last_s < quiet_s - BUFFER_SETTLED_S and not storm.during(quiet_s - SETTLED_S, quiet_s)
    if are_logged(history, AGENTS) and is_settled and inspected.data["buffered"]:
        yield Violation(f"{inspected.data['buffered']} rows are still in the buffer when all is quiet", "buffer")


RESOURCES = Property(
    "resources",
    Expectation.EVENTUALLY,
    check_resources,
    "when all is quiet, places, connections, sessions, the buffer, tasks and sockets are given back",
)
