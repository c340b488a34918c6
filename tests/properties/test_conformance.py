"""Conformance: each kind of message is counted where it was seen, and has what its pact needs."""

import json

from properties.conformance import conformities
from properties.schema import DOCUMENT
from simulator.conformity import Conformity
from simulator.history import Value
from tests.properties.made import Made

SCHEMAS = DOCUMENT["components"]["schemas"]
ROW: dict[str, Value] = SCHEMAS["analytics_row"]["examples"][0]


def seen(made: Made) -> dict[tuple[str, str], Conformity]:
    """The account of services' documents, by who is to understand them."""
    return {(each.consumer, each.name): each for each in conformities(made.history) if each.consumer != "device"}


def test_a_stored_reply_is_none_that_was_passed_on() -> None:
    """If replies went by one way only, the other would be told of as not seen."""
    found = seen(Made().stored_reply("alice-1"))
    assert found["postgres", "stored_reply"].samples == 1
    assert not found["gateway", "reply_body"].is_shown
    body = SCHEMAS["reply_body"]["examples"][0]
    found = seen(Made().observe("observer", "stream_entry", stream="replies", user="alice", id="4-0", body=body))
    assert found["gateway", "reply_body"].samples == 1
    assert not found["postgres", "stored_reply"].is_shown


def test_a_buffered_row_is_none_that_was_written() -> None:
    """Rows that all end in the buffer are not what ClickHouse was sent."""
    found = seen(Made().observe("agents", "analytics_buffered", **ROW))
    assert found["redis", "buffered_row"].samples == 1
    assert not found["clickhouse", "analytics_row"].is_shown
    found = seen(Made().observe("agents", "analytics_written", **ROW, path="direct"))
    assert found["clickhouse", "analytics_row"].samples == 1


def test_of_what_travels_as_a_text_the_schema_is_that_of_the_text() -> None:
    """A pact would otherwise know of it that it is a text."""
    body = SCHEMAS["reply_body"]["examples"][0]
    found = seen(Made().observe("observer", "stream_entry", stream="replies", user="alice", id="4-0", body=body))
    reply = found["gateway", "reply_body"]
    assert reply.examples == [json.loads(body)]
    assert reply.schema["properties"]["type"]["const"] == "reply"
