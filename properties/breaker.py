"""Breaker: a circuit breaker opens after consecutive failures, admits nothing, probes once, and recloses.

A platform tells of every move, of every failure, of every call that it refuses or, while not closed, admits, and of
the success that ends a row of failures. Calls are numbered, so that one from before the last move is known by its
number: it counts no more. A call that was given up has no result, and counts as nothing.
"""

from collections.abc import Callable, Mapping
from math import inf

import attrs

from properties.observed import are_logged
from properties.places import PROCESSES
from properties.storm import ends_life
from simulator.history import Event, Kind, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["BREAKER", "CALL_S_MAX", "FAILURES_MAX", "RESET_S"]

FAILURES_MAX = 3
RESET_S = 2.0
"""How long an open breaker admits nobody."""
JITTER_S = 0.1
"""How late, at most, a real host's log tells of something."""
CALL_S_MAX: Mapping[str, float] = {"redis": 1.0, "postgres": 2.0, "clickhouse": 2.0, "llm": 1.5}
"""How long a call may take: a command; the tables and a transaction; a table and a statement; an answer."""
SLACK_S = 0.5
NO_FAILURES = (
    "ClickHouseRefusedError",
    "ConflictError",
    "DatabaseBusyError",
    "DatabaseError",
    "LLMRefusedError",
    "RateLimitedError",
)
"""Errors that say nothing against a dependency: the mistake is the caller's, or the lack is ours."""
EVENTS = ("breaker_moved", "breaker_admitted", "breaker_result", "breaker_refused")


@attrs.define
class _Observed:
    """What is known of one breaker in one life of its host: an independent statement of the rules."""

    host: str
    name: str
    state: str = "closed"
    failures: int = 0  # in a row, while it is closed
    left_closed_s: float = 0.0
    opened_s: float = 0.0
    newest: int = 0  # of the calls that were admitted while it was not closed
    probe: int | None = None
    probe_worked: bool | None = None  # None while it has no result
    overtaken: dict[int, str] = attrs.field(factory=dict)  # probes beside which another was admitted

    def follow(self, event: Event, healed_s: float) -> Violation | None:
        """Judge what is told next, and take note of it."""
        violation = self.late(event.at_s, healed_s)
        if violation is None and event.name != "breaker_moved":
            violation = self.stayed()
        return violation or STEPS[event.name](self, event)

    def late(self, at_s: float, healed_s: float) -> Violation | None:
        """Judge whether it should have closed by now: when its dependency is back, two rounds of probing suffice.

        The first probe may be given up, or be somebody's who came a moment before it could have worked.
        """
        from_s = max(self.opened_s, healed_s)
        took_s_max = 2 * (RESET_S + CALL_S_MAX[self.name]) + SLACK_S
        if self.state == "closed" or at_s <= from_s + took_s_max:
            return None
        since = f"it opened at {from_s:.3f} s" if from_s > healed_s else f"{self.name} was back at {from_s:.3f} s"
        return self._broken(f"was still {self.state} at {at_s:.3f} s although {since}", "recloses")

    def unclosed(self, healed_s: float) -> Violation | None:
        """Judge whether it has closed at all since its dependency is back."""
        if self.state == "closed" or self.left_closed_s > healed_s:
            return None
        return self._broken(
            f"is still {self.state} although {self.name} has been back since {healed_s:.3f} s", "recloses"
        )

    def stayed(self) -> Violation | None:
        """Judge whether it has not moved although it had to, at once."""
        if self.failures >= FAILURES_MAX:
            return self._broken(f"stayed closed after {self.failures} failures in a row", "opens")
        if self.probe_worked is None:
            return None
        result, where = ("had succeeded", "recloses") if self.probe_worked else ("had failed", "reopens")
        return self._broken(f"stayed half-open although its probe, call {self.probe}, {result}", where)

    def moved(self, event: Event) -> Violation | None:
        """Judge a move by what is known of the calls before it."""
        old, new = str(event.data["old"]), str(event.data["new"])
        wrong = f"while it was {self.state}"
        if old == self.state:
            wrong = MOVES.get((old, new), _illegal)(self, event.at_s)
        if wrong:
            return self._broken(f"moved from {old} to {new} at {event.at_s:.3f} s {wrong}", "moves")
        if old == "closed":
            self.left_closed_s = event.at_s
        if new == "open":
            self.opened_s = event.at_s
        self.state, self.failures, self.probe, self.probe_worked = new, 0, None, None
        return None

    def refused(self, event: Event) -> Violation | None:
        """Judge whether it had a reason to spare its dependency a call."""
        wrong = REFUSALS[self.state](self, event.at_s)
        return self._broken(f"refused a call at {event.at_s:.3f} s {wrong}", "refuses") if wrong else None

    def admitted(self, event: Event) -> Violation | None:
        """Judge the admission of a call, which while half-open is the probe."""
        call = int(event.data["call"])  # type: ignore[arg-type]
        self.newest = max(self.newest, call)
        if self.state == "open":
            return self._broken(f"admitted call {call} at {event.at_s:.3f} s while it was open", "open")
        if self.state == "half-open":
            if self.probe is not None:
                # Not yet a stampede: a probe that was given up says nothing of its end, and the next is the probe.
                self.overtaken[self.probe] = (
                    f"admitted call {call} at {event.at_s:.3f} s while call {self.probe} was still its probe"
                )
            self.probe = call
        return None

    def resulted(self, event: Event) -> Violation | None:
        """Count the result of a call, if it is from after the last move."""
        call, error = int(event.data["call"]), event.data["error"]  # type: ignore[arg-type]
        if error in NO_FAILURES:
            return self._broken(f"counted a {error} as a failure of {self.name} at {event.at_s:.3f} s", "counts")
        if call in self.overtaken:
            return self._broken(self.overtaken[call], "half-open")
        if call == self.probe:
            self.probe_worked = error is None
        elif self.state == "closed" and call > self.newest:
            self.failures = self.failures + 1 if error is not None else 0
        return None

    def _broken(self, how: str, where: str) -> Violation:
        return Violation(f"{self.host}'s breaker of {self.name} {how}", where)


STEPS: Mapping[str, Callable[[_Observed, Event], Violation | None]] = {
    "breaker_moved": _Observed.moved,
    "breaker_admitted": _Observed.admitted,
    "breaker_result": _Observed.resulted,
    "breaker_refused": _Observed.refused,
}


def _unless(is_right: bool, wrong: str) -> str:
    return "" if is_right else wrong


def _illegal(_seen: _Observed, _at_s: float) -> str:
    return "as none may"


MOVES: Mapping[tuple[str, str], Callable[[_Observed, float], str]] = {
    ("closed", "open"): lambda seen, _at_s: _unless(
        seen.failures == FAILURES_MAX, f"after {seen.failures} failure(s) in a row instead of {FAILURES_MAX}"
    ),
    ("open", "half-open"): lambda seen, at_s: _unless(
        at_s >= seen.opened_s + RESET_S - JITTER_S,
        f"although it had opened at {seen.opened_s:.3f} s, and admits nobody for {RESET_S:g} s",
    ),
    ("half-open", "open"): lambda seen, _at_s: _unless(seen.probe_worked is False, "although no probe had failed"),
    ("half-open", "closed"): lambda seen, _at_s: _unless(seen.probe_worked is True, "although no probe had succeeded"),
}
"""Every legal move, and what is wrong with one at that moment; nothing if it is right."""

REFUSALS: Mapping[str, Callable[[_Observed, float], str]] = {
    "closed": lambda _seen, _at_s: "while it was closed",
    "open": lambda seen, at_s: _unless(
        at_s <= seen.opened_s + RESET_S + JITTER_S,
        f"although it had opened at {seen.opened_s:.3f} s, and admits a probe after {RESET_S:g} s",
    ),
    "half-open": lambda seen, _at_s: _unless(seen.probe is not None, "while it was half-open and had no probe"),
}
"""What is wrong with a refusal in each state, at that moment; nothing if it is right."""


def check_breaker(history: Reading) -> Violation | Unknown | None:
    """Follow every breaker through its moves, and see to it that each recloses when its dependency is back."""
    if history.is_part:
        return _check_part(history)
    history.observed(*EVENTS)
    marked_s = history.marked_at("heal")
    healed_s = inf if marked_s is None else marked_s
    breakers: dict[tuple[str, str], _Observed] = {}
    for event in history.events:
        violation = None
        if event.kind is Kind.OBSERVE and event.name in EVENTS:
            key = (event.host, str(event.data["breaker"]))
            violation = breakers.setdefault(key, _Observed(*key)).follow(event, healed_s)
        elif ends_life(event):
            for key in [key for key in breakers if key[0] == event.host]:
                del breakers[key]  # a breaker lives in its host's memory: the next process's begins anew
        elif event.kind is Kind.MARK and event.name == "quiet":
            violation = next(filter(None, (each.unclosed(healed_s) for each in breakers.values())), None)
        if violation is not None:
            return violation
    at_end = (each.stayed() or each.late(history.events[-1].at_s, healed_s) for each in breakers.values())
    violation = next(filter(None, at_end), None)
    if violation is None and history.marked_at("quiet") is None:
        return Unknown("the run ended before everything was quiet")
    if violation is None and not are_logged(history, *PROCESSES):
        return Unknown("what some of the platform's processes tell is not read")
    return violation


def _check_part(history: Reading) -> Violation | Unknown | None:
    """Follow each breaker from where it was seen to open, or to half-open. Its host may begin a new life unseen.

    A new life begins closed, and tells of a move before it refuses anything; so what an open or half-open breaker does
    until its next move is of one life. What it should do by now is not judged: its time may not have come.
    """
    followed: dict[tuple[str, str], _Observed] = {}
    moves = 0
    for event in history.observed(*EVENTS):
        key = event.host, str(event.data["breaker"])
        seen = followed.get(key)
        if event.name == "breaker_result" and event.data["error"] in NO_FAILURES:
            return _Observed(*key).resulted(event)
        if event.name == "breaker_moved":
            moves += 1
            if seen is None or seen.state != event.data["old"]:
                followed[key] = _Observed(*key, state=str(event.data["new"]), opened_s=event.at_s)
                if event.data["new"] == "closed":  # without its probe's number no result is known to be of a later call
                    del followed[key]
                continue
            seen.failures = min(seen.failures, FAILURES_MAX)  # some may be of an earlier life
        if seen is None:
            continue
        if event.name == "breaker_result" and seen.state == "closed" and int(event.data["call"]) <= seen.newest:  # type: ignore[arg-type]
            del followed[key]  # from before its last move, or the calls of a new life: then failures are not counted
            continue
        seen.overtaken.clear()
        violation = STEPS[event.name](seen, event)
        if violation is not None:
            return violation
    return None if moves else Unknown("no breaker moved")


BREAKER = Property(
    "breaker",
    Expectation.EVENTUALLY,
    check_breaker,
    "opens after 3 failures in a row; open admits nothing, half-open one probe; recloses after heal",
    in_parts=True,
)
