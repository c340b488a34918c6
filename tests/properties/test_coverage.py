"""Coverage, on histories made by hand: each state reached, and nearly reached."""

from collections.abc import Callable

import pytest

from properties.coverage import COVERAGE
from simulator import Expectation, Kind
from simulator.property import Outcome
from tests.properties.made import Made, outcome

STATES = {each.name: each for each in COVERAGE}
MOVES = {"opened": ("closed", "open"), "half-opened": ("open", "half-open"), "reopened": ("half-open", "open")}


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


CASES: dict[str, tuple[Callable[[], Made], Callable[[], Made]]] = {
    **{
        f"{breaker}-breaker-{how}": (
            lambda breaker=breaker, move=move: moved(breaker, *move),  # type: ignore[misc]
            lambda breaker=breaker: moved(breaker, "half-open", "closed"),  # type: ignore[misc]
        )
        for breaker in ("redis", "postgres", "clickhouse", "llm")
        for how, move in MOVES.items()
    },
    "ambiguous-commit": (
        lambda: Made().observe("agents", "breaker_result", breaker="postgres", call=1, error="OutcomeUnknownError"),
        lambda: Made().observe("agents", "breaker_result", breaker="postgres", call=1, error=None),
    ),
    "fallback-drained": (
        lambda: Made().analytics("buffered", "alice-1").analytics("drained", "alice-1"),
        lambda: Made().analytics("buffered", "alice-1").analytics("drained", "alice-2"),
    ),
    "resumed-with-missed": (resumed, lambda: resumed(message="alice-2")),
    "resumed-elsewhere": (lambda: resumed("gateway-b"), resumed),
    "token-expired-under-way": (
        lambda: Made().ask("alice-1").error("alice", "expired"),
        lambda: Made().ask("alice-1").reply("alice-1", 1).ask("alice-2", Kind.FAIL).error("alice", "expired"),
    ),
    "run-resumed": (
        lambda: Made().observe("agents", "run_resumed", user="alice", message="alice-1", known=1),
        lambda: run(Made(), "alice-1"),
    ),
    "cancelled-under-way": (
        lambda: Made().agent("alice-1", "triage", "agent_started").replied("alice-1", status="cancelled"),
        lambda: Made().replied("alice-1", status="cancelled"),
    ),
    "partial-workflow": (lambda: Made().replied("alice-1", status="partial"), lambda: Made().replied("alice-1")),
    "degraded-answer": (
        lambda: Made().agent("alice-1", "triage", "agent_completed", detail="degraded"),
        lambda: Made().agent("alice-1", "triage", "agent_completed", detail="completed"),
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
        lambda: Made().ask("alice-1", None).fault("crash", "agents"),
        lambda: Made().fault("crash", "agents").ask("alice-1", None).fault("crash", "agents", phase="end"),
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
