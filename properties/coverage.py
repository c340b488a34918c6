"""Coverage: the states a campaign must have reached, or it has not tested what it claims."""

from collections.abc import Callable, Iterator

from properties.exchange import Exchange, exchanges, user_of
from properties.oracle import LLM_KINDS, kind_of
from properties.places import PROCESSES
from properties.presence import connections, is_refused_refresh
from properties.storm import ENDS_OF_LIFE, ends_life
from simulator.history import Event, Kind, Reading, Value
from simulator.property import Expectation, Property

__all__ = ["COVERAGE"]

BREAKERS = ("redis", "postgres", "clickhouse", "llm")
MOVES = {
    "opened": ("closed", "open"),
    "half-opened": ("open", "half-open"),
    "reopened": ("half-open", "open"),
    "reclosed": ("half-open", "closed"),
}
REFUSALS = {
    "overloaded": "a message was refused because its user had too many open",
    "try_later": "a message was refused as certainly not stored",
    "too_late": "a message could not be cancelled any more",
}
TRESPASSES = ("claimed user", "proposed session", "ended session")


def seen(name: str, /, **values: Value) -> Callable[[Reading], bool]:
    """Return the check whether an observation was made with these values in it."""

    def check(history: Reading) -> bool:
        return any(
            all(event.data.get(key) == value for key, value in values.items()) for event in history.observed(name)
        )

    return check


def trespass_refused(how: str) -> Callable[[Reading], bool]:
    """Return the check whether somebody who trespassed in this way was shown the door, for just that reason."""

    def check(history: Reading) -> bool:
        answers = [each.data["frame"] for each in history.observed("trespassed") if each.data["how"] == how]
        return any(isinstance(answer, dict) and answer.get("code") == "unauthorised" for answer in answers)

    return check


def in_doubt(*, is_stored: bool) -> Callable[[Reading], bool]:
    """Return the check whether a message whose sender never heard what became of it was stored, or was not."""

    def check(history: Reading) -> bool:
        stored = {event.data["message"] for event in history.observed("stored_message")}
        return any(
            each.operation is not None
            and each.operation.completed is not None
            and each.operation.completed.kind is Kind.INFO
            and (each.message in stored) is is_stored
            for each in exchanges(history).values()
        )

    return check


def fallback_drained(history: Reading) -> bool:
    """Whether analytics went to the buffer and from there to ClickHouse."""
    buffered = {event.data["message"] for event in history.observed("analytics_buffered")}
    drained = (event for event in history.observed("analytics_written") if event.data["path"] == "drain")
    return any(event.data["message"] in buffered for event in drained)


def resumed_with_missed(history: Reading) -> bool:
    """Whether a user came back and was sent a reply to what they had asked on an earlier connection."""
    return any(sent.index < welcome.index for sent, welcome, _ in _resumptions(history))


def resumed_elsewhere(history: Reading) -> bool:
    """Whether a user came back to the other gateway and got a reply there."""
    return any(is_elsewhere for _, _, is_elsewhere in _resumptions(history))


def _resumptions(history: Reading) -> list[tuple[Event, Event, bool]]:
    """Return, for each reply after a reconnection, what it answers, the welcome, and whether the gateway was another.

    A user's device is taken to be at the gateway that has last opened a connection of theirs.
    """
    history.observed("frame", "connection_opened")
    sent: dict[str, Event] = {}
    opened: dict[str, str] = {}
    welcomes: dict[str, list[tuple[Event, str]]] = {}
    found = []
    for event in history.events:
        user = user_of(event)
        if event.name == "message_sent":
            sent[str(event.data["message"])] = event
        elif event.name == "connection_opened":
            opened[str(event.data["user"])] = event.host
        elif event.name == "frame" and event.data["type"] == "welcome":
            welcomes.setdefault(user, []).append((event, opened.get(user, "")))
        elif event.name == "frame" and event.data["type"] == "reply" and len(welcomes.get(user, ())) > 1:
            (_, before), (welcome, now) = welcomes[user][-2:]
            if event.data["to"] in sent:
                found.append((sent[str(event.data["to"])], welcome, before != now))
    return found


def gap_filled(history: Reading) -> bool:
    """Whether a reply that could not be passed on through Redis reached its user on the connection they had."""
    waiting: dict[str, str] = {}  # such a reply's message, and its user
    for event in history.observed("reply_not_published", "frame"):
        if event.name == "reply_not_published":
            waiting[str(event.data["message"])] = str(event.data["user"])
        elif event.data["type"] == "welcome":
            waiting = {message: user for message, user in waiting.items() if user != user_of(event)}
        elif event.data["type"] == "reply" and waiting.get(str(event.data["to"])) == user_of(event):
            return True
    return False


def token_expired_under_way(history: Reading) -> bool:
    """Whether a user's token expired while a message of theirs was open."""
    sent = exchanges(history).values()
    for frame in history.observed("frame"):
        if frame.data["type"] == "error" and frame.data["code"] == "expired":
            for each in sent:
                was_open = each.reply is None or each.reply.index > frame.index
                if each.user == user_of(frame) and each.sent.index < frame.index and was_open and not each.refused:
                    return True
    return False


def refresh_refused(history: Reading) -> bool:
    """Whether a connected user could not prolong their token, which only Redis can allow."""
    return any(
        is_refused_refresh(frame)
        for of_user in connections(history).values()
        for connection in of_user
        for frame in connection.frames
    )


def revoked_elsewhere(history: Reading) -> bool:
    """Whether a session was ended on one gateway while a connection in it was open on the other."""
    history.observed("session_ended", "connection_opened", "connection_closed")
    opened: dict[tuple[str, Value], Value] = {}  # each connection's session
    for event in history.events:
        if event.name == "connection_opened":
            opened[event.host, event.data["connection"]] = event.data["session"]
        elif event.name == "connection_closed":
            opened.pop((event.host, event.data["connection"]), None)
        elif ends_life(event):
            opened = {place: session for place, session in opened.items() if place[0] != event.host}
        elif event.name == "session_ended" and any(
            host != event.host and session == event.data["session"] for (host, _), session in opened.items()
        ):
            return True
    return False


def run_resumed(history: Reading) -> bool:
    """Whether the agents died between two nodes of a run, which then went on from there."""
    nodes = {event.data["message"]: event.data["workflow"] for event in history.observed("message_sent")}
    for event in history.observed("run_resumed"):
        known, workflow = event.data["known"], nodes.get(event.data["message"])
        if isinstance(known, int) and isinstance(workflow, dict) and 0 < known < len(workflow):
            return True
    return False


def cancelled_under_way(history: Reading) -> bool:
    """Whether a run was cancelled on which agents had begun to work."""
    begun = {event.data["message"] for event in history.observed("agent_event")}
    stored = history.observed("reply_stored")
    return any(event.data["status"] == "cancelled" and event.data["message"] in begun for event in stored)


def answered_from_cache(history: Reading) -> bool:
    """Whether an agent had an answer of the LLM without asking it."""
    asked: set[tuple[Value, ...]] = set()  # only looked up
    for event in history.observed("agent_event"):
        task = event.data["user"], event.data["message"], event.data["node"]
        if event.data["name"] == "agent_thinking":
            asked.add(task)
        is_answer = event.data["detail"] == "completed" and kind_of(str(event.data["node"])) in LLM_KINDS
        if is_answer and task not in asked:
            return True
    return False


def slow_consumer_dropped(history: Reading) -> bool:
    """Whether a gateway dropped a user whose device did not read."""
    dropped = history.observed("slow_consumer_dropped", "silent_peer_dropped")
    return any(
        event.data["user"] == stall.user and 0 < event.at_s - stall.invoked.at_s < float(str(stall.arguments["for_s"]))
        for stall in history.operations("stall")
        for event in dropped
    )


def gateway_drained(history: Reading) -> bool:
    """Whether a gateway was told to end while users were connected to it."""
    return any(event.data["connections"] for event in history.observed("gateway_stopping"))


def work_found(history: Reading) -> bool:
    """Whether the supervisor found work of which nobody could tell it."""
    unannounced = False
    for event in history.observed("work_not_announced", "run_started"):
        if event.name == "run_started" and unannounced:
            return True
        unannounced = unannounced or event.name == "work_not_announced"
    return False


def runs_overlapped(history: Reading) -> bool:
    """Whether the agents worked for two users at once."""
    working: set[object] = set()  # only its size is read
    for event in history.observed("run_started", "reply_stored"):
        if event.name == "run_started":
            working.add(event.data["user"])
        else:
            working.discard(event.data["user"])
        if len(working) > 1:
            return True
    return False


def crashed_in_flight(history: Reading) -> bool:
    """Whether a process of the platform crashed while a message was under way."""
    crashes = list(_crashes(history))
    history.examined["crash"] += len(crashes)
    return any(_is_under_way(each, crash) for each in exchanges(history).values() for crash in crashes)


def _crashes(history: Reading) -> Iterator[Event]:
    for fault in history.faults(*ENDS_OF_LIFE):
        if fault.host in PROCESSES and fault.data["phase"] == "begin":
            yield fault


def _is_under_way(exchange: Exchange, at: Event) -> bool:
    """Whether a message was sent by then, and neither refused, given up by its sender, nor answered."""
    if exchange.sent.index > at.index or (exchange.reply is not None and exchange.reply.index < at.index):
        return False
    completed = exchange.operation.completed if exchange.operation is not None else None
    return completed is None or completed.index > at.index or exchange.acknowledged


def _reached(name: str, check: Callable[[Reading], bool], summary: str) -> Property:
    return Property(name, Expectation.SOMETIMES, check, summary)


COVERAGE = (
    *(
        _reached(
            f"{breaker}-breaker-{how}",
            seen("breaker_moved", breaker=breaker, old=old, new=new),
            f"a breaker of {breaker} {how}",
        )
        for breaker in BREAKERS
        for how, (old, new) in MOVES.items()
    ),
    _reached(
        "ambiguous-commit", seen("breaker_result", error="OutcomeUnknownError"), "the answer to a commit was lost"
    ),
    _reached("in-doubt-stored", in_doubt(is_stored=True), "a message in doubt was stored"),
    _reached("in-doubt-not-stored", in_doubt(is_stored=False), "a message in doubt was not stored"),
    *(
        _reached(f"refused-{code.replace('_', '-')}", seen("frame", type="error", code=code), summary)
        for code, summary in REFUSALS.items()
    ),
    _reached("fallback-drained", fallback_drained, "the fallback buffer was used and drained"),
    _reached("resumed-with-missed", resumed_with_missed, "a user resumed with missed replies"),
    _reached("resumed-elsewhere", resumed_elsewhere, "a user resumed at the other gateway"),
    _reached("gap-filled", gap_filled, "a reply that Redis did not have was found in the ledger"),
    _reached("token-expired-under-way", token_expired_under_way, "a token expired with a message open"),
    _reached("refresh-refused", refresh_refused, "a token could not be refreshed"),
    _reached("revoked-elsewhere", revoked_elsewhere, "a session ended that was in use at the other gateway"),
    *(
        _reached(f"{how.replace(' ', '-')}-refused", trespass_refused(how), f"a trespass was refused ({how})")
        for how in TRESPASSES
    ),
    _reached("run-resumed", run_resumed, "the agents died between two nodes of a run"),
    _reached("cancelled-under-way", cancelled_under_way, "a run was cancelled under way"),
    _reached("partial-workflow", seen("reply_stored", status="partial"), "a run was answered in part"),
    _reached("degraded-answer", seen("agent_event", detail="degraded"), "an agent went on without the LLM"),
    _reached("answered-from-cache", answered_from_cache, "an agent did not have to ask the LLM"),
    _reached("llm-refused", seen("agent_event", name="agent_failed", detail="refused"), "the LLM refused a question"),
    _reached("slow-consumer-dropped", slow_consumer_dropped, "a user who does not read was dropped"),
    _reached("gateway-drained", gateway_drained, "a gateway was told to end with users connected"),
    _reached("work-found", work_found, "work was found that could not be announced"),
    _reached("runs-overlapped", runs_overlapped, "the agents worked for two users at once"),
    _reached("crashed-in-flight", crashed_in_flight, "the platform crashed with a message under way"),
)
