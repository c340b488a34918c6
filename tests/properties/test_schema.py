"""The protocol's public description: complete, and the same as the code."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from models.analytics import Event as AnalyticsRow
from models.device import DEFINITE
from models.events import EVENTS
from models.llm import LLM, ChatMessage
from models.protocol import (
    AgentEvent,
    ClientFrame,
    ErrorFrame,
    Hello,
    Message,
    Reply,
    ServerFrame,
    Welcome,
    decode_client,
    decode_server,
    encode,
)
from models.workflow import KINDS, NODES_MAX, InvalidWorkflowError, Workflow
from properties.schema import DOCUMENT, Schema, check_document, messages_of, resolve
from simulator.errors import InputError
from simulator.history import Value

MESSAGES = DOCUMENT["components"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]
ORDER = DOCUMENT["x-order"]
STRUCTS = {each.__struct_config__.tag: each for each in (*ClientFrame.__args__, *ServerFrame.__args__)}
QUICKLY = settings(deadline=None, database=None, max_examples=60)


# The document


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == "$ref")
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def payload_of(message: str) -> Schema:
    return Schema(DOCUMENT, f"#/components/messages/{message}/payload")


def test_the_document_is_an_asyncapi_document() -> None:
    """Programs that read such documents expect these fields, and no others that have no x- before them."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    known = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert [name for name in DOCUMENT if name not in known and not name.startswith("x-")] == []
    assert all({"host", "protocol"} <= set(each) for each in DOCUMENT["servers"].values())
    assert DOCUMENT["servers"]["gateway"]["security"] == [{"$ref": "#/components/securitySchemes/token"}]


def test_every_reference_leads_somewhere() -> None:
    """A reader who follows one must find it."""
    found = list(references(DOCUMENT))
    assert len(found) > 50
    assert all(resolve(DOCUMENT, each) for each in found)


def test_every_operation_uses_messages_of_its_channel() -> None:
    """And every message is used by an operation."""
    channels = DOCUMENT["channels"]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        for part in (operation, *([operation["reply"]] if "reply" in operation else [])):
            assert resolve(DOCUMENT, part["channel"]["$ref"]) in channels.values()
            assert all(each["$ref"].startswith(f"{part['channel']['$ref']}/messages/") for each in part["messages"])
    used = {*messages_of(DOCUMENT, "send"), *messages_of(DOCUMENT, "receive")}
    assert used == set(MESSAGES) == set(channels["conversation"]["messages"])


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_described_with_valid_examples(name: str) -> None:
    """An example is what a reader copies."""
    message = MESSAGES[name]
    assert message["name"] == name
    assert all(message[each].strip() for each in ("title", "summary", "description"))
    Draft7Validator.check_schema(message["payload"])
    assert message["payload"]["additionalProperties"] is False
    decode = decode_client if name in messages_of(DOCUMENT, "receive") else decode_server
    for example in message["examples"]:
        assert payload_of(name).complaint(example["payload"]) is None
        assert type(decode(json.dumps(example["payload"]))) is STRUCTS[name]
    assert message["examples"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_described_with_valid_examples(name: str) -> None:
    """Those that are carried as text included: the text is looked into."""
    schema = SCHEMAS[name]
    Draft7Validator.check_schema(schema)
    assert schema["description"].strip()
    assert schema["examples"]
    for example in schema["examples"]:
        assert Schema(DOCUMENT, f"#/components/schemas/{name}").complaint(example) is None
        if "x-content" in schema:
            assert Schema(DOCUMENT, schema["x-content"]["$ref"]).complaint(json.loads(example)) is None


def test_the_order_of_events_is_complete() -> None:
    """Every event has its place, every state can be reached, and nothing follows a final one."""
    states = ORDER["states"]
    assert {event for following in states.values() for event in following} == set(EVENTS)
    assert {state for following in states.values() for state in following.values()} | {ORDER["initial"]} == set(states)
    assert [state for state in states if not states[state]] == ORDER["final"]
    assert {name: how for name, how in ORDER["attempts"].items() if how in ("first", "counted", "same")}.keys() == {
        *EVENTS
    }
    assert set(ORDER["attempts"]) == {*EVENTS, "description"}


def documented(schema: object) -> Mapping[str, Any]:
    """The document with another ack."""
    ack = {**MESSAGES["ack"], "payload": schema}
    return {**DOCUMENT, "components": {**DOCUMENT["components"], "messages": {**MESSAGES, "ack": ack}}}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"dependentRequired": {"a": ["b"]}}, "the schema ack.payload: 'dependentRequired' does not match"),
        ({"properties": {"id": {"minimun": 1}}}, "ack.payload.properties.id: 'minimun' does not match"),
        ({"items": {"format": "uri-template"}}, "ack.payload.items.format: 'uri-template' is not one of"),
        ({"anyOf": [{"type": "text"}]}, "ack.payload.anyOf.0.type: 'text' is not"),
        ({"contentEncoding": "base64"}, "'contentEncoding' does not match"),
        ({"properties": {"id": {"contentMediaType": "application/json"}}}, "'x-content' is a dependency"),
        ({"items": {"$ref": "#/components/schemas/run", "minLength": 1}}, "'minLength' is not one of"),
    ],
)
def test_what_nothing_would_check_is_refused(schema: object, told: str) -> None:
    """Otherwise whoever writes it down believes that it holds."""
    with pytest.raises(InputError, match=told) as refused:
        check_document(documented(schema))
    assert str(refused.value).startswith("asyncapi.json: nothing would check this of the schema ")
    assert "uuid" in str(refused.value)


def test_remarks_and_fields_of_any_name_are_not_refused() -> None:
    """Nobody expects them to be checked."""
    check_document(documented({"x-owner": "us", "$comment": "", "title": "", "properties": {"minimun": {"enum": [1]}}}))


def test_a_format_is_checked() -> None:
    schema = Schema({"it": {"type": "string", "format": "uuid"}}, "#/it")
    assert schema.complaint("01890a5d-ac96-774b-bcce-b302099a8057") is None
    assert schema.complaint("alice-1") == "'alice-1' is not a 'uuid'"


# The document and the code


def types_in(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """The JSON types that a schema allows, by name, whichever way it says so."""
    if "$ref" in schema:
        return types_in(resolve(root, schema["$ref"]), root)
    if "anyOf" in schema:
        return sorted(each for option in schema["anyOf"] for each in types_in(option, root))
    if "const" in schema or "enum" in schema:
        return ["string"]
    named = schema["type"]
    return sorted([named] if isinstance(named, str) else named)


def outline(schema: Mapping[str, Any], root: Mapping[str, Any]) -> object:
    """What document and code must agree on: names, which of them are required, and types."""
    fields = {name: types_in(each, root) for name, each in schema["properties"].items()}
    return fields, sorted(schema["required"]), schema.get("additionalProperties", True)


def coded(struct: type) -> object:
    schema = msgspec.json.schema(struct)
    return outline(resolve(schema, schema["$ref"]), {"$defs": schema["$defs"]})


@pytest.mark.parametrize("name", sorted({*STRUCTS, *MESSAGES}))
def test_document_and_code_have_the_same_frames(name: str) -> None:
    """The same fields, required alike, of the same types; what is unknown is refused by both."""
    assert outline(MESSAGES[name]["payload"], DOCUMENT) == coded(STRUCTS[name])
    assert MESSAGES[name]["payload"]["properties"]["type"]["const"] == name


@pytest.mark.parametrize(("action", "frames"), [("receive", ClientFrame), ("send", ServerFrame)])
def test_document_and_code_have_the_same_directions(action: str, frames: Any) -> None:
    """A gateway that took its own frames for a user's would be told what it said."""
    assert set(messages_of(DOCUMENT, action)) == {each.__struct_config__.tag for each in frames.__args__}


def test_document_and_code_have_the_same_words() -> None:
    """Codes, events and kinds of agents are texts in the code, and enumerated in the document."""
    codes = MESSAGES["error"]["payload"]["properties"]["code"]["enum"]
    assert sorted(codes) == sorted([*DEFINITE, "unavailable"])
    assert SCHEMAS["event_name"]["enum"] == list(EVENTS)
    assert SCHEMAS["workflow"]["maxProperties"] == NODES_MAX
    node = Schema(DOCUMENT, "#/components/schemas/node")
    assert all(node.complaint(name) is None for kind in KINDS for name in (kind, f"{kind}-2"))
    assert node.complaint("nobody") is not None


def test_document_and_code_have_the_same_analytics_row() -> None:
    """In the table as in the buffer."""
    assert outline({**SCHEMAS["analytics_row"], "additionalProperties": True}, DOCUMENT) == coded(AnalyticsRow)
    row = msgspec.to_builtins(AnalyticsRow(event_id="e", user="alice", message="m-1", at=1))
    assert Schema(DOCUMENT, "#/components/schemas/analytics_row").complaint(row) is None


@pytest.mark.parametrize("is_streamed", [False, True])
def test_document_and_code_ask_the_llm_alike(is_streamed: bool) -> None:
    """The request is as described, and an answer as described is understood."""
    asked = []
    pieces = [json.dumps(each) for each in SCHEMAS["chat_completion_chunk"]["examples"]]
    stream = "".join(f"data: {each}\n\n" for each in (*pieces, "[DONE]"))
    whole = json.dumps(SCHEMAS["chat_completion"]["examples"][0])

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, stream=httpx.ByteStream((stream if is_streamed else whole).encode()))

    async def main() -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://llm/v1") as http:
            llm = LLM(http=http, api_key=None, model="wavetank", timeout_s=1.0, stream=is_streamed)
            return await llm.complete([ChatMessage("system", "s"), ChatMessage("user", "q")], user="alice")

    assert trio.run(main).startswith("what is ")
    (request,) = asked
    assert Schema(DOCUMENT, "#/components/schemas/chat_completion_request").complaint(request) is None


NODES = st.builds(lambda kind, more: kind + more, st.sampled_from(KINDS), st.sampled_from(("", "-2", "-", "-\n")))
IDS = st.builds(lambda major, minor: f"{major}-{minor}", st.integers(0, 10**19 - 1), st.integers(0, 9))
DRAWN: Mapping[type, Mapping[str, st.SearchStrategy[Any]]] = {
    Hello: {"last_seen": st.integers(0, 2**53), "last_event": st.none() | IDS},
    Message: {
        **dict.fromkeys(
            ("id", "text", "context"), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=64)
        ),
        "workflow": st.dictionaries(NODES, st.just(()), min_size=1, max_size=NODES_MAX),
    },
    Welcome: {"session": st.text(min_size=1), "token": st.text(min_size=1)},
    STRUCTS["token"]: {"token": st.text(min_size=1)},
    Reply: {
        "seq": st.integers(1, 2**53),
        "status": st.sampled_from(("done", "partial", "cancelled")),
        "nodes": st.dictionaries(NODES, st.sampled_from(("completed", "degraded", "failed", "skipped"))),
    },
    AgentEvent: {"id": IDS, "event": st.sampled_from(EVENTS), "node": NODES},
    ErrorFrame: {"code": st.sampled_from((*DEFINITE, "unavailable"))},
}
OF_TYPE: Mapping[Any, st.SearchStrategy[Any]] = {str: st.text(), int: st.integers(1), str | None: st.none() | st.text()}


def frames(struct: Any) -> st.SearchStrategy[Any]:
    """Frames of one struct. What only a gateway decides is drawn as it may decide."""
    special = DRAWN.get(struct, {})
    fields = {
        each.name: special[each.name] if each.name in special else OF_TYPE[each.type]
        for each in msgspec.structs.fields(struct)
    }
    return st.builds(struct, **fields)


@pytest.mark.parametrize("name", STRUCTS)
def test_every_frame_of_the_code_is_valid_by_the_document(name: str) -> None:
    """Drawn at random; what a user can send is decoded as well."""
    schema = payload_of(name)

    @QUICKLY
    @given(frames(STRUCTS[name]))
    def check(frame: Any) -> None:
        fields = json.loads(encode(frame))
        assert schema.complaint(fields) is None
        if name in messages_of(DOCUMENT, "receive"):
            assert decode_client(json.dumps(fields)) == frame
        else:
            assert schema.is_surely_valid(fields)

    check()


@QUICKLY
@given(st.dictionaries(NODES | st.text(max_size=2), st.lists(NODES, max_size=2), max_size=NODES_MAX + 1))
def test_a_workflow_that_runs_is_valid_by_the_document(workflow: Any) -> None:
    """What the document cannot say, circles and absent ones, it says in words."""
    try:
        Workflow(workflow)
    except InvalidWorkflowError:
        return
    assert Schema(DOCUMENT, "#/components/schemas/workflow").complaint(workflow) is None


JUNK = st.sampled_from([None, True, False, 0, 1, -1, 1.0, 1.5, "", "x", "done", [], ["x"], {}, {"x": "done"}])


@pytest.mark.parametrize("name", MESSAGES)
def test_the_quick_test_is_satisfied_by_nothing_that_the_library_refuses(name: str) -> None:
    """Otherwise speed would be bought with blindness."""
    schema, payload = payload_of(name), MESSAGES[name]["payload"]
    library = Draft7Validator({**payload, "components": DOCUMENT["components"]})
    fields = st.sampled_from([*payload["properties"], "unknown"])

    @QUICKLY
    @given(frames(STRUCTS[name]), st.dictionaries(fields, JUNK, max_size=2), st.lists(fields, max_size=1))
    def check(frame: Any, changes: dict[str, Any], left_out: list[str]) -> None:
        damaged = {**json.loads(encode(frame)), **changes}
        for each in left_out:
            damaged.pop(each, None)
        is_valid = library.is_valid(damaged)
        assert (schema.complaint(damaged) is None) == is_valid
        assert is_valid or not schema.is_surely_valid(damaged)

    check()


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "format": "email"}, "x"),
        ({"type": "array", "items": {}, "uniqueItems": True}, [1]),
        ({"enum": [1]}, True),
        ({"const": 1}, 1.0),
        ({}, "x"),
    ],
)
def test_the_quick_test_is_sure_of_no_schema_that_it_does_not_know(schema: dict[str, Any], value: Value) -> None:
    """A keyword that somebody adds to the document is the library's to judge."""
    assert not Schema({"it": schema}, "#/it").is_surely_valid(value)
