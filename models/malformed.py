"""What a gateway must refuse, drawn for users to send: texts made wrong from the protocol's own examples.

The AsyncAPI document is read as data; nothing here knows a frame. Not drawn: text that no WebSocket can carry (lone
surrogates), and what is too large to be read in a report.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, TypeAlias

from hypothesis import strategies as st

__all__ = ["malformed_frames", "malformed_texts"]

Json: TypeAlias = Mapping[str, Any]

NO_FRAMES = ("", "{}", "[]", "0", "null", '""', "{", "hello", '{"type": 1}', '{"type": "nonsense"}', "[[[[[[[[")
OF_EACH_TYPE: Mapping[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 1.5,
    "string": "seven",
    "array": [],
    "object": {"a": 1},
}
WRONG_VALUES: tuple[tuple[str, str, Any], ...] = (
    ("hello", "last_seen", -1),
    ("hello", "last_seen", 2**53 + 1),
    ("hello", "last_event", ""),
    ("hello", "last_event", "$"),
    ("message", "id", "m" * 65),
    ("message", "workflow", {"triage": "triage"}),
    ("message", "workflow", {"triage": [7]}),
)
"""Of the right type, and wrong all the same: message, field and value."""
WRONG_WORKFLOWS: tuple[Mapping[str, list[str]], ...] = (
    {},
    {"": []},
    {"nobody": []},
    {"triage": ["triage"]},
    {"triage": ["data"]},
    {"triage": ["report"], "report": ["triage"]},
    {"data": [], "triage": ["report", "data"], "report": ["triage"]},
    {"data-" + "9" * 30: []},
    {f"data-{place}": [] for place in range(13)},
)
"""Frames with these are legal, and the messages are not: nobody, a circle, a name that is too long, 13 agents."""


def malformed_frames() -> st.SearchStrategy[str]:
    """Texts that are answered with bad_request, the simplest first."""
    return st.one_of(*(st.sampled_from(texts) for texts in malformed_texts().values()))


def malformed_texts() -> dict[str, list[str]]:
    """Return every text that can be drawn, by what is wrong with it."""
    document = json.loads((resources.files("properties") / "asyncapi.json").read_text(encoding="utf-8"))
    messages = document["components"]["messages"]
    received = [
        each["messages"][0]["$ref"].rpartition("/")[2]
        for each in document["operations"].values()
        if each["action"] == "receive"
    ]
    mine = {name: messages[name] for name in received}
    found = {
        "a field is missing": list(map(_text, _without_a_field(mine))),
        "a field is of a wrong type": list(map(_text, _with_a_wrong_type(document, mine))),
        "a value is wrong": [_text({**_example(mine[name]), field: value}) for name, field, value in WRONG_VALUES],
        "a field is unknown": [_text({**_example(each), "unknown": 1}) for each in mine.values()],
        "a frame for users": [_text(_example(each)) for name, each in messages.items() if name not in mine],
        "a second hello": [_text(each["payload"]) for each in mine["hello"]["examples"]],
        "an impossible workflow": [_text({**_example(mine["message"]), "workflow": each}) for each in WRONG_WORKFLOWS],
    }
    by_length = {wrong: sorted(texts, key=lambda text: (len(text), text)) for wrong, texts in found.items()}
    return {"no frame": list(NO_FRAMES), **by_length}


def _without_a_field(messages: Json) -> Iterator[Json]:
    for message in messages.values():
        example = _example(message)
        for name in message["payload"]["required"]:
            yield {field: value for field, value in example.items() if field != name}


def _with_a_wrong_type(document: Json, messages: Json) -> Iterator[Json]:
    for message in messages.values():
        for name, schema in message["payload"]["properties"].items():
            allowed = _types(document, schema)
            for kind, value in OF_EACH_TYPE.items():
                if kind not in allowed:
                    yield {**_example(message), name: value}


def _types(document: Json, schema: Json) -> list[str]:
    """Return the types that a field may have."""
    if "$ref" in schema:
        return _types(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    named = schema.get("type", "string")  # constants are texts
    return [named] if isinstance(named, str) else named


def _example(message: Json) -> Json:
    """Return the message's first, that is simplest, example."""
    example: Json = message["examples"][0]["payload"]
    return example


def _text(frame: Json) -> str:
    return json.dumps(frame)
