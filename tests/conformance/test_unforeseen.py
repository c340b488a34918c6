"""What nobody foresaw ends the run of a simulated service, and tells which request did it."""

import traceback
from typing import NoReturn

import pytest
import trio

from simulator.services.clickhouse import SimulatedClickHouse
from simulator.services.postgresql import SimulatedPostgreSQL
from simulator.services.postgresql.dialogue import Dialogue
from simulator.services.redis import SimulatedRedis
from simulator.services.redis.session import Session
from tests.conformance.postgresql_client import query
from tests.conformance.redis_cases import encode_request
from wavetank.ungrouped import leaves

Server = SimulatedClickHouse | SimulatedPostgreSQL | SimulatedRedis


def broken(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a defect")


def told(server: Server, request: bytes) -> str:
    """Return what is told of the defect that a request meets."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(request)
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as failed:
        trio.run(main)
    (defect,) = [each for each in leaves(failed.value) if isinstance(each, AssertionError)]
    return "".join(traceback.format_exception(defect))


def test_clickhouse_tells_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is what a report of the defect needs."""
    monkeypatch.setattr(SimulatedClickHouse, "_respond", broken)
    request = b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: clickhouse\r\n\r\n"
    assert "failed at GET '/?query=SELECT+1' b''." in told(SimulatedClickHouse(port=0, host="127.0.0.1"), request)


def test_redis_tells_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is what a report of the defect needs."""
    monkeypatch.setattr(Session, "execute", broken)
    request = encode_request([b"GET", b"k"])
    assert "The simulated Redis failed at b'GET k'." in told(SimulatedRedis(port=0, host="127.0.0.1"), request)


def test_postgresql_tells_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is what a report of the defect needs."""
    monkeypatch.setattr(Dialogue, "_query", broken)
    hello = b"\0\0\0\x29\0\3\0\0user\0wavetank\0database\0wavetank\0\0"
    request = hello + query("SELECT 1")
    server = SimulatedPostgreSQL(port=0, host="127.0.0.1")
    assert r"failed at the message b'Q' b'SELECT 1\x00'." in told(server, request)
