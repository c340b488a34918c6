"""What services say to each other, and what is stored: each document as the contract's schema describes it."""

import json
from collections.abc import Callable, Iterator, Mapping

from properties.schema import DOCUMENT, Schema, resolve
from simulator.history import Event, Reading, Value
from simulator.property import Violation

__all__ = ["check_services", "complaint_of", "documents_in", "place_of"]

Documents = Iterator[tuple[str, Value]]
"""The documents that an observation tells of, each with the name of its schema."""


def check_services(history: Reading) -> Iterator[Violation]:
    """Look at what was exchanged with the LLM, ClickHouse and Redis, and at what the stores held at the end."""
    for event, schema, document in documents_in(history):
        complaint = complaint_of(schema, document)
        if complaint is not None:
            yield Violation(f"{event.name} at {event.at_s:.3f} s tells of no {schema}: {complaint}", site=event.name)


def documents_in(history: Reading) -> Iterator[tuple[Event, str, Value]]:
    """Yield every document that was exchanged or stored: what tells of it, the name of its schema, and itself."""
    for event in history.observed(*_WORDED):
        for schema, document in _WORDED[event.name](event.data):
            yield event, schema, document


def place_of(schema: str) -> str:
    """Return where a document's schema is. What travels as a text is described by the document that the text is."""
    place = f"#/components/schemas/{schema}"
    content: Mapping[str, str] = resolve(DOCUMENT, place).get("x-content", {})
    return content.get("$ref", place)


def complaint_of(schema: str, document: Value) -> str | None:
    """Return what is wrong with a document, or None."""
    return _SCHEMAS[schema].complaint(document)


def _llm(data: Mapping[str, Value]) -> Documents:
    request, response = data["request"], data["response"]
    yield "chat_completion_request", request
    is_streamed = isinstance(request, dict) and request.get("stream")
    for document in response if isinstance(response, list) else ():
        yield "chat_completion_chunk" if is_streamed else "chat_completion", document


def _written(data: Mapping[str, Value]) -> Documents:
    yield "analytics_row", {name: value for name, value in data.items() if name != "path"}


def _buffered(data: Mapping[str, Value]) -> Documents:
    yield "buffered_row", _decoded(data["body"])


def _entry(data: Mapping[str, Value]) -> Documents:
    yield "reply_body" if data["stream"] == "replies" else "event_body", _decoded(data["body"])


def _row_of(schema: str) -> Callable[[Mapping[str, Value]], Documents]:
    """Return a reading of observations that are themselves rows of a table."""

    def row(data: Mapping[str, Value]) -> Documents:
        yield schema, dict(data)

    return row


def _decoded(body: Value) -> Value:
    """Return the JSON document that a text is; a text that is none is judged as it is."""
    try:
        document: Value = json.loads(str(body))
    except ValueError:
        return body
    return document


_WORDED: Mapping[str, Callable[[Mapping[str, Value]], Documents]] = {
    "llm_exchanged": _llm,
    "analytics_written": _written,
    "analytics_buffered": _row_of("buffered_row"),
    "buffered_row": _buffered,
    "stream_entry": _entry,
    "session_key": _row_of("session"),
    "stored_user": _row_of("user"),
    "stored_message": _row_of("message"),
    "stored_result": _row_of("result"),
    "stored_action": _row_of("action"),
    "stored_reply": _row_of("stored_reply"),
}
"""Of each observation, how the documents in it are found."""

_SCHEMAS = {name: Schema(DOCUMENT, place_of(name)) for name in resolve(DOCUMENT, "#/components/schemas")}
