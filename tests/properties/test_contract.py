"""The contract, on histories made by hand: what is said when it is not kept."""

import json
from typing import Self

import msgspec
import pytest

from models.events import EVENTS
from models.protocol import decode_server
from properties.contract import CONTRACT
from properties.schema import DOCUMENT, messages_of
from simulator import Kind
from simulator.history import Value
from simulator.property import Outcome, Verdict
from tests.properties.made import Made, evidence

MESSAGES = DOCUMENT["components"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]
ORDER = DOCUMENT["x-order"]
ROWS = {
    "session_key": "session",
    "stored_user": "user",
    "stored_message": "message",
    "stored_result": "result",
    "stored_action": "action",
}
"""What is told of the stores row by row, and its schema."""


class Told(Made):
    """A history of one user, alice, of her agents and of her gateway."""

    def __init__(self, *, is_welcomed: bool = True) -> None:
        super().__init__()
        self._event_ids = 0
        if is_welcomed:
            self.welcomed()
            self._now_s = 0.0

    def welcomed(self) -> Self:
        self.got("welcome", token="...")
        return self.observe("user:alice", "client_state", state="connected")

    def got(self, kind: str, /, **fields: Value) -> Self:
        """A valid frame arrives, but for the fields given."""
        example = msgspec.to_builtins(decode_server(json.dumps(MESSAGES[kind]["examples"][0]["payload"])))
        return self.observe("user:alice", "frame", **{**example, **fields})

    def sent(self, message: str) -> Self:
        return self.observe("user:alice", "message_sent", message=message)

    def told(self, name: str, node: str = "data", /, *, attempt: int = 1, detail: str = "") -> Self:
        """An agent tells something of its work on alice-1."""
        return self.agent("alice-1", node, name, attempt=attempt, detail=detail)

    def saw(self, name: str, node: str = "data", /, *, attempt: int = 1, detail: str = "", id: str = "") -> Self:
        """Alice sees it."""
        self._event_ids += 1
        fields: dict[str, Value] = {"id": id or f"1000-{self._event_ids}", "event": name, "to": "alice-1", "node": node}
        return self.got("event", **fields, attempt=attempt, detail=detail)

    def malformed(self, how: Kind = Kind.OK, result: str | None = "bad_request") -> Self:
        return self.operation("alice", "send_malformed", result, how, text="{}")

    def judged(self) -> Verdict:
        return self.judged_by(CONTRACT)


def violation(told: Told) -> tuple[str, str]:
    """The evidence and the site of what is a violation."""
    return evidence(told, CONTRACT)


def test_the_contract_holds_for_all_examples() -> None:
    """Frames as the document shows them, and an agent's whole work."""
    told = Told().sent("m-17")
    told.begin("alice", "cancel")
    for name in messages_of(DOCUMENT, "send"):
        if name not in ("welcome", "event", "logged_out"):
            for example in MESSAGES[name]["examples"]:
                told.got(name, **example["payload"])
    told.told("agent_started").told("tool_executing", detail="clickhouse").told("tool_completed", detail="failed")
    told.told("tool_executing", attempt=2).told("tool_completed", attempt=2).told("agent_completed", detail="completed")
    told.told("agent_started", "triage").told("agent_thinking", "triage").told("agent_thinking", "triage", attempt=2)
    told.told("agent_failed", "triage", detail="timed out").told("agent_skipped", "report")
    told.saw("agent_started").saw("tool_executing", attempt=2).saw("agent_skipped", "report")
    told.malformed().wait(2.0).disconnected("alice")
    for name, row in ROWS.items():
        told.observe("observer", name, **SCHEMAS[row]["examples"][0])
    told.observe("observer", "stored_reply", user="alice", seq=1, to="alice-1", text="", status="cancelled", nodes={})
    told.observe("observer", "row", event_id="alice:alice-1", user="alice", message="alice-1")
    assert told.judged().outcome is Outcome.HOLDS


@pytest.mark.parametrize("kind", messages_of(DOCUMENT, "receive"))
def test_what_a_device_sends_is_a_frame_as_well(kind: str) -> None:
    """Examples hold, and nothing that a gateway would have to refuse."""
    for example in MESSAGES[kind]["examples"]:
        told = Told().observe("user:alice", "frame_sent", **example["payload"]).disconnected("alice")
        assert told.judged().outcome is not Outcome.VIOLATED
    told.observe("user:alice", "frame_sent", **MESSAGES[kind]["examples"][0]["payload"], unknown=1)
    assert f"what is no {kind} frame: Additional properties" in violation(told)[0]


def test_a_device_sends_no_frames_of_gateways() -> None:
    told = Told().observe("user:alice", "frame_sent", **MESSAGES["ack"]["examples"][0]["payload"])
    assert "what is no frame that a gateway receives: type='ack'" in violation(told)[0]


def test_of_nothing_nothing_is_known() -> None:
    """Also not of a client that came and went."""
    assert Told(is_welcomed=False).disconnected("alice").judged().outcome is Outcome.UNKNOWN


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
    said, site = violation(Told().got(kind, **fields))
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"type":"ack","id":"m-17","agents":2}', "no ack frame: Additional properties are not allowed"),
        ('{"type":"ack"}', "no ack frame: 'id' is a required property"),
        ('{"type":"hello","token":"..."}', "no frame that a gateway sends: type='hello'"),
        ("[]", "no frame that a gateway sends: type=None"),
        ("{", "no JSON: '{'"),
        (json.dumps(MESSAGES["ack"]["examples"][0]["payload"]), "no frame to its device"),
    ],
)
def test_a_text_that_a_device_cannot_read_is_a_violation(text: str, says: str) -> None:
    """It drops the connection, and would otherwise be seen by nobody."""
    said, site = violation(Told().observe("user:alice", "frame_unreadable", text=text))
    assert said.startswith(f"alice received at 0.100 s what is {says}")
    assert site == "frame"


@pytest.mark.parametrize("kind", [name for name in messages_of(DOCUMENT, "send") if name not in ("welcome", "error")])
def test_a_frame_before_the_welcome_is_a_violation(kind: str) -> None:
    """Also on a later connection."""
    said, site = violation(Told(is_welcomed=False).got(kind))
    assert said == f"alice received {kind} at 0.100 s, which cannot follow nothing"
    assert site == "frame order"
    assert violation(Told().disconnected("alice").got(kind))[1] == "frame order"


def test_a_second_welcome_on_a_connection_is_a_violation() -> None:
    """A device would take it for another session."""
    assert Told().disconnected("alice").welcomed().judged().outcome is Outcome.HOLDS
    said, site = violation(Told().welcomed())
    assert (said, site) == ("alice received welcome at 0.100 s, which cannot follow welcome", "frame order")


@pytest.mark.parametrize("last", ["unauthorised", "expired", "going_away"])
@pytest.mark.parametrize("kind", [*messages_of(DOCUMENT, "send")])
def test_a_frame_after_the_last_error_is_a_violation(last: str, kind: str) -> None:
    """The connection is over."""
    told = Told().sent("m-17").got("error", code=last, id=None)
    assert told.judged().outcome is Outcome.HOLDS
    said, site = violation(told.got(kind, **({"code": "bad_request", "id": None} if kind == "error" else {})))
    assert said.endswith(f"which cannot follow error {last}")
    assert site == "frame order"
    assert told.disconnected("alice").welcomed().judged().outcome is Outcome.VIOLATED


def test_an_error_that_ends_nothing_may_be_followed() -> None:
    """And who is not welcomed may come again."""
    told = Told().got("error", code="bad_request", id=None).sent("m-17").got("ack")
    assert told.judged().outcome is Outcome.HOLDS
    refused = Told(is_welcomed=False).got("error", code="overloaded", id=None).got("error", code="expired", id=None)
    assert refused.welcomed().judged().outcome is Outcome.HOLDS


@pytest.mark.parametrize("kind", ["reply", "event", "ack", "token", "logged_out", "error"])
def test_after_a_log_out_comes_nothing_but_the_end(kind: str) -> None:
    """The session is no more."""
    told = Told().sent("m-17").got("logged_out")
    assert violation(told.got(kind, **({"code": "unavailable", "id": None} if kind == "error" else {})))[1] == (
        "frame order"
    )
    ended = Told().got("logged_out").got("error", code="unauthorised", id=None)
    assert ended.judged().outcome is Outcome.HOLDS


@pytest.mark.parametrize("kind", ["ack", "cancelling", "error"])
def test_an_answer_to_what_was_never_sent_is_a_violation(kind: str) -> None:
    """By this user: another's message is as strange."""
    told = Told().observe("user:bob", "message_sent", message="m-17")
    said, site = violation(told.got(kind, id="m-17"))
    assert said.endswith("for m-17, which they had not sent")
    assert site == "frame id"


def test_answers_are_counted() -> None:
    """One acknowledgement for each time that a message was sent, and one for each cancel."""
    told = Told().sent("m-17").got("ack")
    assert told.judged().outcome is Outcome.HOLDS
    said, site = violation(told.got("ack"))
    assert said == "alice received ack at 0.300 s for m-17 more often than they had asked"
    assert site == "frame twice"
    cancelled = Told().sent("m-17")
    cancelled.begin("alice", "cancel")
    assert cancelled.got("cancelling").judged().outcome is Outcome.HOLDS
    assert violation(cancelled.got("cancelling"))[1] == "frame twice"


def test_an_impossible_workflow_is_refused_under_its_id() -> None:
    """It is malformed, and a message all the same."""
    told = Told()
    told.begin("alice", "send_malformed", text='{"type":"message","id":"m-9","text":"","context":"","workflow":{}}')
    assert told.got("error", code="bad_request", id="m-9").judged().outcome is Outcome.HOLDS


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
    assert violation(Told().malformed().disconnected("alice"))[1] == "malformed"


def test_a_malformed_frame_that_was_never_sent_says_nothing() -> None:
    """The connection was lost before."""
    assert Told().malformed(Kind.FAIL, None).judged().outcome is Outcome.HOLDS


def test_a_malformed_frame_that_is_to_be_sent_while_another_waits_says_nothing() -> None:
    """An answer does not say to which it is, so the second is not sent."""
    told = Told()
    first, second = told.begin("alice", "send_malformed", text=""), told.begin("alice", "send_malformed", text="{}")
    told.record(Kind.INFO, "user:alice", "send_malformed", second)
    told.record(Kind.OK, "user:alice", "send_malformed", first, result="bad_request")
    assert told.judged().outcome is Outcome.HOLDS
    assert violation(told.malformed(Kind.INFO, None))[1] == "malformed"


@pytest.mark.parametrize("name", ["leave", "log_out", "stall"])
def test_what_users_do_themselves_explains_a_missing_answer(name: str) -> None:
    """For a while; what another user does explains nothing, but for a stall, which may hold up others."""
    told = Told()
    told.begin("alice", name)
    assert told.malformed(Kind.INFO, None).judged().outcome is Outcome.HOLDS
    assert violation(told.wait(60.0).malformed(Kind.INFO, None))[1] == "malformed"
    other = Told()
    other.begin("bob", name)
    expected = Outcome.HOLDS if name == "stall" else Outcome.VIOLATED
    assert other.malformed(Kind.INFO, None).judged().outcome is expected


def test_a_fault_before_explains_a_missing_answer() -> None:
    """Half a connection may be left of one that was there before; a fault after it explains nothing."""
    for at in (["gateway-a"], ["redis"], ["gateway-b", "postgres"], ["user:alice", "gateway-a"]):
        before = Told().fault("reset", *at)
        assert before.malformed(Kind.INFO, None).judged().outcome is Outcome.HOLDS
    late = Told().malformed(Kind.INFO, None).wait(2.0).fault("reset", "gateway-a")
    assert violation(late)[1] == "malformed"


def test_a_fault_long_ago_or_elsewhere_explains_no_missing_answer() -> None:
    """A connection that outlived it is as good as any."""
    assert violation(Told().fault("reset", "gateway-a").wait(10.0).malformed(Kind.INFO, None))[1] == "malformed"
    assert violation(Told().fault("crash", "redis").wait(17.0).malformed(Kind.INFO, None))[1] == "malformed"
    # Without Redis no token is refreshed: it ends a connection much later.
    assert Told().fault("crash", "redis").wait(10.0).malformed(Kind.INFO, None).judged().outcome is Outcome.HOLDS
    for at in (["agents"], ["llm"], ["agents", "redis"], ["user:bob", "gateway-a"]):
        assert violation(Told().fault("reset", *at).malformed(Kind.INFO, None))[1] == "malformed"


def row_of(schema: str) -> dict[str, Value]:
    """The row that the document shows."""
    example: dict[str, Value] = SCHEMAS[schema]["examples"][0]
    return example


REQUEST: dict[str, Value] = SCHEMAS["chat_completion_request"]["examples"][0]
CHUNKS: list[Value] = SCHEMAS["chat_completion_chunk"]["examples"]
ROW: dict[str, Value] = SCHEMAS["analytics_row"]["examples"][0]


@pytest.mark.parametrize(
    ("name", "well", "badly"),
    [
        ("stored_message", row_of("message"), {"workflow": {"nobody": []}}),
        ("stored_message", row_of("message"), {"workflow": {}}),
        ("stored_message", row_of("message"), {"state": "done"}),
        ("stored_result", row_of("result"), {"status": "skipped"}),
        ("stored_result", row_of("result"), {"node": "nobody"}),
        ("stored_action", row_of("action"), {"node": "report"}),
        ("stored_action", row_of("action"), {"user": ""}),
        ("stored_user", row_of("user"), {"open": -1}),
        ("stored_user", row_of("user"), {"seq": -1}),
        ("session_key", row_of("session"), {"user": ""}),
        ("session_key", row_of("session"), {"ttl_s": -2}),
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
