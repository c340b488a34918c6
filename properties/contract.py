"""Contract: what is sent and stored is as the protocol's public description (asyncapi.json) says, and in that order.

Read from the document, not restated here: the schemas of frames and of what services say to each other, and the order
of an agent's events.
Not judged: events that were lost, and whether what a reply says is right.
"""

import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any, TypeAlias

import attrs
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from properties.latency import LATENCY_S_MAX, latency_s_of
from properties.storm import ends_life
from simulator.history import Event, Kind, Operation, Reading, Value
from simulator.property import Expectation, Property, Violation

__all__ = ["CONTRACT", "Schema", "load_document", "messages_of", "resolve"]

Json: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Any], bool]

URI = "urn:wavetank:asyncapi"
COMPLAINT_LENGTH_MAX = 160
UNSETTLED_S = 15.0
"""How long after a log-out or a stall a connection may still end because of it: the life of a token and some."""
STAYS_OPEN_S = 1.0
"""For how long after a refusal the connection is watched."""


# The document


def load_document() -> Json:
    """Return the AsyncAPI document of the protocol."""
    document: Json = json.loads((resources.files("properties") / "asyncapi.json").read_text(encoding="utf-8"))
    return document


def resolve(document: Json, pointer: str) -> Json:
    """Return what a `$ref` within the document points at."""
    found = document
    for part in pointer.removeprefix("#/").split("/"):
        found = found[part]
    return found


def messages_of(document: Json, action: str) -> list[str]:
    """Return the names of the messages that the gateway is to `receive`, or to `send`, replies to others included."""
    operations = document["operations"].values()
    used = [each["messages"] for each in operations if each["action"] == action]
    if action == "send":
        used += [each["reply"]["messages"] for each in operations if "reply" in each]
    return list(dict.fromkeys(each["$ref"].rpartition("/")[2] for messages in used for each in messages))


class Schema:
    """One schema of the document, compiled: a quick test, and the library for whatever does not pass it."""

    def __init__(self, document: Json, pointer: str) -> None:
        self.is_surely_valid = _quick_test(document, resolve(document, pointer))
        """The quick test. What does not pass it may be valid all the same."""
        registry: Registry[Any] = Registry().with_resource(URI, DRAFT7.create_resource(document))
        self._library = Draft7Validator({"$ref": URI + pointer}, registry=registry)

    def complaint(self, value: Value) -> str | None:
        """Return what is wrong with a value, or None for a valid one."""
        if self.is_surely_valid(value):
            return None
        error = next(self._library.iter_errors(value), None)
        if error is None:
            return None
        where = ".".join(map(str, error.absolute_path))
        return f"{error.message[:COMPLAINT_LENGTH_MAX]}{' at ' if where else ''}{where}"


# The quick test of a schema is tens of times faster than the library, and runs have hundreds of frames. It knows a few
# keywords; of a schema with any other it is never sure.


def _quick_test(document: Json, schema: Json) -> Test:
    """Return a test that says yes only to what is valid."""
    if "$ref" in schema:
        return _quick_test(document, resolve(document, schema["$ref"]))
    kind = next((each for each in ("const", "enum") if each in schema), schema.get("type"))
    if isinstance(kind, list):
        tests = [_quick_test(document, {**schema, "type": each}) for each in kind]
        return lambda value: any(test(value) for test in tests)
    keywords, make = _QUICK.get(str(kind), ((), _never))
    if any(each not in keywords and each not in _SILENT for each in schema):
        make = _never
    return make(document, schema)


def _never(_document: Json, _schema: Json) -> Test:
    return lambda _value: False


def _choice_test(_document: Json, schema: Json) -> Test:
    allowed = schema["enum"] if "enum" in schema else [schema["const"]]
    # Texts only: Python takes 1, 1.0 and True for the same, and JSON does not.
    return lambda value: type(value) is str and value in allowed


def _string_test(_document: Json, schema: Json) -> Test:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    search = re.compile(schema.get("pattern", "")).search
    return lambda value: type(value) is str and shortest <= len(value) <= longest and search(value) is not None


def _integer_test(_document: Json, schema: Json) -> Test:
    low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
    return lambda value: type(value) is int and low <= value <= high


def _array_test(document: Json, schema: Json) -> Test:
    is_item = _quick_test(document, schema["items"])
    return lambda value: type(value) is list and all(map(is_item, value))


def _object_test(document: Json, schema: Json) -> Test:
    others = schema.get("additionalProperties", True)
    is_other: Test = (lambda _value: others) if isinstance(others, bool) else _quick_test(document, others)
    is_name: Test = _quick_test(document, schema["propertyNames"]) if "propertyNames" in schema else lambda _name: True
    fields = {name: _quick_test(document, each) for name, each in schema.get("properties", {}).items()}
    required = schema.get("required", ())
    fewest, most = schema.get("minProperties", 0), schema.get("maxProperties", float("inf"))

    def test(value: Any) -> bool:
        if type(value) is not dict or not fewest <= len(value) <= most or not all(map(value.__contains__, required)):
            return False
        return all(fields.get(name, is_other)(each) and is_name(name) for name, each in value.items())

    return test


_OF_OBJECTS = (
    "type",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
)
_SILENT = ("title", "description", "default", "examples")
_QUICK: Mapping[str, tuple[tuple[str, ...], Callable[[Json, Json], Test]]] = {
    "const": (("const",), _choice_test),
    "enum": (("enum",), _choice_test),
    "string": (("type", "pattern", "minLength", "maxLength"), _string_test),
    "integer": (("type", "minimum", "maximum"), _integer_test),
    "null": (("type",), lambda _document, _schema: lambda value: value is None),
    "array": (("type", "items"), _array_test),
    "object": (_OF_OBJECTS, _object_test),
}

_DOCUMENT = load_document()
_FRAMES = {name: Schema(_DOCUMENT, f"#/components/messages/{name}/payload") for name in messages_of(_DOCUMENT, "send")}
_SERVICES = {
    # What travels as a text is described by the document that the text is.
    name: Schema(_DOCUMENT, schema["x-content"]["$ref"] if "x-content" in schema else f"#/components/schemas/{name}")
    for name, schema in resolve(_DOCUMENT, "#/components/schemas").items()
}
_INITIAL: str = _DOCUMENT["x-order"]["initial"]
_STATES: Mapping[str, Mapping[str, str]] = _DOCUMENT["x-order"]["states"]
_ATTEMPTS: Mapping[str, str] = _DOCUMENT["x-order"]["attempts"]


# What arrived


def _frames(history: Reading) -> Violation | None:
    """Look at every frame that a user received, also on connections that were made to trespass."""
    for event in history.observed("frame", "trespassed"):
        complaint = _of_frame(event.data["frame"] if event.name == "trespassed" else dict(event.data))
        if complaint is not None:
            return Violation(f"{_user(event)} received at {event.at_s:.3f} s what is {complaint}", site="frame")
    return None


def _of_frame(frame: Value) -> str | None:
    kind = frame.get("type") if isinstance(frame, dict) else None
    if not isinstance(kind, str) or kind not in _FRAMES:
        return f"no frame that a gateway sends: type={kind!r}"
    complaint = _FRAMES[kind].complaint(frame)
    return None if complaint is None else f"no {kind} frame: {complaint}"


# What agents tell


@attrs.define
class _Agent:
    """How far an agent of a message is, by what it told in one life (0, 1, 2, ...) of its host."""

    life: int = 0
    state: str = _INITIAL
    last: str = "nothing"
    attempt: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)

    def follow(self, event: Event) -> Violation | None:
        """Take the next event."""
        name, attempt = str(event.data["name"]), event.data["attempt"]
        if name not in _STATES[self.state]:
            return Violation(f"{_told(event)}, which cannot follow {self.last}", site="order")
        if not isinstance(attempt, int) or attempt not in self._attempts(name):
            return Violation(f"{_told(event)} as attempt {attempt} after attempt {self.attempt}", site="attempt")
        self.state, self.last, self.attempt = _STATES[self.state][name], name, attempt
        self.counts[name] = attempt
        return None

    def _attempts(self, name: str) -> tuple[int, ...]:
        match _ATTEMPTS[name]:
            case "counted":
                return (1, self.counts[name] + 1)
            case "same":
                return (self.attempt,)
            case _:
                return (1,)


def _order(history: Reading) -> Violation | None:
    """Follow every agent of every message through its events."""
    history.observed("agent_event")
    lives: Counter[str] = Counter()
    agents: defaultdict[tuple[Value, ...], _Agent] = defaultdict(_Agent)
    for event in history.events:
        if _is_end_of_process(event):
            lives[event.host] += 1
        elif event.name == "agent_event":
            key = (event.data["user"], event.data["message"], event.data["node"])
            if agents[key].life < lives[event.host] and event.data["name"] in _STATES[_INITIAL]:
                # It may begin anew, and need not: a host that is told to end finishes what it can.
                agents[key] = _Agent(lives[event.host])
            violation = agents[key].follow(event)
            if violation is not None:
                return violation
    return None


def _told(event: Event) -> str:
    data = event.data
    return f"{event.host} told {data['name']} of {data['node']} for {data['message']} at {event.at_s:.3f} s"


# What users see of it


class _Told:
    """What agents told for one user, to be compared with what arrives."""

    def __init__(self) -> None:
        self._told: list[Event] = []
        self._left: defaultdict[tuple[Value, ...], list[int]] = defaultdict(list)
        self._last = -1
        self._last_id = (-1, -1)

    def add(self, event: Event) -> None:
        """Take what an agent told."""
        data = event.data
        key = (data["message"], data["node"], data["name"], data["attempt"], data["detail"])
        self._left[key].append(len(self._told))
        self._told.append(event)

    def see(self, frame: Event, upsets_s: list[float]) -> Violation | None:
        """Take what arrived. What was under way at an upset may arrive late."""
        data = frame.data
        key = (data["to"], data["node"], data["event"], data["attempt"], data.get("detail", ""))
        seen = f"{_user(frame)} saw {data['event']} of {data['node']} for {data['to']} at {frame.at_s:.3f} s"
        major, _, minor = str(data["id"]).partition("-")
        if (int(major), int(minor)) <= self._last_id:
            return Violation(f"{seen} as {data['id']}, which is not greater than the id before", site="event id")
        self._last_id = (int(major), int(minor))
        if key not in self._left:
            return Violation(f"{seen}, and no agent told so", site="event")
        left = self._left[key]
        if not left:
            return Violation(f"{seen} more often than agents told so", site="event twice")
        place = bisect_right(left, self._last)
        if place < len(left):
            self._last = left.pop(place)
            return None
        told = self._told[left.pop(0)]
        if any(told.at_s <= upset_s <= frame.at_s for upset_s in upsets_s):
            return None
        return Violation(f"{seen} after what agents told later than that", site="event order")


def _events(history: Reading) -> Violation | None:
    """Compare what each user saw of their agents with what these told: some may be missing, and nothing else."""
    told: defaultdict[str, _Told] = defaultdict(_Told)
    for event in history.observed("agent_event"):
        told[str(event.data["user"])].add(event)
    # An event is passed on once. If that was given up half-way, it may happen later, by what was still on its way.
    upsets_s = [each.at_s for each in history.events if each.name == "events_dropped" or _is_end_of_process(each)]
    for frame in history.observed("frame"):
        if frame.data["type"] == "event":
            violation = told[_user(frame)].see(frame, upsets_s)
            if violation is not None:
                return violation
    return None


# What is malformed


def _malformed(history: Reading) -> Violation | None:
    """Look how what is no frame was answered, and whether the connection stayed open."""
    lost = [each for each in history.events if each.name == "client_state" and each.data["state"] == "disconnected"]
    answered: dict[str, float] = defaultdict(float)  # per user, the event at which the last one was answered
    for sent in history.operations("send_malformed"):
        end, waited = sent.completed, sent.invoked.index < answered[sent.user]
        answered[sent.user] = max(answered[sent.user], end.index if end is not None else float("inf"))
        # An answer does not say to which frame it is, so a device sends one at a time, and no second one meanwhile.
        if end is None or sent.failed or waited or _is_explained(history, sent.user, until_s=end.at_s + STAYS_OPEN_S):
            continue
        said = f"{sent.user} sent {str(sent.arguments.get('text'))[:40]!r} at {sent.invoked.at_s:.3f} s"
        if not sent.result and latency_s_of(history) > LATENCY_S_MAX:
            continue  # behind messages that are stored one after another it may wait for longer than its device does
        if sent.result != "bad_request":
            answer = f"{sent.result!r}" if sent.result else "no answer"
            return Violation(f"{said} and got {answer} instead of 'bad_request'", site="malformed")
        if any(_is_closed_by(event, sent) for event in lost):
            return Violation(f"{said}, was refused, and lost the connection with it", site="malformed")
    return None


def _is_closed_by(lost: Event, sent: Operation) -> bool:
    assert sent.completed is not None
    is_near = sent.invoked.at_s <= lost.at_s <= sent.completed.at_s + STAYS_OPEN_S
    return is_near and lost.host == sent.invoked.host


def _is_explained(history: Reading, user: str, *, until_s: float) -> bool:
    """Whether something else may have ended a user's connection, or held up what comes on it."""
    for event in history.events:
        if event.at_s > until_s:
            continue
        if event.kind is Kind.FAULT:
            return True
        if event.kind is Kind.INVOKE and event.at_s >= until_s - UNSETTLED_S:
            by_themselves = event.name in ("leave", "log_out") and _user(event) == user
            if by_themselves or event.name == "stall":
                return True
    return False


# What services say to each other, and what is stored


def _of_services(history: Reading) -> Violation | None:
    """Look at what the platform exchanged with the LLM, ClickHouse and Redis, and at what the stores held at the end."""
    for event in history.observed(*_WORDED):
        for schema, document in _WORDED[event.name](event.data):
            complaint = _SERVICES[schema].complaint(document)
            if complaint is not None:
                return Violation(f"{event.name} at {event.at_s:.3f} s tells of no {schema}: {complaint}", site=event.name)
    return None


def _llm(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    request, response = data["request"], data["response"]
    yield "chat_completion_request", request
    is_streamed = isinstance(request, dict) and request.get("stream")
    for document in response if isinstance(response, list) else ():
        yield "chat_completion_chunk" if is_streamed else "chat_completion", document


def _written(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    yield "analytics_row", {name: value for name, value in data.items() if name != "path"}


def _buffered(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    yield "buffered_row", _decoded(data["body"])


def _entry(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    yield "reply_body" if data["stream"] == "replies" else "event_body", _decoded(data["body"])


def _message(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    yield "workflow", data["workflow"]


def _reply(data: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    yield "reply_body", {"type": "reply", **{name: value for name, value in data.items() if name != "user"}}


def _decoded(body: Value) -> Value:
    """Return the JSON document that a text is; a text that is none is judged as it is."""
    try:
        document: Value = json.loads(str(body))
    except ValueError:
        return body
    return document


_WORDED: Mapping[str, Callable[[Mapping[str, Value]], Iterator[tuple[str, Value]]]] = {
    "llm_exchanged": _llm,
    "analytics_written": _written,
    "analytics_buffered": _written,
    "buffered_row": _buffered,
    "stream_entry": _entry,
    "stored_message": _message,
    "stored_reply": _reply,
}
"""Of each observation, the documents that it tells of, each with the name of its schema."""


def _user(event: Event) -> str:
    return event.host.removeprefix("user:")


def _is_end_of_process(event: Event) -> bool:
    return event.kind is Kind.FAULT and ends_life(event)


def check_contract(history: Reading) -> Violation | None:
    """Compare everything that was sent or stored with the document."""
    for check in (_frames, _order, _events, _malformed, _of_services):
        violation = check(history)
        if violation is not None:
            return violation
    return None


CONTRACT = Property(
    "contract",
    Expectation.ALWAYS,
    check_contract,
    "frames and rows are as the protocol's document says, events in their order, and what is malformed is refused",
)
