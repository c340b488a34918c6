"""Latency over time as a chart and a table: percentiles of each part of a load, on a logarithmic scale."""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, inf, log10
from typing import Any

import attrs

from simulator.load.quantity import Quantity

__all__ = ["Chart", "charts_of"]

WIDTH_PX, HEIGHT_PX = 720, 180
LEFT_PX, BOTTOM_PX, TOP_PX = 64, 22, 8


@attrs.frozen
class Line:
    """One percentile over time."""

    name: str
    points: str


@attrs.frozen
class Chart:
    """One measure: lines in pixels, and what the axes say; no lines, where none came to an end, or all took no time.

    Of lines that lie on each other the last one is seen between the dashes of the others: the highest comes first. The
    `rows` say the same: when, how many samples, and the percentiles by `names`.
    """

    measure: str
    width: int
    height: int
    left: int
    lines: tuple[Line, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def charts_of(windows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Chart]:
    """Return a chart per measure of time that has anything to show: `at_s`, and percentiles by their names."""
    return [_chart(measure, parts) for measure, parts in windows.items() if len(parts) > 1]


def _chart(measure: str, parts: Sequence[Mapping[str, Any]]) -> Chart:
    names = tuple(name for name in parts[0] if name.startswith("p"))
    values = [part[name] for part in parts for name in names if part[name]]
    low, high = floor(log10(min(values, default=1.0))), floor(log10(max(values, default=1.0))) + 1
    ends_s = parts[-1]["at_s"] or 1.0

    def x(at_s: float) -> float:
        return LEFT_PX + (WIDTH_PX - LEFT_PX - 8) * at_s / ends_s

    def y(value: float) -> float:
        return TOP_PX + (HEIGHT_PX - TOP_PX - BOTTOM_PX) * (1 - (log10(value) - low) / (high - low))

    return Chart(
        measure,
        WIDTH_PX,
        HEIGHT_PX,
        LEFT_PX,
        tuple(
            Line(name, _points((x(part["at_s"]), y(part[name])) for part in parts if part[name]))
            for name in (reversed(names) if values else ())
        ),
        tuple((x(ends_s * place / 4), str(Quantity(ends_s * place / 4, "s"))) for place in range(5)),
        tuple((y(10.0**power), str(Quantity(10.0**power, "s"))) for power in range(low, high + 1)),
        names,
        tuple(
            (str(Quantity(part["at_s"], "s")), str(part["samples"]), *(_told(part[name]) for name in names))
            for part in parts
        ),
    )


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _told(latency_s: float | None) -> str:
    return str(Quantity(inf if latency_s is None else latency_s, "s"))
