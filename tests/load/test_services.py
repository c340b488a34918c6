"""Each simulated service is as fast as its model says: what the platform does with it takes longer by that."""

import pytest

from models.system import deployed
from simulator.load.arrivals import plan_of
from simulator.load.measured import LoadResult
from simulator.load.profile import Load
from simulator.load.simulated import simulate_load
from simulator.services.capacity import ServiceModel
from simulator.system import System

LOAD = Load(users=4, per_minute=20, duration=20)


def result_of(system: System) -> LoadResult:
    plan = plan_of(LOAD, system.mix, system.arrival, 1, latency_s=0.001)
    return simulate_load(system, plan, LOAD.duration_s, system.all_properties(), lambda _steps, _at_s: None)


@pytest.fixture(scope="module")
def at_once() -> LoadResult:
    return result_of(deployed)


@pytest.mark.parametrize(
    ("host", "service_s", "measure"),
    [
        ("redis", 0.02, "connect"),
        ("postgres", 0.02, "ws_latency"),
        ("clickhouse", 0.3, "clickhouse_query"),
        ("llm", 1.2, "simple_agent"),
    ],
)
def test_a_slow_service_shows_in_what_needs_it_and_breaks_no_promise(
    host: str, service_s: float, measure: str, at_once: LoadResult
) -> None:
    """So slow that it shows, and within every time limit of the platform."""
    made = result_of(deployed.with_service_models({host: ServiceModel(((1.0, service_s),))}))
    extra_s = made.measured.tallies[measure].percentile(90) - at_once.measured.tallies[measure].percentile(90)
    assert extra_s >= 0.5 * service_s
    assert not made.result.violated
    assert made.measured.tallies["error_rate"].most == 0


def test_who_waits_for_a_limited_service_is_excused(at_once: LoadResult) -> None:
    """As if something had struck it: the history says so, and only then."""
    made = result_of(deployed.with_service_models({"llm": ServiceModel(((1.0, 0.5),), 1)}))
    assert [event.host for event in made.result.history.faults("limited")] == ["llm"]
    assert made.measured.tallies["degraded_rate"].most == 1
    assert not made.result.violated
    assert not at_once.result.history.faults()
