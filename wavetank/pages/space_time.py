"""A trace as a space-time diagram: one column per host, time downwards, and a line along each message's way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log10

import attrs

from simulator.history import Value
from simulator.trace import Trace

__all__ = ["Diagram", "diagram_of"]

COLUMN_PX = 132
LEFT_PX, TOP_PX = 92, 46
STEP_PX = 5.0
"""Between two moments at least; more where more time passes: a decade is worth as much as the next."""
DECADE_PX = 14.0
SHORTEST_S = 1e-3
TICKS_APART_PX = 16
ORDER = ("user", "gateway", "agents", "redis", "postgres", "clickhouse", "llm")
KINDS = {"breaker_moved": "breaker", "uncaught": "bad", "still_pending": "bad"}


@attrs.frozen
class Dot:
    """One event: where it is, when, and what is told of it."""

    x: float
    y: float
    at_s: float
    kind: str
    host: str
    told: str


@attrs.frozen
class Span:
    """What lasts: an operation, or a fault at a host (or between two, `x` to `x2`)."""

    x: float
    x2: float
    y: float
    y2: float
    kind: str
    told: str


@attrs.frozen
class Way:
    """Where a message was seen, one place after another."""

    message: str
    points: str


@attrs.frozen
class Diagram:
    """All of it, in pixels. Time runs from `top` to the `last` moment."""

    width: float
    height: float
    top: float
    last: float
    hosts: tuple[tuple[str, float], ...]
    ticks: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]
    spans: tuple[Span, ...]
    ways: tuple[Way, ...]


def diagram_of(trace: Trace) -> Diagram:
    """Lay a trace out."""
    events = [each for each in trace.events if each["kind"] != "mark"]
    columns = _columns(trace.events)
    heights = _heights(trace.events)
    last = max(heights.values(), default=float(TOP_PX))
    bottom = last + 2 * STEP_PX
    dots = tuple(
        Dot(columns[str(each["host"])], heights[_at(each)], _at(each), _kind(each), str(each["host"]), _told(each))
        for each in events
        if str(each["host"]) in columns
    )
    return Diagram(
        width=LEFT_PX + COLUMN_PX * len(columns),
        height=bottom + STEP_PX,
        top=TOP_PX,
        last=last,
        hosts=tuple(columns.items()),
        ticks=tuple(_ticks(heights)),
        dots=dots,
        spans=(*_faults(events, columns, heights, bottom), *_operations(events, columns, heights, bottom)),
        ways=tuple(_ways(events, columns, heights)),
    )


def _columns(events: Iterable[Mapping[str, Value]]) -> dict[str, float]:
    """Return where each host's column is: users, then whoever serves them, then what these need."""
    hosts = dict.fromkeys(str(each["host"]) for each in events if each["host"])
    struck = (str(place) for each in events if each["kind"] == "fault" for place in _places(each))
    hosts |= dict.fromkeys(struck)

    def rank(host: str) -> tuple[int, str]:
        found = (place for place, prefix in enumerate(ORDER) if host.startswith(prefix))
        return next(found, len(ORDER)), host

    return {host: LEFT_PX + COLUMN_PX * (place + 0.5) for place, host in enumerate(sorted(hosts, key=rank))}


def _heights(events: Iterable[Mapping[str, Value]]) -> dict[float, float]:
    """Return how far down each moment is. Time is stretched where much happens, and pressed together where little."""
    heights: dict[float, float] = {}
    y, before_s = float(TOP_PX), 0.0
    for at_s in sorted({_at(each) for each in events}):
        y += STEP_PX + DECADE_PX * max(0.0, log10(max(at_s - before_s, SHORTEST_S) / SHORTEST_S))
        heights[at_s] = y
        before_s = at_s
    return heights


def _ticks(heights: Mapping[float, float]) -> Iterator[tuple[float, str]]:
    """Yield where a time is written: not so often that they touch."""
    last_px = -float(TICKS_APART_PX)
    for at_s, y in heights.items():
        if y - last_px >= TICKS_APART_PX:
            yield y, f"{at_s:.3f} s"
            last_px = y


def _faults(
    events: Sequence[Mapping[str, Value]], columns: Mapping[str, float], heights: Mapping[float, float], last: float
) -> Iterator[Span]:
    """Yield each fault from its beginning to its end, where it has one."""
    for number, each in enumerate(events):
        data = _data(each)
        if each["kind"] != "fault" or data.get("phase") != "begin" or each["name"] == "limited":
            continue
        later = (
            other
            for other in events[number + 1 :]
            if other["kind"] == "fault" and other["name"] == each["name"] and _data(other).get("at") == data["at"]
        )
        ended = next((other for other in later if _data(other).get("phase") == "end"), None)
        begins = heights[_at(each)]
        ends = begins + STEP_PX if not data.get("for_s") else last if ended is None else heights[_at(ended)]
        places = [columns[str(place)] for place in _places(each)]
        told = f"{each['name']} at {' > '.join(map(str, _places(each)))}"
        for x in places:
            yield Span(x, x, begins, ends, "fault", told)
        if len(places) > 1:  # a link: what is between the two is not struck
            yield Span(min(places), max(places), begins, begins, "fault", told)


def _operations(
    events: Sequence[Mapping[str, Value]], columns: Mapping[str, float], heights: Mapping[float, float], last: float
) -> Iterator[Span]:
    """Yield each operation from its invocation to its completion."""
    completed = {each.get("operation"): each for each in events if each["kind"] in ("ok", "fail", "info")}
    for each in events:
        if each["kind"] == "invoke":
            end = completed.get(each.get("operation"))
            how = str(end["kind"]) if end is not None else "open"
            x = columns[str(each["host"])]
            y2 = heights[_at(end)] if end is not None else last
            yield Span(x, x, heights[_at(each)], y2, f"operation {how}", f"{each['name']} ({how})")


def _ways(
    events: Sequence[Mapping[str, Value]], columns: Mapping[str, float], heights: Mapping[float, float]
) -> Iterator[Way]:
    """Yield the way of each message through the hosts: where something with its name was seen, or answered it."""
    ways: dict[str, list[str]] = {}
    for each in events:
        message = _data(each).get("message") or _data(each).get("to")
        if isinstance(message, str) and str(each["host"]) in columns and each["host"] != "observer":
            ways.setdefault(message, []).append(f"{columns[str(each['host'])]:.0f},{heights[_at(each)]:.1f}")
    for message, points in ways.items():
        yield Way(message, " ".join(points))


def _kind(event: Mapping[str, Value]) -> str:
    return KINDS.get(str(event["name"]), str(event["kind"]))


def _told(event: Mapping[str, Value]) -> str:
    data = ", ".join(f"{name}={value!r}" for name, value in _data(event).items())
    return f"{event['kind']} {event['name']} {data}"[:240]


def _places(event: Mapping[str, Value]) -> list[Value]:
    at = _data(event).get("at")
    return at if isinstance(at, list) else []


def _data(event: Mapping[str, Value]) -> Mapping[str, Value]:
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def _at(event: Mapping[str, Value]) -> float:
    at_s = event["at_s"]
    assert isinstance(at_s, int | float)
    return float(at_s)
