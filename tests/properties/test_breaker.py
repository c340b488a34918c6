"""The breaker, on histories made by hand."""

from itertools import pairwise

import pytest

from models.config import PlatformConfig
from properties.breaker import BREAKER, CALL_S_MAX, FAILURES_MAX, RESET_S
from simulator.property import Outcome
from tests.properties.made import Made, evidence, holds, outcome, site

WHO = "agents's breaker of clickhouse"
RECLOSES_S = 2 * (RESET_S + CALL_S_MAX["clickhouse"]) + 0.5


def tell(made: Made, name: str, **data: object) -> Made:
    return made.observe("agents", name, breaker="clickhouse", **data)  # type: ignore[arg-type]


def failed(made: Made, *calls: int, error: str = "ClickHouseUnavailableError") -> Made:
    for call in calls:
        tell(made, "breaker_result", call=call, error=error)
    return made


def succeeded(made: Made, call: int) -> Made:
    return tell(made, "breaker_result", call=call, error=None)


def admitted(made: Made, *calls: int) -> Made:
    for call in calls:
        tell(made, "breaker_admitted", call=call, state="half-open")
    return made


def refused(made: Made, state: str = "open") -> Made:
    return tell(made, "breaker_refused", state=state)


def moved(made: Made, *states: str) -> Made:
    for old, new in pairwise(states):
        tell(made, "breaker_moved", old=old, new=new)
    return made


def opened() -> Made:
    """It opens at 0.4 s."""
    return moved(failed(Made(), 1, 2, 3), "closed", "open")


def half_opened(made: Made) -> Made:
    return moved(made.wait(RESET_S), "open", "half-open")


def half_open() -> Made:
    return half_opened(opened())


def probed(made: Made, call: int, *, works: bool) -> Made:
    """A half-open breaker probes, and moves as the result says."""
    admitted(made, call)
    if works:
        return moved(succeeded(made, call), "half-open", "closed")
    return moved(failed(made, call), "half-open", "open")


def quiet(made: Made) -> Made:
    return made.mark("heal", "quiet")


def test_its_times_are_those_of_the_platform() -> None:
    """The promise states them for itself; here they meet."""
    config = PlatformConfig(secret="s" * 16)
    assert (config.breaker_failures_max, config.breaker_reset_s) == (FAILURES_MAX, RESET_S)
    assert CALL_S_MAX["redis"] == config.redis_timeout_s
    assert CALL_S_MAX["clickhouse"] == 2 * config.clickhouse_timeout_s
    assert CALL_S_MAX["llm"] == config.llm_timeout_s


def test_breaker_holds_when_it_opens_probes_once_and_recloses() -> None:
    """The whole life of it; the results of calls from before a move count no more."""
    made = refused(failed(refused(opened()), 4))
    made = refused(admitted(half_opened(made), 6), "half-open")
    moved(failed(made, 6), "half-open", "open")
    probed(half_opened(made), 7, works=True)
    holds(quiet(failed(made, 5, 8, 9)), BREAKER)


def test_breaker_counts_failures_in_a_row_only() -> None:
    """A success between them begins the count anew."""
    holds(quiet(succeeded(failed(succeeded(failed(Made(), 1, 2), 3), 4, 5), 6)), BREAKER)


def test_breaker_is_broken_when_it_stays_closed() -> None:
    """Three failures in a row, and a fourth, or nothing more."""
    said = (f"{WHO} stayed closed after 3 failures in a row", "opens")
    assert evidence(quiet(failed(Made(), 1, 2, 3, 4)), BREAKER) == said
    assert evidence(quiet(failed(Made(), 1, 2, 3)), BREAKER) == said


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_breaker_is_broken_when_it_opens_too_soon(failures: int) -> None:
    """One failure is no outage."""
    made = moved(failed(Made(), *range(1, failures + 1)), "closed", "open")
    assert evidence(quiet(probed(half_opened(made), 9, works=True)), BREAKER) == (
        f"{WHO} moved from closed to open at 0.{failures + 1}00 s after {failures} failure(s) in a row instead of 3",
        "moves",
    )


def test_breaker_is_broken_when_failures_that_do_not_count_open_it() -> None:
    """A call from before it closed knows nothing of now, and a success ends the row."""
    closed = probed(half_open(), 6, works=True)
    assert site(quiet(moved(failed(closed, 5, 7, 8), "closed", "open")), BREAKER) == "moves"
    assert site(quiet(moved(failed(succeeded(failed(Made(), 1, 2), 3), 4), "closed", "open")), BREAKER) == "moves"


def test_breaker_is_broken_when_open_admits() -> None:
    """Open means nobody."""
    assert evidence(quiet(admitted(opened(), 9)), BREAKER) == (
        f"{WHO} admitted call 9 at 0.500 s while it was open",
        "open",
    )


def test_breaker_is_broken_when_it_probes_before_the_reset_time_has_passed() -> None:
    """Its dependency is to be spared for a while; a live log may be a little late."""
    made = probed(moved(opened().wait(RESET_S - 0.3), "open", "half-open"), 4, works=True)
    assert evidence(quiet(made), BREAKER) == (
        f"{WHO} moved from open to half-open at 2.200 s although it had opened at 0.400 s, and admits nobody for 2 s",
        "moves",
    )
    holds(quiet(probed(moved(opened().wait(RESET_S - 0.15), "open", "half-open"), 4, works=True)), BREAKER)


@pytest.mark.parametrize("states", [("open", "closed"), ("half-open", "closed"), ("closed", "open")])
def test_breaker_is_broken_when_an_open_one_does_anything_but_probe(states: tuple[str, ...]) -> None:
    """There is no way from open to closed without a probe, and none from where it is not."""
    assert site(quiet(moved(opened().wait(RESET_S), *states)), BREAKER) == "moves"


def test_breaker_is_broken_when_it_closes_without_the_success_of_its_probe() -> None:
    """A failed probe that closes it lets everybody fall upon what is still down."""
    assert evidence(quiet(moved(failed(admitted(half_open(), 4), 4), "half-open", "closed")), BREAKER) == (
        f"{WHO} moved from half-open to closed at 2.800 s although no probe had succeeded",
        "moves",
    )
    assert site(quiet(moved(admitted(half_open(), 4), "half-open", "closed")), BREAKER) == "moves"
    # The success of a call from before is none of the probe's.
    assert site(quiet(moved(succeeded(admitted(half_open(), 4), 3), "half-open", "closed")), BREAKER) == "moves"


def test_breaker_is_broken_when_it_opens_again_without_the_failure_of_its_probe() -> None:
    """One who was slow to fail says nothing of the probe."""
    assert site(quiet(moved(succeeded(admitted(half_open(), 4), 4), "half-open", "open")), BREAKER) == "moves"
    assert site(quiet(moved(failed(admitted(half_open(), 4), 3), "half-open", "open")), BREAKER) == "moves"


def test_breaker_is_broken_when_the_result_of_its_probe_moves_nothing() -> None:
    """Half-open is a question, and this is the answer."""
    assert evidence(quiet(admitted(failed(admitted(half_open(), 4), 4), 5)), BREAKER) == (
        f"{WHO} stayed half-open although its probe, call 4, had failed",
        "reopens",
    )
    assert site(quiet(succeeded(admitted(half_open(), 4), 4)), BREAKER) == "recloses"


def test_breaker_is_broken_when_half_open_admits_two() -> None:
    """The first was still under way, as its result shows."""
    said, where = evidence(quiet(failed(admitted(half_open(), 8, 9), 8)), BREAKER)
    assert said == f"{WHO} admitted call 9 at 2.700 s while call 8 was still its probe"
    assert where == "half-open"


def test_breaker_may_probe_again_when_a_probe_was_given_up() -> None:
    """A cancelled call has no result."""
    holds(quiet(probed(admitted(half_open(), 8), 9, works=True)), BREAKER)


def test_breaker_is_broken_when_closed_refuses() -> None:
    """Closed means everybody."""
    assert evidence(quiet(refused(Made(), "closed")), BREAKER) == (
        f"{WHO} refused a call at 0.100 s while it was closed",
        "refuses",
    )
    assert site(quiet(refused(probed(half_open(), 4, works=True))), BREAKER) == "refuses"


def test_breaker_is_broken_when_it_refuses_whom_it_should_take_for_its_probe() -> None:
    """Else an outage outlives its cause."""
    assert evidence(quiet(refused(opened().wait(RESET_S + 0.1))), BREAKER) == (
        f"{WHO} refused a call at 2.600 s although it had opened at 0.400 s, and admits a probe after 2 s",
        "refuses",
    )
    holds(quiet(probed(half_opened(refused(opened().wait(RESET_S - 0.1))), 4, works=True)), BREAKER)
    assert site(quiet(refused(half_open(), "half-open")), BREAKER) == "refuses"


@pytest.mark.parametrize("error", ["LLMRefusedError", "ClickHouseRefusedError", "DatabaseBusyError", "DatabaseError"])
def test_breaker_is_broken_when_refusals_count(error: str) -> None:
    """Who refuses is well."""
    assert site(quiet(failed(Made(), 1, error=error)), BREAKER) == "counts"


def test_breaker_is_broken_when_it_never_recloses() -> None:
    """Its dependency has been back since heal."""
    assert evidence(quiet(half_open()), BREAKER) == (
        f"{WHO} is still half-open although clickhouse has been back since 2.600 s",
        "recloses",
    )


def test_breaker_is_broken_when_it_recloses_late() -> None:
    """Two rounds of waiting and probing, and a little more: the first probe may be given up."""
    late = probed(half_open().mark("heal").wait(RECLOSES_S), 4, works=True).mark("quiet")
    assert evidence(late, BREAKER) == (
        f"{WHO} was still half-open at 11.200 s although clickhouse was back at 2.600 s",
        "recloses",
    )
    holds(probed(half_open().mark("heal").wait(RECLOSES_S - 0.3), 4, works=True).mark("quiet"), BREAKER)


def test_breaker_has_its_time_again_when_it_opens_again_after_heal() -> None:
    """A probe that was sent into the storm fails after it; from then on it counts. But it must close in the end."""
    made = failed(admitted(half_open(), 4).mark("heal").wait(1.5), 4)
    half_opened(moved(made, "half-open", "open").wait(RECLOSES_S - RESET_S - 0.4))
    holds(probed(made, 5, works=True).mark("quiet"), BREAKER)
    made = moved(failed(admitted(half_open(), 4).mark("heal"), 4), "half-open", "open")
    assert site(made.mark("quiet"), BREAKER) == "recloses"


def test_a_breaker_may_open_when_all_is_quiet() -> None:
    """A connection that broke in the storm is found broken when it is next used, which may be then."""
    made = moved(failed(failed(Made(), 1, 2).mark("heal", "quiet"), 3), "closed", "open")
    holds(made.wait(RECLOSES_S - 0.2).mark("end"), BREAKER)
    assert evidence(made.wait(0.2).mark("end"), BREAKER) == (
        f"{WHO} was still open at 9.300 s although it opened at 0.600 s",
        "recloses",
    )


def test_before_everything_is_quiet_only_what_has_happened_is_judged() -> None:
    """It may still close; but what was wrong already stays wrong."""
    assert outcome(half_open(), BREAKER) is Outcome.UNKNOWN
    assert outcome(half_open().mark("heal"), BREAKER) is Outcome.UNKNOWN
    assert site(admitted(opened(), 9), BREAKER) == "open"


@pytest.mark.parametrize(("kind", "phase"), [("crash", "begin"), ("vanish", "begin"), ("terminate", "end")])
def test_a_breaker_begins_anew_with_its_process(kind: str, phase: str) -> None:
    """It lives in memory; the new process's breaker is closed, and its calls are numbered anew."""
    holds(quiet(failed(opened().fault(kind, "agents", phase=phase), 1, 2)), BREAKER)
    assert outcome(quiet(opened().fault(kind, "clickhouse", phase=phase)), BREAKER) is Outcome.VIOLATED


def test_a_breaker_goes_on_while_its_process_is_told_to_end() -> None:
    """It finishes its work first."""
    assert site(quiet(admitted(opened().fault("terminate", "agents"), 9)), BREAKER) == "open"
