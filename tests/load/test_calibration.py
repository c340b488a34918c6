"""What is measured of a service is what it is: services whose speed is known, on real sockets."""

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from threading import Thread
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
    monkeypatch.setattr(calibration, "ALONE_S_MAX", 1.0)


def measured(
    host: str,
    model: ServiceModel,
    request: ServiceRequest,
    requests: int = 100,
    capacity: Callable[..., Capacity] = Capacity,
) -> Calibrated:
    async def main() -> Calibrated:
        service = SERVICES[host](port=0, host=LOOPBACK, capacity=capacity(model, host))
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


class Pausing(Capacity):
    """Of a machine that stops for a moment, the first time that two requests are worked on at once."""

    at_work = 0
    has_paused = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        async with super().turn() as service_s:
            self.at_work += 1
            if self.at_work > 1 and not self.has_paused:
                self.has_paused = True
                time.sleep(0.5)  # noqa: ASYNC251 - the whole machine stops
            yield service_s
            self.at_work -= 1


def test_a_pause_is_not_taken_for_all_that_the_service_can_do() -> None:
    """It takes answers away, as saturation does; but not each time."""
    model = ServiceModel(((0.5, 0.05), (1.0, 0.051)), 3)
    found = measured("llm", model, system.service_requests["llm"], capacity=Pausing)
    assert 2 <= found.at_once <= 4


def test_of_a_service_that_works_on_all_only_a_lower_bound_is_known() -> None:
    found = measured("llm", ServiceModel(((1.0, 0.1),)), system.service_requests["llm"])
    assert found.why is Enough.FEW
    assert found.model.at_once is None
    assert found.at_once > 8


def test_where_each_request_is_dear_no_more_are_made() -> None:
    found = measured("llm", ServiceModel(((1.0, 0.01),), 1), system.service_requests["llm"], requests=3)
    assert (found.requests, found.why) == (3, Enough.FEW)


def test_what_takes_no_time_is_told_to_be_too_fast() -> None:
    """With service times of nothing no queue would ever form."""
    assert Calibrated(1, 0.001, (0.0, 0.0005, 0.002), 1, Enough.ASKER).is_too_fast
    assert not Calibrated(1, 0.001, (0.0, 0.0015, 0.002), 1, Enough.ASKER).is_too_fast


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


def answering(replies: list[bytes]) -> int:
    """Serve one connection after another with these bytes, whatever is asked. Returns the port."""
    listener = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        with listener:
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(1000):
                        connection.sendall(reply)

    Thread(target=serve, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "llm hung up before its answer was whole"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "llm answered 'HTTP/1.1 503 No"),
        (b"", "llm hung up before its answer was whole"),
    ],
)
def test_half_an_answer_is_none(reply: bytes, said: str) -> None:
    port = answering([b""] * calibration.CONNECTS + [reply])
    with pytest.raises(EnvironmentFailedError, match=said):
        calibrate("llm", (LOOPBACK, port), system.service_requests["llm"], 1)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(EnvironmentFailedError, match="redis does not answer"):
        calibrate("redis", (LOOPBACK, 1), system.service_requests["redis"], 5)
