"""The protocol's public description (asyncapi.json), and its schemas, compiled to be quick."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any, TypeAlias

from jsonschema import Draft7Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT7

from simulator.errors import InputError
from simulator.history import Value

__all__ = ["DOCUMENT", "Json", "Schema", "check_document", "load_document", "messages_of", "resolve"]

Json: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Any], bool]

URI = "urn:wavetank:asyncapi"
COMPLAINT_LENGTH_MAX = 160

FORMATS = FormatChecker()
_KEYWORDS = Draft7Validator.META_SCHEMA["properties"]
_CHECKED = Draft7Validator(
    {
        **Draft7Validator.META_SCHEMA,
        "$id": "urn:wavetank:checked",
        "properties": {
            **{name: each for name, each in _KEYWORDS.items() if name != "contentEncoding"},
            "format": {"enum": sorted(FORMATS.checkers)},
            "items": {"$ref": "#"},
        },
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
        # Beside a reference Draft 7 reads nothing, and into a text only x-content looks.
        "dependencies": {
            "$ref": {"propertyNames": {"enum": ["$ref", "title", "description"]}},
            "contentMediaType": ["x-content"],
        },
    }
)
"""What Draft 7 says of schemas, less what it lets pass and nothing here would check."""


def load_document() -> Json:
    """Return the AsyncAPI document of the protocol. Raises InputError as `check_document` does."""
    document: Json = json.loads((resources.files("properties") / "asyncapi.json").read_text(encoding="utf-8"))
    check_document(document)
    return document


def check_document(document: Json) -> None:
    """Raise InputError if a schema of the document says what nothing would hold messages to."""
    for where, schema in _schemas_in(document):
        error = next(_CHECKED.iter_errors(schema), None)
        if error is not None:
            place = ".".join([where, *map(str, error.absolute_path)])
            raise InputError(
                f"asyncapi.json: nothing would check this of the schema {place}: "
                f"{error.message[:COMPLAINT_LENGTH_MAX]}. Use keywords of JSON Schema's Draft 7 and the formats "
                f"{', '.join(sorted(FORMATS.checkers))}, or a name that begins with x- for a remark."
            )


def _schemas_in(document: Json) -> Iterator[tuple[str, Json]]:
    for name, message in document["components"]["messages"].items():
        yield f"{name}.payload", message["payload"]
    yield from document["components"]["schemas"].items()


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
        self._library = Draft7Validator({"$ref": URI + pointer}, registry=registry, format_checker=FORMATS)

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

DOCUMENT = load_document()
