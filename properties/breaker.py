"""Breaker: a circuit breaker opens after consecutive failures, admits nothing, probes once, and recloses."""

import attrs

from simulator.history import Event, Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["BREAKER"]

FAILURES_MAX = 3


@attrs.define
class _Observed:
    """What is known of one breaker in one life of its host: an independent statement of the rules."""

    state: str = "closed"
    failures: int = 0
    probe: object = None
    current: set[object] = attrs.field(factory=set)  # calls admitted since the last move; only looked up

    def follow(self, event: Event) -> Violation | None:
        if event.name == "breaker_moved":
            self.state, self.failures, self.probe = str(event.data["new"]), 0, None
            self.current.clear()
            return None
        if self.failures >= FAILURES_MAX:
            return Violation(
                f"the breaker stayed closed after {self.failures} failures in a row at {event.at_s:.3f} s", site="opens"
            )
        return self._admitted(event) if event.name == "breaker_admitted" else self._result(event)

    def _admitted(self, event: Event) -> Violation | None:
        call = event.data["call"]
        if self.state == "open":
            return Violation(f"the open breaker admitted call {call} at {event.at_s:.3f} s", site="open")
        if self.state == "half-open":
            if self.probe is not None:
                return Violation(
                    f"the half-open breaker admitted call {call} at {event.at_s:.3f} s while call {self.probe} "
                    "was still its probe",
                    site="half-open",
                )
            self.probe = call
        self.current.add(call)
        return None

    def _result(self, event: Event) -> Violation | None:
        call = event.data["call"]
        if call not in self.current:
            return None  # admitted before the last move: it says nothing of the present state
        if self.probe == call:
            self.probe = None
        self.failures = self.failures + 1 if event.data["outcome"] == "failure" and self.state == "closed" else 0
        return None


def check_breaker(history: Reading) -> Violation | Unknown | None:
    """Follow every breaker through its moves, and look where it ended."""
    if history.marked_at("quiet") is None:
        return Unknown("the run ended before everything was quiet")
    history.observed("breaker_admitted", "breaker_result", "breaker_moved")
    breakers: dict[tuple[str, str], _Observed] = {}
    for event in history.events:
        if event.name in ("crash", "vanish") and event.data.get("phase") == "begin":
            for key in [key for key in breakers if key[0] == event.host]:
                del breakers[key]  # a breaker lives in its host's memory: after a crash it begins anew
        if event.name in ("breaker_admitted", "breaker_result", "breaker_moved"):
            observed = breakers.setdefault((event.host, str(event.data["breaker"])), _Observed())
            violation = observed.follow(event)
            if violation is not None:
                return violation
    for (host, name), observed in breakers.items():
        if observed.state != "closed":
            return Violation(
                f"{host}'s breaker of {name} is still {observed.state} although {name} has been back since "
                f"{history.marked_at('heal'):.3f} s",
                site="recloses",
            )
    return None


BREAKER = Property(
    "breaker",
    Expectation.EVENTUALLY,
    check_breaker,
    "opens after 3 failures in a row; open admits nothing, half-open one probe; recloses after heal",
)
