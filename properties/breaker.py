"""Breaker: a circuit breaker opens after consecutive failures, admits nothing, probes once, and recloses.

A platform tells of every failure, of every call that it admits while not closed, and of the success that ends a row
of failures. Calls are numbered, so that one from before the last move is known by its number.
"""

import attrs

from properties.storm import ends_life
from simulator.history import Event, Kind, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["BREAKER"]

FAILURES_MAX = 3
NO_FAILURES = (
    "ClickHouseRefusedError",
    "ConflictError",
    "DatabaseError",
    "LLMRefusedError",
    "RateLimitedError",
    "ResponseError",
)
"""Errors by which a dependency shows that it is well: the mistake is the caller's."""
EVENTS = ("breaker_moved", "breaker_admitted", "breaker_result", "breaker_refused")


@attrs.define
class _Observed:
    """What is known of one breaker in one life of its host: an independent statement of the rules."""

    state: str = "closed"
    failures: int = 0
    newest: int = 0  # of the calls that were admitted while it was not closed
    probe: int | None = None
    overtaken: dict[int, str] = attrs.field(factory=dict)  # probes beside which another was admitted

    def follow(self, event: Event) -> Violation | None:
        if event.name == "breaker_moved":
            self.state, self.failures, self.probe = str(event.data["new"]), 0, None
            return None
        if self.failures >= FAILURES_MAX:
            return self.stayed_closed(event.at_s)
        if event.name == "breaker_admitted":
            return self._admitted(event)
        return self._result(event) if event.name == "breaker_result" else None

    def stayed_closed(self, at_s: float) -> Violation:
        return Violation(f"the breaker stayed closed after {self.failures} failures in a row at {at_s:.3f} s", "opens")

    def _admitted(self, event: Event) -> Violation | None:
        call = int(event.data["call"])  # type: ignore[arg-type]
        self.newest = max(self.newest, call)
        if self.state == "open":
            return Violation(f"the open breaker admitted call {call} at {event.at_s:.3f} s", "open")
        if self.state == "half-open":
            if self.probe is not None:
                # Not yet a stampede: a probe that was given up says nothing of its end, and the next is the probe.
                self.overtaken[self.probe] = (
                    f"the half-open breaker admitted call {call} at {event.at_s:.3f} s while call {self.probe} "
                    "was still its probe"
                )
            self.probe = call
        return None

    def _result(self, event: Event) -> Violation | None:
        call, error = int(event.data["call"]), event.data["error"]  # type: ignore[arg-type]
        if error in NO_FAILURES:
            return Violation(
                f"the breaker counted a {error} as a failure of its dependency at {event.at_s:.3f} s", "counts"
            )
        if call in self.overtaken:
            return Violation(self.overtaken[call], "half-open")
        if call == self.probe:
            self.probe = None
        if self.state == "closed" and call > self.newest:
            self.failures = self.failures + 1 if error is not None else 0
        return None


def check_breaker(history: Reading) -> Violation | Unknown | None:
    """Follow every breaker through its moves, and look where it is once all is quiet."""
    if history.marked_at("quiet") is None:
        return Unknown("the run ended before everything was quiet")
    history.observed(*EVENTS)
    breakers: dict[tuple[str, str], _Observed] = {}
    for event in history.events:
        if event.kind is Kind.OBSERVE and event.name in EVENTS:
            violation = breakers.setdefault((event.host, str(event.data["breaker"])), _Observed()).follow(event)
            if violation is not None:
                return violation
        elif event.kind is Kind.FAULT and ends_life(event):
            for key in [key for key in breakers if key[0] == event.host]:
                del breakers[key]  # a breaker lives in its host's memory: the next process's begins anew
        elif event.kind is Kind.MARK and event.name == "quiet":
            # Not at the end: connections that broke in the storm may be found broken, and open a breaker, later.
            for (host, name), observed in breakers.items():
                if observed.state != "closed":
                    return _still_open(history, host, name, observed.state)
    for observed in breakers.values():
        if observed.failures >= FAILURES_MAX:
            return observed.stayed_closed(history.events[-1].at_s)
    return None


def _still_open(history: Reading, host: str, name: str, state: str) -> Violation:
    return Violation(
        f"{host}'s breaker of {name} is still {state} although {name} has been back since "
        f"{history.marked_at('heal'):.3f} s",
        "recloses",
    )


BREAKER = Property(
    "breaker",
    Expectation.EVENTUALLY,
    check_breaker,
    "opens after 3 failures in a row; open admits nothing, half-open one probe; recloses after heal",
)
