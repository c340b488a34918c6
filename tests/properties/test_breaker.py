"""The breaker, on histories made by hand."""

import pytest

from properties.breaker import BREAKER
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site


def tell(made: Made, name: str, **data: object) -> Made:
    return made.observe("agents", name, breaker="clickhouse", **data)  # type: ignore[arg-type]


def failed(made: Made, *calls: int, error: str = "ClickHouseUnavailableError") -> Made:
    for call in calls:
        tell(made, "breaker_result", call=call, error=error)
    return made


def succeeded(made: Made, call: int) -> Made:
    return tell(made, "breaker_result", call=call, error=None)


def admitted(made: Made, call: int) -> Made:
    return tell(made, "breaker_admitted", call=call, state="half-open")


def moved(made: Made, old: str, new: str) -> Made:
    return tell(made, "breaker_moved", old=old, new=new)


def opened() -> Made:
    return moved(failed(Made(), 1, 2, 3), "closed", "open")


def half_open() -> Made:
    return moved(opened(), "open", "half-open")


def quiet(made: Made) -> Made:
    return made.mark("heal", "quiet")


def test_breaker_holds_when_it_opens_probes_once_and_recloses() -> None:
    """The whole life of it; the results of calls from before a move count no more."""
    made = admitted(moved(failed(opened(), 4), "open", "half-open"), 6)
    moved(succeeded(made, 6), "half-open", "closed")
    holds(quiet(failed(made, 5, 7, 8)), BREAKER)


def test_breaker_counts_failures_in_a_row_only() -> None:
    """A success between them begins the count anew."""
    holds(quiet(succeeded(failed(succeeded(failed(Made(), 1, 2), 3), 4, 5), 6)), BREAKER)


def test_breaker_is_broken_when_it_stays_closed() -> None:
    """Three failures in a row, and a fourth, or nothing more."""
    said, where = evidence(quiet(failed(Made(), 1, 2, 3, 4)), BREAKER)
    assert said == "the breaker stayed closed after 3 failures in a row at 0.400 s"
    assert where == "opens"
    assert site(quiet(failed(Made(), 1, 2, 3)), BREAKER) == "opens"


def test_breaker_is_broken_when_open_admits() -> None:
    """Open means nobody."""
    assert evidence(quiet(admitted(opened(), 9)), BREAKER) == ("the open breaker admitted call 9 at 0.500 s", "open")


def test_breaker_is_broken_when_half_open_admits_two() -> None:
    """The first was still under way, as its result shows."""
    made = failed(admitted(admitted(half_open(), 8), 9), 8)
    said, where = evidence(quiet(made), BREAKER)
    assert said == "the half-open breaker admitted call 9 at 0.700 s while call 8 was still its probe"
    assert where == "half-open"


def test_breaker_may_probe_again_when_a_probe_was_given_up() -> None:
    """A cancelled call has no result."""
    made = succeeded(admitted(admitted(half_open(), 8), 9), 9)
    holds(quiet(moved(made, "half-open", "closed")), BREAKER)


@pytest.mark.parametrize("error", ["LLMRefusedError", "ClickHouseRefusedError", "ResponseError", "DatabaseError"])
def test_breaker_is_broken_when_refusals_count(error: str) -> None:
    """Who refuses is well."""
    assert site(quiet(failed(Made(), 1, error=error)), BREAKER) == "counts"


def test_breaker_is_broken_when_it_never_recloses() -> None:
    """Its dependency has been back since heal."""
    assert evidence(quiet(half_open()), BREAKER) == (
        "agents's breaker of clickhouse is still half-open although clickhouse has been back since 0.600 s",
        "recloses",
    )


def test_a_breaker_may_open_when_all_is_quiet() -> None:
    """A connection that broke in the storm is found broken when it is next used, which may be then."""
    made = failed(failed(Made(), 1, 2).mark("heal", "quiet"), 3)
    holds(moved(made, "closed", "open"), BREAKER)


@pytest.mark.parametrize(("kind", "phase"), [("crash", "begin"), ("vanish", "begin"), ("terminate", "end")])
def test_a_breaker_begins_anew_with_its_process(kind: str, phase: str) -> None:
    """It lives in memory; the new process's breaker is closed, and its calls are numbered anew."""
    holds(quiet(failed(opened().fault(kind, "agents", phase=phase), 1, 2)), BREAKER)
    assert outcome(quiet(opened().fault(kind, "clickhouse", phase=phase)), BREAKER) is Outcome.VIOLATED


def test_a_breaker_goes_on_while_its_process_is_told_to_end() -> None:
    """It finishes its work first."""
    assert site(quiet(admitted(opened().fault("terminate", "agents"), 9)), BREAKER) == "open"
