"""What is measured of a service is what it is: services whose speed is known, on real sockets."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from models.system import system
from simulator.errors import EnvironmentFailedError
from simulator.load import calibration
from simulator.load.calibration import Calibrated, Enough, calibrate
from simulator.load.service_request import Said, ServiceRequest
from simulator.services.capacity import Capacity, ServiceModel
from simulator.services.clickhouse import SimulatedClickHouse
from simulator.services.llm import SimulatedLLM
from simulator.services.postgresql import SimulatedPostgreSQL
from simulator.services.redis import SimulatedRedis

LOOPBACK = "127.0.0.1"
SERVICES: dict[str, Callable[..., Any]] = {
    "redis": SimulatedRedis,
    "postgres": SimulatedPostgreSQL,
    "clickhouse": SimulatedClickHouse,
    "llm": SimulatedLLM,
}


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LEVEL_S", 0.3)


def measured(host: str, model: ServiceModel, request: ServiceRequest, requests: int = 15) -> Calibrated:
    async def main() -> Calibrated:
        service = SERVICES[host](port=0, host=LOOPBACK, capacity=Capacity(model, host))
        async with trio.open_nursery() as nursery:
            await nursery.start(service.main)
            asked = partial(calibrate, host, (LOOPBACK, service.port), request, requests)
            found = await trio.to_thread.run_sync(asked)
            nursery.cancel_scope.cancel()
        return found

    return trio.run(main)


@pytest.mark.parametrize("host", SERVICES)
def test_a_service_is_measured_as_what_it_is(host: str) -> None:
    """At the median at least: what a loaded machine adds to single answers is not the service's."""
    found = measured(host, ServiceModel(((0.5, 0.05), (1.0, 0.051)), 3), system.service_requests[host])
    points = dict(found.model.service_s)
    assert found.why is Enough.SATURATED
    assert found.model.at_once == found.at_once
    assert 2 <= found.at_once <= 4
    assert 0.045 <= points[0.5] <= 0.08
    assert points[0.1] <= points[0.5] <= points[0.9] <= points[0.99] <= points[1.0]
    found.model.check("what was measured")


def test_of_a_service_that_works_on_all_only_a_lower_bound_is_known() -> None:
    found = measured("llm", ServiceModel(((1.0, 0.1),)), system.service_requests["llm"])
    assert found.why is not Enough.SATURATED
    assert found.model.at_once is None
    assert found.at_once > 8


def test_fewer_requests_are_asked_where_each_is_dear() -> None:
    found = measured("llm", ServiceModel(((1.0, 0.01),), 1), system.service_requests["llm"], requests=3)
    assert found.requests <= 4 + sum(max(3, at_once) + at_once for at_once in (2, 4, 8))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (ServiceRequest("resp", Said(b"*1\r\n$4\r\nNOPE\r\n", b"$")), "redis answered .*does not model 'NOPE'"),
        (ServiceRequest("resp", Said(b"QUIT\r\n", b"$")), "redis answered"),
    ],
)
def test_an_answer_that_is_another_is_an_error(request_: ServiceRequest, said: str) -> None:
    """How fast a service refuses says nothing about how fast it works."""
    with pytest.raises(BaseExceptionGroup) as error:
        measured("redis", ServiceModel(((1.0, 0.0),)), request_)
    assert error.group_contains(EnvironmentFailedError, match=said)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(EnvironmentFailedError, match="redis does not answer"):
        calibrate("redis", (LOOPBACK, 1), system.service_requests["redis"], 5)
