"""Coverage, on histories made by hand: each state reached, and nearly reached."""

from collections.abc import Callable

import pytest

from properties.coverage import COVERAGE
from simulator import Expectation, Kind
from simulator.property import Outcome
from tests.properties.made import Made, outcome

STATES = {each.name: each for each in COVERAGE}
MOVES = {
    "opened": ("closed", "open"),
    "half-opened": ("open", "half-open"),
    "reopened": ("half-open", "open"),
    "reclosed": ("half-open", "closed"),
}


def moved(breaker: str, old: str, new: str) -> Made:
    return Made().observe("agents", "breaker_moved", breaker=breaker, old=old, new=new)


def back(made: Made, gateway: str = "gateway-a") -> Made:
    for host in ("gateway-a", gateway):
        made.observe(host, "connection_opened", connection=1, user="alice", session="s1").welcome("alice")
    return made


def resumed(gateway: str = "gateway-a", message: str = "alice-1") -> Made:
    return back(Made().ask("alice-1"), gateway).ask("alice-2").reply(message, 1)


def dropped(made: Made) -> Made:
    return made.observe("gateway-a", "silent_peer_dropped", connection=1, user="alice")


def run(made: Made, message: str) -> Made:
    return made.observe("agents", "run_started", user=message.partition("-")[0], message=message)


def unannounced() -> Made:
    return Made().observe("gateway-a", "work_not_announced", error="")


def unpublished() -> Made:
    return Made().ask("alice-1").observe("agents", "reply_not_published", user="alice", message="alice-1", error="")


def logged_out_on(gateway: str, *, still_open: bool = True) -> Made:
    made = Made().observe("gateway-a", "connection_opened", connection=1, user="alice", session="s1")
    if not still_open:
        made.observe("gateway-a", "connection_closed", connection=1)
    return made.observe(gateway, "session_ended", session="s1")


def trespassed(how: str, code: str) -> Made:
    return Made().observe("user:bob", "trespassed", how=how, session="", frame={"type": "error", "code": code})


def resumed_run(known: int) -> Made:
    made = Made().ask("alice-1", workflow={"data-1": [], "report-2": ["data-1"]})
    return made.observe("agents", "run_resumed", user="alice", message="alice-1", known=known)


def thought(made: Made, detail: str = "completed") -> Made:
    return made.agent("alice-1", "report-1", "agent_completed", detail=detail)


CASES: dict[str, tuple[Callable[[], Made], Callable[[], Made]]] = {
    **{
        f"{breaker}-breaker-{how}": (
            lambda breaker=breaker, move=move: moved(breaker, *move),  # type: ignore[misc]
            lambda breaker=breaker, move=move: moved(breaker, *reversed(move)),  # type: ignore[misc]
        )
        for breaker in ("redis", "postgres", "clickhouse", "llm")
        for how, move in MOVES.items()
    },
    "ambiguous-commit": (
        lambda: Made().observe("agents", "breaker_result", breaker="postgres", call=1, error="OutcomeUnknownError"),
        lambda: Made().observe("agents", "breaker_result", breaker="postgres", call=1, error=None),
    ),
    "in-doubt-stored": (
        lambda: Made().ask("alice-1", Kind.INFO).ask("bob-1").stored("bob-1").stored("alice-1"),
        lambda: Made().ask("alice-1", Kind.INFO).ask("bob-1").stored("bob-1"),
    ),
    "in-doubt-not-stored": (
        lambda: Made().ask("alice-1", Kind.INFO).ask("bob-1").stored("bob-1"),
        lambda: Made().ask("alice-1", Kind.INFO).stored("alice-1").ask("alice-2", Kind.FAIL).ask("alice-3", None),
    ),
    **{
        f"refused-{code.replace('_', '-')}": (
            lambda code=code: Made().error("alice", code, "alice-1"),  # type: ignore[misc]
            lambda: Made().error("alice", "unavailable", "alice-1"),
        )
        for code in ("overloaded", "try_later", "too_late")
    },
    "fallback-drained": (
        lambda: Made().analytics("buffered", "alice-1").analytics("drained", "alice-1"),
        lambda: Made().analytics("buffered", "alice-1").analytics("drained", "alice-2"),
    ),
    "resumed-with-missed": (resumed, lambda: resumed(message="alice-2")),
    "resumed-elsewhere": (lambda: resumed("gateway-b"), resumed),
    "gap-filled": (
        lambda: unpublished().reply("alice-1", 1),
        lambda: unpublished().welcome("alice").reply("alice-1", 1),
    ),
    "token-expired-under-way": (
        lambda: Made().ask("alice-1").error("alice", "expired"),
        lambda: Made().ask("alice-1").reply("alice-1", 1).ask("alice-2", Kind.FAIL).error("alice", "expired"),
    ),
    "refresh-refused": (
        lambda: Made().welcome("alice").error("alice", "unavailable"),
        lambda: Made().error("alice", "unavailable").welcome("alice").error("alice", "unavailable", "alice-1"),
    ),
    "revoked-elsewhere": (
        lambda: logged_out_on("gateway-b"),
        lambda: logged_out_on("gateway-b", still_open=False).observe("gateway-a", "session_ended", session="s1"),
    ),
    **{
        f"{how.replace(' ', '-')}-refused": (
            lambda how=how: trespassed(how, "unauthorised"),  # type: ignore[misc]
            lambda how=how: trespassed(how, "unavailable"),  # type: ignore[misc]
        )
        for how in ("claimed user", "proposed session", "ended session")
    },
    # The results of all nodes are known when the agents die before the reply is stored: that is not between two.
    "run-resumed": (lambda: resumed_run(1), lambda: resumed_run(2)),
    "cancelled-under-way": (
        lambda: Made().agent("alice-1", "triage", "agent_started").replied("alice-1", status="cancelled"),
        lambda: Made().replied("alice-1", status="cancelled"),
    ),
    "partial-workflow": (lambda: Made().replied("alice-1", status="partial"), lambda: Made().replied("alice-1")),
    "degraded-answer": (
        lambda: Made().agent("alice-1", "triage", "agent_completed", detail="degraded"),
        lambda: Made().agent("alice-1", "triage", "agent_completed", detail="completed"),
    ),
    "answered-from-cache": (
        lambda: thought(Made().agent("alice-1", "report-2", "agent_thinking")),
        lambda: thought(thought(Made().agent("alice-1", "report-1", "agent_thinking")), "degraded"),
    ),
    "llm-refused": (
        lambda: Made().agent("alice-1", "triage", "agent_failed", detail="refused"),
        lambda: Made().agent("alice-1", "triage", "agent_failed", detail="timed out"),
    ),
    "slow-consumer-dropped": (
        lambda: dropped(Made().operation("alice", "stall", for_s=9.0)),
        lambda: dropped(Made().operation("bob", "stall", for_s=9.0)),
    ),
    "gateway-drained": (
        lambda: Made().observe("gateway-a", "gateway_stopping", connections=1),
        lambda: Made().observe("gateway-a", "gateway_stopping", connections=0),
    ),
    "work-found": (lambda: run(unannounced(), "alice-1"), lambda: run(Made(), "alice-1")),
    "runs-overlapped": (
        lambda: run(run(Made(), "alice-1"), "bob-1"),
        lambda: run(run(Made(), "alice-1").replied("alice-1"), "bob-1"),
    ),
    "crashed-in-flight": (
        lambda: Made().ask("alice-1").fault("crash", "gateway-b"),
        lambda: Made().ask("alice-1").fault("crash", "redis").reply("alice-1", 1).fault("crash", "agents"),
    ),
}


def test_every_state_has_its_case() -> None:
    """What is declared is tried."""
    assert list(CASES) == list(STATES)
    assert {each.expectation for each in COVERAGE} == {Expectation.SOMETIMES}


@pytest.mark.parametrize("name", CASES)
def test_coverage_tells_reached_from_nearly_reached(name: str) -> None:
    """A *sometimes* that is always reached would hide a search that goes nowhere."""
    reached, missed = CASES[name]
    assert outcome(reached(), STATES[name]) is Outcome.HOLDS
    assert outcome(missed(), STATES[name]) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("made", "is_under_way"),
    [
        (Made().ask("alice-1", None), True),
        (Made().ask("alice-1", Kind.FAIL), False),
        (Made().ask("alice-1", Kind.INFO), False),
        (Made().operation("alice", "connect", how=None), False),
    ],
    ids=("just sent", "refused", "given up", "no message"),
)
def test_a_message_is_in_flight_until_its_user_knows_what_became_of_it(made: Made, is_under_way: bool) -> None:
    """One that was given up may never have arrived; it says nothing of the crash."""
    verdict = made.fault("vanish", "agents").judged_by(STATES["crashed-in-flight"])
    assert (verdict.outcome is Outcome.HOLDS) is is_under_way
    assert verdict.examined["crash"] == 1
