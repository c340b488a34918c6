"""Pacts are what Pact's own verifier takes them for: every message that conforms keeps its pact, and one of other words
breaks it."""

import gc
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pact import Verifier

from models.system import system as chat
from properties.conformance import conformities
from properties.schema import DOCUMENT
from properties.services import documents_in
from simulator.conformity import Conformity
from simulator.history import History, Reading, Value
from simulator.journeys.walk import walks_of
from simulator.load.simulated import simulate_load
from simulator.pact import pact_of, pacts_of

Pact = dict[str, Any]
Changes = Mapping[str, Any]


def words_in(schema: Any) -> Iterator[Value]:
    """The words that a document states."""
    if isinstance(schema, Mapping):
        yield from schema.get("enum", ())
        yield schema.get("const")
        schema = [*schema.values()]
    for each in schema if isinstance(schema, list) else ():
        yield from words_in(each)


WORDS = [*words_in(DOCUMENT["components"])]


SPOILED: Sequence[tuple[str, Changes]] = [
    ("sent hello", {"token": 7}),
    ("sent message", {"type": "ask"}),
    ("ack", {"id": 7}),
    ("error", {"code": "none"}),
    ("event", {"event": "agent_slept"}),
    ("reply", {"type": "ack"}),
    ("reply", {"nodes": {"triage": "finished"}}),
    ("reply", {"nodes": {"nobody": "completed"}}),
    ("chat_completion_request", {"messages": []}),
    ("chat_completion_request", {"messages": [{"role": "tool", "content": ""}]}),
    ("chat_completion_chunk", {"object": "chat.completion"}),
    ("chat_completion_chunk", {"choices": [{"index": 1, "delta": {}}]}),
    ("analytics_row", {"at": "now"}),
    ("reply_body", {"type": "event"}),
    ("reply_body", {"status": "finished"}),
    ("event_body", {"id": "1-0"}),
    ("event_body", {"event": "agent_slept"}),
    ("event_body", {"node": "nobody"}),
    ("session", {"ttl_s": None}),
    ("message", {"state": "done"}),
    ("message", {"workflow": {"nobody": []}}),
    ("message", {"workflow": {"data": ["nobody"]}}),
    ("result", {"status": "skipped"}),
    ("action", {"node": "report"}),
    ("stored_reply", {"status": "finished"}),
]
"""Of each kind of message what must not be in it."""


def broken(directory: Path, pact: Pact, messages: Sequence[tuple[str, Value]]) -> list[int]:
    """Let Pact compare messages, each with the name of its kind, with a pact, and return which of them break it."""

    def made(message: Value) -> Callable[..., Any]:
        contents = json.dumps(message).encode()
        return lambda **_: {"contents": contents, "metadata": None, "content_type": "application/json"}

    kinds = {each["key"]: each for each in pact["interactions"]}
    asked = [{**kinds[name], "description": f"message {n}", "key": str(n)} for n, (name, _) in enumerate(messages)]
    file = directory / "asked.json"
    file.write_text(json.dumps({**pact, "interactions": asked}), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it does not close the socket over which it asks
        verifier = Verifier(pact["provider"]["name"])
        verifier.message_handler({f"message {n}": made(message) for n, (_, message) in enumerate(messages)})
        verifier.add_source(file)
        try:
            verifier.verify()
        except RuntimeError:
            found = verifier.results["errors"]
            return sorted(int(each["interaction"].rpartition(" ")[2]) for each in found)
        finally:
            del verifier
            gc.collect()
    return []


@pytest.fixture(scope="module")
def histories() -> list[History]:
    """What is recorded of two runs of the contract."""
    journeys = chat.contract_journeys()
    plans = [walks_of(journeys, len(journeys), 0.5, seed, latency_s=chat.latencies_s[0])[0] for seed in (1, 2)]
    return [simulate_load(chat, plan, 0.5, (), lambda _number, _at_s: None).result.history for plan in plans]


def messages_in(history: History) -> Iterator[tuple[str, Value]]:
    """Yield every message with its kind: what devices send, whose `message` is another than that of the ledger, too."""
    reading = Reading(history)
    for event in reading.observed("frame_sent"):
        yield f"sent {event.data['type']}", dict(event.data)
    for event in reading.observed("frame", "trespassed", "answered_beside"):
        frame = event.data if event.name == "frame" else event.data["frame"]
        yield str(frame["type"]), dict(frame)
    for _, name, document in documents_in(reading):
        yield name, document


def shape(value: Value) -> Value:
    """A message without what people say in it, their names, and numbers: Pact, which is slow, sees one of each."""
    match value:
        case dict():
            return {name: shape(each) for name, each in value.items()}
        case list():
            return [shape(each) for each in value]
        case str():
            return value if value in WORDS else ""
        case int() | float():
            return 0
        case _:
            return value


def test_every_message_keeps_its_pact(tmp_path: Path, histories: list[History]) -> None:
    """Those of the run of which the pact was made, and those of another one."""
    pacts = pacts_of(conformities(histories[0]))
    assert {("device", "gateway"), ("agents", "llm"), ("gateway", "agents"), ("postgres", "agents")} <= pacts.keys()
    shapes = {json.dumps([name, shape(each)]): (name, each) for seen in histories for name, each in messages_in(seen)}
    for pact in pacts.values():
        sent = "sent " if pact["provider"]["name"] == "device" else ""
        kinds = {f"{sent}{each['key']}" for each in pact["interactions"]}
        messages = [(name.removeprefix(sent), each) for name, each in shapes.values() if name in kinds]
        assert {f"{sent}{name}" for name, _ in messages} == kinds
        assert [messages[n] for n in broken(tmp_path, pact, messages)] == []


def test_a_message_of_other_words_breaks_it(tmp_path: Path, histories: list[History]) -> None:
    """Or of another type: of each kind the last that was seen is spoiled."""
    last = dict(messages_in(histories[0]))
    for pact in pacts_of(conformities(histories[0])).values():
        sent = "sent " if pact["provider"]["name"] == "device" else ""
        kinds = {f"{sent}{each['key']}" for each in pact["interactions"]}
        spoiled = [(name.removeprefix(sent), {**last[name], **it}) for name, it in SPOILED if name in kinds]
        assert broken(tmp_path, pact, spoiled) == [*range(len(spoiled))], spoiled
    assert {name for name, _ in SPOILED} <= last.keys()


TEXT_OR_NULL = {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("schema", "example", "others", "wrong"),
    [
        ({"const": "a"}, "a", ["a"], ["b"]),
        ({"enum": ["a.b", "c d"]}, "a.b", ["c d"], ["a-b", "a.b c d", 7]),
        ({"enum": ["a", None]}, "a", ["a", None], ["b"]),
        (TEXT_OR_NULL, "a", ["b", "", None], [7]),
        (TEXT_OR_NULL, None, ["b", None], []),
        ({"type": ["string", "null"], "pattern": "^a"}, "a", ["ab", None], ["b"]),
        ({"type": ["integer", "null"]}, 1, [2, None], ["b"]),
        ({"type": ["string", "integer"]}, "a", ["b", 7], []),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "a", ["b", 7], []),
        ({"type": "number"}, 1, [2, 2.5], ["2"]),
        ({"type": "boolean"}, True, [False], [7]),
        ({"type": "array", "items": TEXT_OR_NULL}, ["a"], [[], [None, "b"]], [[7], "a"]),
        (
            {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
            ["a"],
            [["b", "c"]],
            [[], ["a"] * 3],
        ),
        ({"type": "array"}, ["a"], [[], [7, None]], ["a"]),
        ({"type": ["array", "null"], "items": {"type": "string"}}, ["a"], [[], ["b"], None], []),
        ({"type": ["object", "null"], "required": ["a"]}, {"a": 1}, [{"a": "b"}, None], []),
        ({"type": "object"}, {"a": 1}, [{}, {"b": 2}], [[]]),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            {"a": "a", "b": "b", "c": "c"},
            [{"a": "x"}, {"a": "x", "b": "y", "d": 7}],
            [{}, {"a": 7}],
        ),
        (
            {"type": "object", "additionalProperties": {"enum": ["a", "b"]}, "propertyNames": {"pattern": "^x"}},
            {"x": "a"},
            [{}, {"x-1": "b", "x-2": "a"}],
            [{"y": "a"}, {"x": "c"}, {"x-1": "c"}],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "array", "items": {"enum": ["a", "b"]}}},
            {"x": ["a"], "it's": []},
            [{}, {"y": []}, {"y": ["b"], "z": []}],
            [{"y": ["c"]}, {"y": "a"}],
        ),
        ({"type": "object", "additionalProperties": TEXT_OR_NULL}, {"x": "a"}, [{"y": None}, {"y": "b"}], [{"y": 7}]),
    ],
)
def test_what_conforms_to_a_schema_keeps_the_pact(
    tmp_path: Path, schema: Changes, example: Value, others: list[Value], wrong: list[Value]
) -> None:
    """What is wrong by the schema breaks it, so far as Pact can say so."""
    whole = {"type": "object", "properties": {"it": schema}, "required": ["it"]}
    pact = pact_of(
        "reader", "writer", [Conformity("writer", "reader", "note", 1, examples=[{"it": example}], schema=whole)]
    )
    messages: list[tuple[str, Value]] = [("note", {"it": each}) for each in [example, *others, *wrong]]
    is_valid = Draft7Validator(whole).is_valid
    assert [is_valid(each) for _, each in messages] == [True] * (1 + len(others)) + [False] * len(wrong)
    assert broken(tmp_path, pact, messages) == [*range(1 + len(others), len(messages))]


def test_an_example_is_one_that_says_most() -> None:
    """The first of those: of an empty list, and of what is null, it would say nothing."""
    schema = {
        "type": "object",
        "properties": {"a": TEXT_OR_NULL, "b": {"type": "array", "items": {"type": "string"}}},
        "required": ["a", "b"],
    }
    examples: list[Value] = [
        {"a": None, "b": []},
        {"a": "x", "b": []},
        {"a": "y", "b": ["z"]},
        {"a": "w", "b": ["v", "u"]},
    ]
    pact = pact_of("reader", "writer", [Conformity("writer", "reader", "note", 4, examples=examples, schema=schema)])
    assert pact["interactions"][0]["contents"]["content"] == examples[2]
