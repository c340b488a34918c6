"""Simulation and reality side by side: what was seen in each at one step of a plan."""

import difflib
import re
from collections.abc import Mapping, Sequence

from simulator.history import Kind, Value
from simulator.live.anchors import begins_step

__all__ = ["beside", "shown_after"]

ROWS_MAX = 24
TOLD = (Kind.OK.value, Kind.FAIL.value, Kind.INFO.value, Kind.OBSERVE.value)
SHOWN = ("type", "code", "seq", "to", "message", "id", "user", "state", "what", "result", "error", "text", "name")
"""The fields of an event that tell it from others, as far as there are such."""
CHARACTERS_MAX = 60
STREAM_ID = re.compile(r"\b\d{13}-\d+\b")
"""What Redis calls an entry of a stream, by the time of day: each is told by its place in the order of their coming."""


def beside(simulated: Sequence[str], live: Sequence[str]) -> list[tuple[str, str]]:
    """Return rows of (simulation, reality), "" where only the other has it. Of many, those around the first such."""
    rows: list[tuple[str, str]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(a=simulated, b=live, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += zip(simulated[a:b], live[c:d], strict=True)
        else:
            rows += [(line, "") for line in simulated[a:b]] + [("", line) for line in live[c:d]]
    first = next((place for place, (left, right) in enumerate(rows) if left != right), 0)
    begin = max(0, min(first - ROWS_MAX // 2, len(rows) - ROWS_MAX))
    return rows[begin : begin + ROWS_MAX]


def shown_after(events: Sequence[Mapping[str, Value]], begun: int | None = None) -> list[str]:
    """Word what users and stores showed from when so many steps had begun until the next began; None: the last step.

    `events` are such as a trace keeps.
    """
    steps = sum(map(begins_step, events)) if begun is None else begun
    so_far = 0
    lines = []
    numbers: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"#{len(numbers) + 1}")

    for event in events:
        if (event["kind"], event["name"]) == (Kind.MARK.value, "end"):
            break  # what follows is only how everything is taken down
        so_far += begins_step(event)
        is_seen = event["kind"] in TOLD and (str(event["host"]).startswith("user:") or event["host"] == "observer")
        if so_far == steps and is_seen:
            lines.append(STREAM_ID.sub(numbered, _worded(event)))
    return lines


def _worded(event: Mapping[str, Value]) -> str:
    data = event.get("data")
    fields = data if isinstance(data, Mapping) else {}
    told = ", ".join(f"{key}={_short(fields[key])}" for key in SHOWN if key in fields)
    kind = "" if event["kind"] == Kind.OBSERVE.value else f" {event['kind']}"
    return f"{str(event['host']).removeprefix('user:')} {event['name']}{kind} {told}".rstrip()


def _short(value: Value) -> str:
    text = str(value)
    return text if len(text) <= CHARACTERS_MAX else f"{text[: CHARACTERS_MAX - 3]}..."
