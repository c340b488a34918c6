"""Resources, on histories made by hand."""

from properties.resources import RESOURCES
from simulator import Kind
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site


def connected(made: Made, connection: int = 1) -> Made:
    made.observe("gateway-a", "connection_opened", connection=connection, user="alice", session="s1")
    return made.welcome("alice")


def quiet(made: Made, after_s: float = 20.0) -> Made:
    return made.wait(after_s).mark("heal", "quiet")


def users(made: Made, places: int) -> Made:
    return made.observe("observer", "stored_user", user="alice", seq=1, open=places)


def key(made: Made, ttl_s: int = 3600, session: str = "s1") -> Made:
    return made.observe("observer", "session_key", session=session, user="alice", ttl_s=ttl_s)


def test_resources_hold_when_what_is_held_is_in_use() -> None:
    """One connection, one session, one open message and its place."""
    made = users(quiet(connected(Made())).stored("alice-1", state="accepted").stored("alice-2"), 1)
    holds(key(made).inspected(), RESOURCES)


def test_resources_are_broken_by_a_place_that_is_not_given_back() -> None:
    """One day nobody can ask any more."""
    made = users(quiet(Made()).stored("alice-1"), 1).inspected()
    assert evidence(made, RESOURCES) == ("alice has 1 places taken and 0 messages open", "place")


def test_resources_do_not_judge_places_that_were_just_taken() -> None:
    """The tables are read one after another."""
    made = quiet(Made()).observe("gateway-a", "message_accepted", user="alice", message="alice-1")
    holds(users(made.stored("alice-1"), 1).inspected(), RESOURCES)


def test_resources_are_broken_by_sessions_that_stay() -> None:
    """Without an end; after they were ended; or never begun."""
    assert site(key(quiet(connected(Made())), ttl_s=-1).inspected(), RESOURCES) == "session without end"
    ended = connected(Made()).observe("gateway-a", "session_ended", session="s1")
    assert site(key(quiet(ended)).inspected(), RESOURCES) == "session"
    assert site(key(quiet(connected(Made())), session="s2").inspected(), RESOURCES) == "session"
    stormy = connected(Made()).fault("crash", "redis").fault("crash", "redis", phase="end")
    holds(key(quiet(stormy), session="s2").inspected(), RESOURCES)


def test_resources_are_broken_by_a_connection_that_nobody_has() -> None:
    """The peer is gone for longer than it takes to notice."""
    made = connected(Made()).disconnected("alice")
    assert evidence(quiet(made).inspected(), RESOURCES) == (
        "alice has 0 connections and the gateways hold 1 (gateway-a 1)",
        "connection",
    )


def test_resources_forgive_a_connection_that_was_just_lost_or_whose_gateway_is_gone() -> None:
    """The gateway will notice; or it knows of nothing any more."""
    holds(quiet(connected(Made()).disconnected("alice"), after_s=5.0).inspected(), RESOURCES)
    gone = connected(Made()).disconnected("alice").fault("crash", "gateway-a")
    holds(quiet(gone.fault("crash", "gateway-a", phase="end")).inspected(), RESOURCES)


def test_resources_are_broken_by_rows_that_wait_in_the_buffer() -> None:
    """ClickHouse has been there for long."""
    made = quiet(Made().analytics("buffered", "alice-1"))
    full = made.inspected("postgres").observe("observer", "inspected", store="redis", buffered=2)
    assert evidence(full, RESOURCES) == ("2 rows are still in the buffer when all is quiet", "buffer")
    recent = quiet(Made().analytics("drained", "alice-1"), after_s=1.0).inspected("postgres")
    holds(recent.observe("observer", "inspected", store="redis", buffered=1), RESOURCES)


def test_resources_are_unknown_until_the_stores_were_inspected() -> None:
    """And all was quiet."""
    assert outcome(quiet(Made()).inspected("redis"), RESOURCES) is Outcome.UNKNOWN
    assert outcome(Made().record(Kind.MARK, "", "heal").inspected(), RESOURCES) is Outcome.UNKNOWN


def holding(tasks: int, host: str = "gateway-a", /, **sockets: int) -> Made:
    """A run at whose end a program has so much."""
    return quiet(Made()).holdings(host, tasks, **sockets).inspected()


def test_resources_hold_when_tasks_and_sockets_are_explained() -> None:
    """By what the program is, and by what it serves; a few may be just beginning."""
    served = quiet(connected(Made()))
    holds(
        served.holdings("gateway-a", 8 + 1 + 3 * 2 + 4 + 2, redis=2, **{"": 1, "user:alice": 1}).inspected(), RESOURCES
    )
    holds(holding(11 + 3 * 3 + 2, "agents", redis=3, postgres=8, clickhouse=2, llm=20), RESOURCES)
    holds(holding(1000, "redis", agents=1000), RESOURCES)


def test_resources_are_broken_by_tasks_that_nothing_explains() -> None:
    """One day there are too many."""
    assert evidence(holding(22, redis=2, **{"": 1, "user:alice": 0}), RESOURCES) == (
        "gateway-a has 22 tasks when all is quiet, and 15 are explained: 8 of its own, and those of 2 connections to "
        "Redis and 0 to users",
        "task",
    )
    assert site(holding(11 + 3 + 5, "agents", redis=1), RESOURCES) == "task"


def test_resources_are_broken_by_sockets_that_nobody_needs() -> None:
    """More than a pool may have, or than there were connections to serve."""
    assert evidence(holding(11, "agents", postgres=9), RESOURCES) == (
        "agents has 9 sockets open to postgres, and may have 8",
        "socket",
    )
    assert site(holding(8 + 3 * 13, redis=13), RESOURCES) == "socket"
    holds(quiet(connected(Made())).holdings("gateway-a", 8 + 3 * 14, redis=14).inspected(), RESOURCES)
    ended = connected(Made()).fault("crash", "gateway-a").fault("crash", "gateway-a", phase="end")
    assert site(quiet(ended).holdings("gateway-a", 8 + 3 * 14, redis=14).inspected(), RESOURCES) == "socket"


def test_resources_are_broken_by_a_socket_of_a_user_who_is_gone() -> None:
    """The connection was closed, and the socket was not."""
    gone = connected(Made()).observe("gateway-a", "connection_closed", connection=1).disconnected("alice")
    said, where = evidence(quiet(gone).holdings("gateway-a", 9, **{"user:alice": 1}).inspected(), RESOURCES)
    assert (said, where) == ("alice has 0 connections and the gateways have 1 sockets open to them", "socket")


def test_resources_are_unknown_when_nothing_was_taken() -> None:
    """That the stores were looked into is not enough."""
    verdict = quiet(Made().welcome("alice")).inspected().judged_by(RESOURCES)
    assert (verdict.outcome, verdict.missing) == (Outcome.UNKNOWN, "nothing was taken")
