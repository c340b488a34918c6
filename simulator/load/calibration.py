"""Calibration: how long a real service takes for a request, and on how many it works at once.

One connection asks for a while, one request after another: that is the service time, less the way there and back,
which is what it takes to connect. Then twice as many connections ask at once, and again, until more of them get no
more answers. By then as many requests are worked on as arrive in a service time (Little's law). That more get no more
is believed when it was so several times: a pause of either machine takes answers away, and nothing adds any.

Blocking sockets, and a thread for each: nothing else lets so little time pass between an answer and its being noticed.
"""

import enum
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import fmean, median
from threading import Barrier
from typing import Self

import attrs

from simulator.errors import EnvironmentFailedError
from simulator.live.framing import framing_of
from simulator.load.service_request import Said, ServiceRequest
from simulator.services.capacity import ServiceModel

__all__ = ["AT_ONCE_MAX", "TRIES", "Calibrated", "Enough", "calibrate"]

AT_ONCE_MAX = 64
ALONE_S_MAX = 10.0
LEVEL_S = 1.0
"""How long so many ask at once, if each can ask often enough in that."""
EACH_MIN = 5
"""How often each must ask, or how they begin and end would count for too much."""
CONNECTS = 10
ANSWER_WITHIN_S = 30.0
GROWS = 1.25
"""Twice as many connections that get less than this times the answers get no more than they did."""
TRIES = 3
"""How often so many are asked before it is believed that they get no more."""
BUSY = 0.7
"""Of one core: what takes that much for asking may itself be what is slow."""
PARTS = (0.1, 0.5, 0.9, 0.99)
RECEIVE_BYTES = 65_536
SHOWN_BYTES = 60
DIGITS = 6
TOO_LATE_S = 1e-6


class Enough(enum.StrEnum):
    """Why no more were asked at once."""

    SATURATED = "more connections get no more answers"
    ASKER = "more cannot be told, as the asking itself takes most of a core"
    REFUSED = "more connections were refused"
    FEW = "more cannot be told with so few requests"
    LIMIT = "more were not tried"


@attrs.frozen
class Calibrated:
    """What was measured of one service. `at_once` is exact if the service was saturated, and else a lower bound."""

    requests: int
    way_s: float
    service_s: Sequence[float]
    at_once: int
    why: Enough

    @property
    def is_too_fast(self) -> bool:
        """Whether most of the time is that of the way: the service takes too little of it to be told."""
        return median(self.service_s) < self.way_s

    @property
    def model(self) -> ServiceModel:
        """The model by which the service can be simulated."""
        ordered = sorted(self.service_s)
        points = [(part, round(ordered[int(part * len(ordered))], DIGITS)) for part in PARTS]
        at_once = self.at_once if self.why is Enough.SATURATED else None
        return ServiceModel((*points, (1.0, round(ordered[-1], DIGITS))), at_once)


def calibrate(host: str, address: tuple[str, int], request: ServiceRequest, requests: int) -> Calibrated:
    """Measure a service, with so many requests in each try at most. Raises EnvironmentFailedError."""
    asker = _Asker(host, address, request)
    way_s = min(asker.time_to_connect() for _ in range(CONNECTS))
    alone_s = asker.alone(requests)
    service_s = [max(0.0, each - way_s) for each in alone_s]
    per_s, at_once, why = 1 / fmean(alone_s), 1, Enough.LIMIT
    while why is Enough.LIMIT and at_once < AT_ONCE_MAX:
        at_once *= 2
        each = min(requests // at_once, max(EACH_MIN, int(LEVEL_S / fmean(alone_s))))
        if each < EACH_MIN:
            why = Enough.FEW
            break
        try:
            got_per_s, busy = asker.at_best(at_once, each, GROWS * per_s)
        except EnvironmentFailedError:  # alone it was answered
            why = Enough.REFUSED
            break
        if busy > BUSY:
            why = Enough.ASKER
        elif got_per_s < GROWS * per_s:
            why = Enough.SATURATED
        per_s = max(per_s, got_per_s)
    return Calibrated(asker.asked, way_s, service_s, max(1, round(per_s * fmean(service_s))), why)


class _Asker:
    """Asks one service, on as many connections as are wanted, and counts what it asked."""

    def __init__(self, host: str, address: tuple[str, int], request: ServiceRequest) -> None:
        self.asked = 0
        self._host = host
        self._address = address
        self._request = request

    def time_to_connect(self) -> float:
        """Connect, and return the seconds that it took."""
        begun_s = time.perf_counter()
        with _Line.to(self._host, self._address, self._request.protocol):
            return time.perf_counter() - begun_s

    def alone(self, requests: int) -> list[float]:
        """Ask so many times, or as often as there is time for, and return how many seconds each answer took."""
        taken_s: list[float] = []
        with self._line() as line:
            ends_s = time.perf_counter() + ALONE_S_MAX
            while not taken_s or (len(taken_s) < requests and time.perf_counter() < ends_s):
                begun_s = time.perf_counter()
                line.exchange(self._request.request)
                taken_s.append(time.perf_counter() - begun_s)
        self.asked += len(taken_s)
        return taken_s[1:] or taken_s  # the first finds nothing warm

    def at_best(self, at_once: int, each: int, wanted_per_s: float) -> tuple[float, float]:
        """Ask on so many connections until they get the answers per second that are wanted, or did not in any try.

        Returns what they got at best, and how busy we were of a core.
        """
        best = self.together(at_once, each)
        for _ in range(TRIES - 1):
            if best[0] < wanted_per_s:
                best = max(best, self.together(at_once, each))
        return best

    def together(self, at_once: int, each: int) -> tuple[float, float]:
        """Ask on so many connections, so often on each; return answers per second, and how busy we were of a core."""
        begun: list[tuple[float, float]] = []
        ready = Barrier(at_once, lambda: begun.append((time.perf_counter(), time.process_time())))

        def ask(line: "_Line") -> None:
            ready.wait(ANSWER_WITHIN_S)
            for _ in range(each):
                line.exchange(self._request.request)

        with ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
            lines = [stack.enter_context(self._line()) for _ in range(at_once)]
            for done in [pool.submit(ask, line) for line in lines]:
                done.result()
            lasted_s, busy_s = time.perf_counter() - begun[0][0], time.process_time() - begun[0][1]
        self.asked += at_once * each
        return at_once * each / lasted_s, busy_s / lasted_s

    def _line(self) -> "_Line":
        line = _Line.to(self._host, self._address, self._request.protocol)
        if self._request.opening is not None:
            line.exchange(self._request.opening)
        return line


class _Line:
    """One connection to a service. Use as a context manager."""

    def __init__(self, host: str, connection: socket.socket, protocol: str) -> None:
        self._host = host
        self._connection = connection
        self._framing = framing_of(protocol)()

    @classmethod
    def to(cls, host: str, address: tuple[str, int], protocol: str) -> Self:
        """Connect. Raises EnvironmentFailedError."""
        try:
            connection = socket.create_connection(address, timeout=ANSWER_WITHIN_S)
        except OSError as error:
            raise EnvironmentFailedError(f"{host} does not answer: {error}.") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(host, connection, protocol)

    def exchange(self, said: Said) -> None:
        """Say something, and wait for the whole of the answer. Raises EnvironmentFailedError for none, or another."""
        self._framing.to_upstream.feed(said.sent)
        answer, is_whole, ends_s = b"", False, time.monotonic() + ANSWER_WITHIN_S
        try:
            self._connection.sendall(said.sent)
            while not is_whole:
                self._connection.settimeout(max(0.0, ends_s - time.monotonic()) or TOO_LATE_S)
                data = self._connection.recv(RECEIVE_BYTES)
                answer += data[: SHOWN_BYTES - len(answer)]
                if not data:
                    raise EnvironmentFailedError(f"{self._host} hung up before its answer was whole.")
                is_whole = bool(self._framing.to_client.feed(data))
        except OSError as error:  # time that ran out, too
            raise EnvironmentFailedError(f"{self._host} did not answer: {error}.") from error
        if not answer.startswith(said.answer):
            raise EnvironmentFailedError(
                f"{self._host} answered {answer.decode(errors='replace')!r}, not {said.answer.decode()!r} and so on."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
