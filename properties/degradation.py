"""Degradation: with one dependency away, what does not need it goes on, and the rest is refused clearly and soon.

`TABLE` states it, and `docs/platform.md` shows it; a test holds the two together. What was done (`properties/deed.py`)
is judged when one dependency that may matter to it was away from the process that did it, and everything else was well
from some time before: the process, the way to the user, and the other dependencies that may matter. Only when the
dependency was away all the time must be as the table says; if it went or came back, or was in some trouble, it may also
be as ever. A dependency that is slow to reach, or whose connections were reset, is not away, and what it may matter to
is not judged. Nor is anything in a world whose messages take so long that the platform's own time limits may be
exceeded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

import attrs

from properties.deed import Deed, deeds, works
from properties.observed import are_told, leave_unjudged
from properties.places import AGENTS
from properties.service import LATENCY_S_MAX, latency_s_of
from properties.storm import Disturbance, Storm
from simulator.history import Reading
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["AS_EVER", "DEGRADATION", "DEPENDENCIES", "TABLE", "Promise"]

DEPENDENCIES = ("clickhouse", "llm", "redis", "postgres")


@attrs.frozen
class Promise:
    """What something may come to, how soon, and why no sooner. No outcomes: nothing is promised."""

    outcomes: tuple[str, ...]
    within_s: float = inf
    why: str = ""


AS_EVER: Mapping[str, Promise] = {
    "connect": Promise(("welcome",), 3.0, "a device waits no longer"),
    "refresh": Promise(("token",)),
    "log_out": Promise(("logged_out",), 3.0, "a device waits no longer"),
    "stay": Promise(("connected",)),
    "catch_up": Promise(("reply",), 3.0, "a few readings"),
    "ask": Promise(("ack",), 3.0, "a device waits no longer"),
    "answer": Promise(("reply",), 4.0, "an agent is done in two seconds, and work is looked for every two"),
    "think": Promise(("completed",), 2.0, "the LLM takes half a second"),
    "data": Promise(("completed",), 2.0, "a few queries"),
    "action": Promise(("completed",), 1.0, "nobody is asked"),
}
TABLE: Mapping[tuple[str, str], Promise] = {
    ("clickhouse", "data"): Promise(("failed",), 5.0, "it is tried three times for a second"),
    ("llm", "think"): Promise(("degraded", "completed"), 6.0, "it is tried three times for a second and a half"),
    ("llm", "answer"): Promise(("reply",), 9.0, "an agent is given 6 s"),
    ("redis", "connect"): Promise(("unavailable",), 3.0, "a session is asked for, a second"),
    ("redis", "refresh"): Promise(("unavailable",)),
    ("redis", "log_out"): Promise(("unavailable",), 3.0, "a session is asked for, a second"),
    ("redis", "stay"): Promise(("connected", "expired")),
    ("redis", "catch_up"): Promise(()),
    ("redis", "ask"): Promise(("ack",), 4.0, "a refresh may be waited for, two seconds"),
    ("redis", "answer"): Promise(("reply",), 12.0, "2 s to look for work, 1 s each to load and keep it, 6 s for news"),
    ("redis", "think"): Promise(("completed",), 4.5, "a second each to load and keep an answer"),
    ("postgres", "catch_up"): Promise(("reply",), 6.0, "1 s for each who waits at the same gateway"),
    ("postgres", "ask"): Promise(("try_later", "unavailable"), 6.0, "1 s for each who waits at the same gateway"),
    ("postgres", "answer"): Promise(()),
}
"""By who is away and what is done; what is not listed is as ever."""
NEEDED = {
    "agent": (AGENTS,),
    **{f"{what} without {away}": (AGENTS,) for what in ("think", "data", "action") for away in DEPENDENCIES},
}
ABSENT = ("crash", "vanish", "freeze", "partition", "hold", "silence")
"""With these nobody is served. With any other kind of fault, but the mild, some may be."""
MILD = ("slow", "reset")
NODE_TIMEOUT_S = 6.0
NODE_SLACK_S = 0.5


def check_degradation(history: Reading) -> Violation | Unknown | None:
    """Judge every deed while a dependency was away, and every agent's perseverance."""
    storm = Storm.of(history)
    violation = next(_tireless(history, storm), None)
    if violation is not None:
        return violation
    if not are_told(history, "ack", "reply"):
        return Unknown("nobody tells of acknowledgements or of replies")
    leave_unjudged(history, NEEDED)
    if latency_s_of(history) > LATENCY_S_MAX:
        return Unknown("with so long a way nothing is promised")
    if not any(each.touches(*DEPENDENCIES) for each in storm.disturbances):
        return Unknown("no dependency was away")
    judged = 0
    for deed in deeds(history, storm):
        for away in DEPENDENCIES:
            promise, how = _promise(storm, deed, away) or (None, "")
            if promise is None or _until_s(deed, promise) > history.events[-1].at_s:
                continue
            judged += 1
            history.examined[f"{deed.what} {how} {away}"] += 1
            violation = _judged(deed, away, promise)
            if violation is not None:
                return violation
    return None if judged else Unknown("nothing was done while a dependency was away")


def _promise(storm: Storm, deed: Deed, away: str) -> tuple[Promise, str] | None:
    """Return what is promised of a deed because of one dependency, and how away that is; None if that is not all."""
    as_ever = AS_EVER[deed.what]
    without = TABLE.get((away, deed.what), as_ever)
    either = Promise(
        tuple(dict.fromkeys((*without.outcomes, *as_ever.outcomes))),
        max(as_ever.within_s, without.within_s),
        without.why,
    )
    until_s = _until_s(deed, either)
    absences = storm.during(deed.from_s, until_s, lambda each: _concerns(each, away, deed.processes))
    if not without.outcomes or until_s >= deed.well_until_s or all(each.kind in MILD for each in absences):
        return None
    is_gone = any(
        each.kind in ABSENT
        and each.began_s <= deed.from_s
        and each.ended_s >= until_s
        and all(_concerns(each, away, (process,)) for process in deed.processes)
        for each in absences
    )
    rivals = () if is_gone and away == "postgres" else deed.rivals
    involved = (*deed.processes, *deed.hosts, *rivals)
    if storm.felt(deed.from_s, until_s, lambda each: _is_beside(each, deed.what, away, involved)):
        return None
    return (without, "without") if is_gone else (either, "with a failing")


def _until_s(deed: Deed, promise: Promise) -> float:
    """Return when it is over, one way or the other."""
    return min(deed.decided_s, deed.from_s + promise.within_s * deed.turns)


def _concerns(each: Disturbance, dependency: str, processes: Iterable[str]) -> bool:
    """Whether it strikes a dependency, for one of these processes."""
    return each.touches(dependency) and (len(each.places) == 1 or each.touches(*processes))


def _is_beside(each: Disturbance, what: str, away: str, involved: Sequence[str]) -> bool:
    """Whether it may matter to what these hosts do, and is no absence of that dependency."""
    if each.is_among(*involved):
        return True
    mattering = (dependency for dependency in DEPENDENCIES if (dependency, what) in TABLE)
    return any(
        _concerns(each, dependency, involved) and (dependency != away or each.kind in MILD) for dependency in mattering
    )


def _judged(deed: Deed, away: str, promise: Promise) -> Violation | None:
    limit_s, allowed = promise.within_s * deed.turns, " or ".join(promise.outcomes)
    site = f"{deed.what} without {away}"
    if deed.decided_s > deed.from_s + limit_s:
        why = f" ({promise.why})" if promise.why else ""
        return Violation(f"with {away} away {deed.who} did not come to {allowed} within {limit_s:g} s{why}", site)
    if deed.outcome not in promise.outcomes:
        return Violation(f"with {away} away {deed.who} came to {deed.outcome} instead of {allowed}", site)
    return None


def _tireless(history: Reading, storm: Storm) -> Iterator[Violation]:
    """An agent works on its task until it has a result or its time is up."""
    for deed in works(history):
        frozen_s = storm.time_s(
            deed.from_s, deed.decided_s, lambda each: each.kind == "freeze" and each.touches(AGENTS)
        )
        if deed.outcome and deed.decided_s - deed.from_s - frozen_s > NODE_TIMEOUT_S + NODE_SLACK_S:
            yield Violation(
                f"{deed.who} was worked on from {deed.from_s:.3f} to {deed.decided_s:.3f} s "
                f"instead of given up after {NODE_TIMEOUT_S:g} s",
                "agent",
            )


DEGRADATION = Property(
    "degradation",
    Expectation.ALWAYS,
    check_degradation,
    "with one dependency away, what does not need it goes on, and the rest is refused clearly and soon",
)
