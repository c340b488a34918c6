"""Conformance: each kind of message is counted where it was seen, and has what its pact needs."""

import json

from properties.conformance import conformities
from properties.schema import DOCUMENT
from simulator.conformity import Conformity
from tests.properties.made import Made

SCHEMAS = DOCUMENT["components"]["schemas"]


def seen(made: Made) -> dict[tuple[str, str], Conformity]:
    """The account of services' documents, by who is to understand them."""
    return {(each.consumer, each.name): each for each in conformities(made.history) if each.consumer != "device"}


def test_of_what_travels_as_a_text_the_schema_is_that_of_the_text() -> None:
    """A pact would otherwise know of it that it is a text."""
    body = SCHEMAS["reply_body"]["examples"][0]
    found = seen(Made().observe("observer", "stream_entry", stream="replies", user="alice", id="4-0", body=body))
    reply = found["gateway", "reply_body"]
    assert reply.examples == [json.loads(body)]
    assert reply.schema["properties"]["type"]["const"] == "reply"
