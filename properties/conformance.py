"""Conformance: how often each kind of message of the protocol was seen, and whether all of them conform."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from properties.frames import frame_complaint
from properties.schema import DOCUMENT, Json, messages_of, resolve
from properties.services import complaint_of, documents_in, place_of
from simulator.conformity import Conformity
from simulator.history import History, Reading, Value

__all__ = ["conformities"]

PARTIES: Mapping[str, tuple[str, str]] = {
    "chat_completion_request": ("agents", "llm"),
    "chat_completion": ("llm", "agents"),
    "chat_completion_chunk": ("llm", "agents"),
    "analytics_row": ("agents", "clickhouse"),
    "buffered_row": ("agents", "redis"),
    "reply_body": ("agents", "gateway"),
    "event_body": ("agents", "gateway"),
    "session": ("gateway", "redis"),
    "user": ("gateway", "postgres"),
    "message": ("gateway", "postgres"),
    "result": ("agents", "postgres"),
    "action": ("agents", "postgres"),
    "stored_reply": ("agents", "postgres"),
}
"""Who writes which documents, and who is to understand them."""
SELDOM: Mapping[str, str] = {
    "buffered_row": "only while ClickHouse is away",
    "chat_completion": "only of requests that are not streamed",
}
GATEWAY, DEVICE = "gateway", "device"
_BESIDE = ("trespassed", "answered_beside")
"""Observations of which a frame is a part."""


def conformities(history: History) -> Iterator[Conformity]:
    """Yield a history's account of every frame, and of every document between services."""
    reading = Reading(history)
    yield from _of_frames(reading, GATEWAY, DEVICE, "send", ("frame", "frame_unreadable", *_BESIDE))
    yield from _of_frames(reading, DEVICE, GATEWAY, "receive", ("frame_sent",))
    yield from _of_documents(reading)


def _of_frames(
    reading: Reading, provider: str, consumer: str, action: str, observed: Sequence[str]
) -> Iterator[Conformity]:
    """Yield the kinds that a gateway sends, or receives (`action`), by what is observed of them."""
    seen: dict[str, int] = {}
    complaints: dict[str, str] = {}
    for event in reading.observed(*observed):
        frame = event.data.get("frame") if event.name in _BESIDE else event.data
        kind = str(frame.get("type")) if isinstance(frame, Mapping) else "unreadable"
        seen[kind] = seen.get(kind, 0) + 1
        complaint = frame_complaint(event)
        if complaint is not None:
            complaints.setdefault(kind, f"at {event.at_s:.3f} s: {complaint}")
    described = messages_of(DOCUMENT, action)
    for name in [*described, *(kind for kind in seen if kind not in described)]:
        message = DOCUMENT["components"]["messages"].get(name, {})
        schema = _plain(DOCUMENT, message["payload"]) if message else {}
        examples = [each["payload"] for each in message.get("examples", ())]
        yield Conformity(provider, consumer, name, seen.get(name, 0), complaints.get(name, ""), examples, schema)


def _of_documents(reading: Reading) -> Iterator[Conformity]:
    seen: dict[str, int] = {}
    complaints: dict[str, str] = {}
    examples: dict[str, list[Value]] = {}
    for event, name, document in documents_in(reading):
        seen[name] = seen.get(name, 0) + 1
        complaint = complaint_of(name, document)
        if complaint is None:
            examples.setdefault(name, []).append(document)
        else:
            complaints.setdefault(name, f"{event.name} at {event.at_s:.3f} s: {complaint}")
    for name, (provider, consumer) in PARTIES.items():
        yield Conformity(
            provider,
            consumer,
            name,
            seen.get(name, 0),
            complaints.get(name, ""),
            examples.get(name, ()),
            _plain(DOCUMENT, resolve(DOCUMENT, place_of(name))),
            SELDOM.get(name, ""),
        )


def _plain(document: Json, schema: Any) -> Any:
    """Return a schema with what its references point at in their place."""
    if isinstance(schema, list):
        return [_plain(document, each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return _plain(document, resolve(document, schema["$ref"]))
    return {key: _plain(document, value) for key, value in schema.items()}
