"""Coverage: the states a campaign must have reached, or it has not tested what it claims."""

from collections.abc import Callable

from properties.exchange import exchanges, user_of
from simulator.history import Event, Kind, Reading
from simulator.property import Expectation, Property

__all__ = ["COVERAGE"]

BREAKERS = ("redis", "postgres", "clickhouse", "llm")
MOVES = {
    "opened": ("closed", "open"),
    "half-opened": ("open", "half-open"),
    "reopened": ("half-open", "open"),
}


def breaker_moved(breaker: str, old: str, new: str) -> Callable[[Reading], bool]:
    """Return the check whether a breaker has made a move, in any process."""
    move = [breaker, old, new]

    def check(history: Reading) -> bool:
        moves = history.observed("breaker_moved")
        return any([event.data["breaker"], event.data["old"], event.data["new"]] == move for event in moves)

    return check


def ambiguous_commit(history: Reading) -> bool:
    """Whether the answer to a commit was lost."""
    return any(event.data["error"] == "OutcomeUnknownError" for event in history.observed("breaker_result"))


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


def run_resumed(history: Reading) -> bool:
    """Whether the agents died between two nodes of a run, which then went on from there."""
    return any(event.data["known"] for event in history.observed("run_resumed"))


def cancelled_under_way(history: Reading) -> bool:
    """Whether a run was cancelled on which agents had begun to work."""
    begun = {event.data["message"] for event in history.observed("agent_event")}
    stored = history.observed("reply_stored")
    return any(event.data["status"] == "cancelled" and event.data["message"] in begun for event in stored)


def partial_workflow(history: Reading) -> bool:
    """Whether a run was answered although an agent had failed."""
    return any(event.data["status"] == "partial" for event in history.observed("reply_stored"))


def degraded_answer(history: Reading) -> bool:
    """Whether an agent went on without the LLM."""
    return any(event.data["detail"] == "degraded" for event in history.observed("agent_event"))


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
    """Whether a host crashed while an operation was open."""
    open_operations: set[int | None] = set()  # only its size is read
    for event in history.events:
        if event.kind is Kind.INVOKE:
            open_operations.add(event.operation)
        elif event.kind in (Kind.OK, Kind.FAIL, Kind.INFO):
            open_operations.discard(event.operation)
        elif event.name in ("crash", "vanish") and event.data.get("phase") == "begin" and open_operations:
            return True
    return False


def _reached(name: str, check: Callable[[Reading], bool], summary: str) -> Property:
    return Property(name, Expectation.SOMETIMES, check, summary)


COVERAGE = (
    *(
        _reached(f"{breaker}-breaker-{how}", breaker_moved(breaker, *move), f"a breaker of {breaker} {how}")
        for breaker in BREAKERS
        for how, move in MOVES.items()
    ),
    _reached("ambiguous-commit", ambiguous_commit, "the answer to a commit was lost"),
    _reached("fallback-drained", fallback_drained, "the fallback buffer was used and drained"),
    _reached("resumed-with-missed", resumed_with_missed, "a user resumed with missed replies"),
    _reached("resumed-elsewhere", resumed_elsewhere, "a user resumed at the other gateway"),
    _reached("token-expired-under-way", token_expired_under_way, "a token expired with a message open"),
    _reached("run-resumed", run_resumed, "the agents died between two nodes of a run"),
    _reached("cancelled-under-way", cancelled_under_way, "a run was cancelled under way"),
    _reached("partial-workflow", partial_workflow, "a run was answered in part"),
    _reached("degraded-answer", degraded_answer, "an agent went on without the LLM"),
    _reached("slow-consumer-dropped", slow_consumer_dropped, "a user who does not read was dropped"),
    _reached("gateway-drained", gateway_drained, "a gateway was told to end with users connected"),
    _reached("work-found", work_found, "work was found that could not be announced"),
    _reached("runs-overlapped", runs_overlapped, "the agents worked for two users at once"),
    _reached("crashed-in-flight", crashed_in_flight, "a host crashed with work in flight"),
)
