"""The protocol's public description: complete, the same as the code, and kept; and what is said when it is not."""

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
from models.client import DEFINITE
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
from properties.contract import CONTRACT, Schema, load_document, messages_of, resolve
from simulator import History, Kind
from simulator.history import Value
from simulator.property import Outcome, Verdict

DOCUMENT = load_document()
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


# What is said of histories


class Told:
    """A history of one user, alice, of her agents and of her gateway; each line a tenth of a second after the last."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._event_ids = 0
        self.history = History(lambda: self._now_s)

    def record(self, kind: Kind, host: str, name: str, data: Mapping[str, Value], number: int | None = None) -> "Told":
        self._now_s += 0.1
        self.history.record(kind, host, name, data, number)
        return self

    def observe(self, host: str, name: str, /, **data: Value) -> "Told":
        return self.record(Kind.OBSERVE, host, name, data)

    def frame(self, kind: str, /, **fields: Value) -> "Told":
        """A valid frame arrives, but for the fields given."""
        example = msgspec.to_builtins(decode_server(json.dumps(MESSAGES[kind]["examples"][0]["payload"])))
        return self.observe("user:alice", "frame", **{**example, **fields})

    def told(self, name: str, node: str = "data", /, *, attempt: int = 1, detail: str = "") -> "Told":
        """An agent tells something of its work on alice-1."""
        about: dict[str, Value] = {"user": "alice", "message": "alice-1", "node": node}
        return self.observe("agents", "agent_event", **about, name=name, attempt=attempt, detail=detail)

    def saw(self, name: str, node: str = "data", /, *, attempt: int = 1, detail: str = "", id: str = "") -> "Told":
        """Alice sees it."""
        self._event_ids += 1
        fields: dict[str, Value] = {"id": id or f"1000-{self._event_ids}", "event": name, "to": "alice-1", "node": node}
        return self.frame("event", **fields, attempt=attempt, detail=detail)

    def fault(self, kind: str, host: str, phase: str = "begin") -> "Told":
        return self.record(Kind.FAULT, host, kind, {"at": [host], "for_s": 1.0, "phase": phase})

    def invoked(self, name: str, user: str = "alice", **arguments: Value) -> int:
        number = self.history.next_operation()
        self.record(Kind.INVOKE, f"user:{user}", name, arguments, number)
        return number

    def malformed(self, how: Kind = Kind.OK, result: str | None = "bad_request") -> "Told":
        number = self.invoked("send_malformed", text="{}")
        return self.record(how, "user:alice", "send_malformed", {"result": result}, number)

    def disconnected(self) -> "Told":
        return self.observe("user:alice", "client_state", state="disconnected")

    def wait(self, for_s: float) -> "Told":
        self._now_s += for_s
        return self

    def judged(self) -> Verdict:
        return CONTRACT.judge(self.history)


def violation(told: Told) -> tuple[str, str]:
    """The evidence and the site of what is a violation."""
    verdict = told.judged()
    assert verdict.outcome is Outcome.VIOLATED
    assert verdict.violation is not None
    return verdict.violation.evidence, verdict.violation.site


def test_the_contract_holds_for_all_examples() -> None:
    """Frames as the document shows them, and an agent's whole work."""
    told = Told()
    for name in messages_of(DOCUMENT, "send"):
        if name != "event":
            for example in MESSAGES[name]["examples"]:
                shown = {"token": "..."} if "token" in example["payload"] else {}
                told.frame(name, **{**example["payload"], **shown})
    told.told("agent_started").told("tool_executing", detail="clickhouse").told("tool_completed", detail="failed")
    told.told("tool_executing", attempt=2).told("tool_completed", attempt=2).told("agent_completed", detail="completed")
    told.told("agent_started", "triage").told("agent_thinking", "triage").told("agent_thinking", "triage", attempt=2)
    told.told("agent_failed", "triage", detail="timed out").told("agent_skipped", "report")
    told.saw("agent_started").saw("tool_executing", attempt=2).saw("agent_skipped", "report")
    told.malformed().wait(2.0).disconnected()
    told.observe("observer", "stored_message", message="alice-1", workflow={"data": [], "report": ["data"]})
    told.observe("observer", "stored_reply", user="alice", seq=1, to="alice-1", text="", status="cancelled", nodes={})
    told.observe("observer", "row", event_id="alice:alice-1", user="alice", message="alice-1")
    assert told.judged().outcome is Outcome.HOLDS


def test_of_nothing_nothing_is_known() -> None:
    """Also not of a client that came and went."""
    assert Told().disconnected().judged().outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("reply", {"status": "finished"}, "'finished' is not one of ['done', 'partial', 'cancelled'] at status"),
        ("reply", {"nodes": {"triage": "lost"}}, "at nodes.triage"),
        ("reply", {"nodes": {"nobody": "failed"}}, "'nobody' does not match"),
        ("reply", {"seq": True}, "True is not of type 'integer' at seq"),
        ("error", {"code": "oops"}, "'oops' is not one of"),
        ("ack", {"unknown": 1}, "Additional properties are not allowed ('unknown' was unexpected)"),
        ("event", {"id": "$"}, "'$' does not match"),
        ("event", {"attempt": 0}, "0 is less than the minimum of 1 at attempt"),
    ],
)
def test_a_frame_that_is_not_as_described_is_a_violation(kind: str, fields: dict[str, Value], says: str) -> None:
    """What is wrong is said, and where."""
    said, site = violation(Told().frame(kind, **fields))
    assert said.startswith(f"alice received at 0.100 s what is no {kind} frame: ")
    assert says in said
    assert site == "frame"


@pytest.mark.parametrize("frame", [{"type": "hello", "token": "..."}, {"type": "unheard"}, {}])
def test_a_frame_that_no_gateway_sends_is_a_violation(frame: dict[str, Value]) -> None:
    """A user's own frames among them, and what a trespass was answered."""
    assert violation(Told().observe("user:alice", "frame", **frame))[1] == "frame"
    said, site = violation(Told().observe("user:alice", "trespassed", how="claimed user", frame=frame))
    assert said == f"alice received at 0.100 s what is no frame that a gateway sends: type={frame.get('type')!r}"
    assert site == "frame"


def test_an_agent_that_completes_before_its_tool_is_a_violation() -> None:
    """The order is the document's."""
    said, site = violation(Told().told("agent_started").told("tool_executing").told("agent_completed"))
    assert said == "agents told agent_completed of data for alice-1 at 0.300 s, which cannot follow tool_executing"
    assert site == "order"


@pytest.mark.parametrize("name", [name for name in EVENTS if name not in ORDER["states"][ORDER["initial"]]])
def test_an_agent_that_tells_before_it_started_is_a_violation(name: str) -> None:
    """Each but the two with which an agent can begin."""
    assert violation(Told().told(name))[1] == "order"


@pytest.mark.parametrize("last", ["agent_completed", "agent_failed"])
def test_an_agent_that_starts_again_in_one_life_of_its_host_is_a_violation(last: str) -> None:
    """Its work would be done twice."""
    told = Told().told("agent_started").told(last)
    assert told.judged().outcome is Outcome.HOLDS
    assert violation(told.told("agent_started"))[1] == "order"


@pytest.mark.parametrize("end", ["crash", "vanish", "terminate"])
@pytest.mark.parametrize("told_before", [["agent_started"], ["agent_started", "tool_executing"], ["agent_skipped"]])
def test_an_agent_may_begin_anew_once_after_the_end_of_its_host(end: str, told_before: list[str]) -> None:
    """What it had done is known to the ledger only."""
    told = Told()
    for name in told_before:
        told.told(name)
    told.fault(end, "agents", phase="end" if end == "terminate" else "begin")
    told.told("agent_started").told("tool_executing")
    assert told.judged().outcome is Outcome.HOLDS
    assert violation(told.told("agent_started"))[1] == "order"


def test_an_agent_may_finish_while_its_host_is_told_to_end() -> None:
    """And then be asked anew, if what it did could not be stored."""
    told = Told().told("agent_started").told("agent_thinking").fault("terminate", "agents")
    told.told("agent_thinking", attempt=2).told("agent_completed")
    told.fault("terminate", "agents", phase="end").told("agent_started")
    assert told.judged().outcome is Outcome.HOLDS


@pytest.mark.parametrize("host", ["gateway-a", "redis"])
def test_the_end_of_another_host_excuses_no_agent(host: str) -> None:
    """Only their own host's memory is lost."""
    told = Told().told("agent_started").fault("crash", host).told("agent_started")
    assert violation(told)[1] == "order"


@pytest.mark.parametrize("attempts", [(2,), (1, 3), (1, 2, 2), (0,)])
def test_attempts_that_are_not_counted_are_a_violation(attempts: tuple[int, ...]) -> None:
    """They count from 1, and begin again only at 1."""
    told = Told().told("agent_started")
    for attempt in attempts:
        told.told("agent_thinking", attempt=attempt)
    assert violation(told)[1] == "attempt"


def test_a_tool_that_completes_under_another_attempt_is_a_violation() -> None:
    """Its completion is that of what was executed."""
    told = Told().told("agent_started").told("tool_executing").told("tool_completed", attempt=2)
    said, site = violation(told)
    assert said == "agents told tool_completed of data for alice-1 at 0.300 s as attempt 2 after attempt 1"
    assert site == "attempt"


def test_an_event_that_no_agent_told_is_a_violation() -> None:
    """Nor one with another detail."""
    said, site = violation(Told().told("agent_started").saw("agent_started", detail="x"))
    assert said == "alice saw agent_started of data for alice-1 at 0.200 s, and no agent told so"
    assert site == "event"


def test_an_event_that_comes_twice_is_a_violation() -> None:
    """Unless it was told twice."""
    told = Told().told("agent_started").saw("agent_started")
    twice = told.fault("crash", "agents").told("agent_started").saw("agent_started")
    assert twice.judged().outcome is Outcome.HOLDS
    said, site = violation(twice.saw("agent_started"))
    assert said == "alice saw agent_started of data for alice-1 at 0.600 s more often than agents told so"
    assert site == "event twice"


def test_events_in_another_order_are_a_violation() -> None:
    """A user would see an agent think that has completed."""
    told = Told().told("agent_started").told("agent_thinking").saw("agent_thinking")
    said, site = violation(told.saw("agent_started"))
    assert said == "alice saw agent_started of data for alice-1 at 0.400 s after what agents told later than that"
    assert site == "event order"


@pytest.mark.parametrize("upset", ["events_dropped", "crash"])
def test_an_event_may_be_late_when_its_passing_on_was_given_up(upset: str) -> None:
    """What was on its way to a frozen Redis arrives after what was sent later, on another connection."""
    told = Told().told("agent_started").told("agent_thinking")
    told = told.fault("crash", "agents") if upset == "crash" else told.observe("agents", "events_dropped", count=1)
    told.saw("agent_thinking").saw("agent_started")
    assert told.judged().outcome is Outcome.HOLDS


def test_what_was_dropped_before_excuses_no_later_disorder() -> None:
    """Only what was under way then."""
    told = Told().observe("agents", "events_dropped", count=1).told("agent_started").told("agent_thinking")
    assert violation(told.saw("agent_thinking").saw("agent_started"))[1] == "event order"


@pytest.mark.parametrize("id", ["1000-1", "1000-0", "999-7"])
def test_event_ids_that_do_not_grow_are_a_violation(id: str) -> None:
    """A device that comes back asks for what is after the last it saw."""
    told = Told().told("agent_started").told("agent_thinking").saw("agent_started").saw("agent_thinking", id=id)
    said, site = violation(told)
    assert said.endswith(f"as {id}, which is not greater than the id before")
    assert site == "event id"


@pytest.mark.parametrize(("how", "result"), [(Kind.OK, "unavailable"), (Kind.OK, ""), (Kind.INFO, None)])
def test_a_malformed_frame_that_is_not_refused_is_a_violation(how: Kind, result: str | None) -> None:
    """Without a fault nothing else can explain it."""
    said, site = violation(Told().malformed(how, result))
    answer = "'unavailable'" if result == "unavailable" else "no answer"
    assert said == f"alice sent '{{}}' at 0.100 s and got {answer} instead of 'bad_request'"
    assert site == "malformed"


def test_a_connection_that_a_malformed_frame_ends_is_a_violation() -> None:
    """Other messages may be on it."""
    assert violation(Told().malformed().disconnected())[1] == "malformed"


def test_a_malformed_frame_that_was_never_sent_says_nothing() -> None:
    """The connection was lost before."""
    assert Told().malformed(Kind.FAIL, None).judged().outcome is Outcome.HOLDS


def test_a_malformed_frame_that_is_to_be_sent_while_another_waits_says_nothing() -> None:
    """An answer does not say to which it is, so the second is not sent."""
    told = Told()
    first, second = told.invoked("send_malformed", text=""), told.invoked("send_malformed", text="{}")
    told.record(Kind.INFO, "user:alice", "send_malformed", {}, second)
    told.record(Kind.OK, "user:alice", "send_malformed", {"result": "bad_request"}, first)
    assert told.judged().outcome is Outcome.HOLDS
    assert violation(told.malformed(Kind.INFO, None))[1] == "malformed"


@pytest.mark.parametrize("name", ["leave", "log_out", "stall"])
def test_what_users_do_themselves_explains_a_missing_answer(name: str) -> None:
    """For a while; what another user does explains nothing, but for a stall, which may hold up others."""
    told = Told()
    told.invoked(name)
    assert told.malformed(Kind.INFO, None).judged().outcome is Outcome.HOLDS
    assert violation(told.wait(60.0).malformed(Kind.INFO, None))[1] == "malformed"
    other = Told()
    other.invoked(name, "bob")
    expected = Outcome.HOLDS if name == "stall" else Outcome.VIOLATED
    assert other.malformed(Kind.INFO, None).judged().outcome is expected


def test_a_fault_before_explains_a_missing_answer() -> None:
    """Half a connection may be left of one that was there before; a fault after it explains nothing."""
    assert Told().fault("reset", "gateway-a").malformed(Kind.INFO, None).judged().outcome is Outcome.HOLDS
    late = Told().malformed(Kind.INFO, None).wait(2.0).fault("reset", "gateway-a")
    assert violation(late)[1] == "malformed"


REQUEST: dict[str, Value] = SCHEMAS["chat_completion_request"]["examples"][0]
CHUNKS: list[Value] = SCHEMAS["chat_completion_chunk"]["examples"]
ROW: dict[str, Value] = SCHEMAS["analytics_row"]["examples"][0]


@pytest.mark.parametrize(
    ("name", "well", "badly"),
    [
        ("stored_message", {"workflow": {"triage": []}}, {"workflow": {"nobody": []}}),
        ("stored_message", {"workflow": {"triage": []}}, {"workflow": {}}),
        ("stored_reply", {"user": "alice", "to": "a", "seq": 1, "status": "done", "text": "", "nodes": {}}, {"seq": 0}),
        ("llm_exchanged", {"request": REQUEST, "response": CHUNKS}, {"request": {**REQUEST, "user": None}}),
        (
            "llm_exchanged",
            {"request": REQUEST, "response": CHUNKS},
            {"response": SCHEMAS["chat_completion"]["examples"]},
        ),
        ("analytics_written", {**ROW, "path": "drain"}, {"at": "yesterday"}),
        ("analytics_buffered", ROW, {"more": "1"}),
        ("buffered_row", {"body": json.dumps(ROW)}, {"body": "alice"}),
        (
            "stream_entry",
            {"stream": "replies", "body": SCHEMAS["reply_body"]["examples"][0]},
            {"body": SCHEMAS["event_body"]["examples"][0]},
        ),
        (
            "stream_entry",
            {"stream": "events", "body": SCHEMAS["event_body"]["examples"][0]},
            {"body": SCHEMAS["reply_body"]["examples"][0]},
        ),
    ],
)
def test_services_say_and_store_what_is_described(name: str, well: dict[str, Value], badly: dict[str, Value]) -> None:
    """Whoever reads it cannot otherwise."""
    assert Told().observe("agents", name, **well).judged().outcome is Outcome.HOLDS
    said, site = violation(Told().observe("agents", name, **{**well, **badly}))
    assert said.startswith(f"{name} at 0.100 s tells of no ")
    assert site == name
