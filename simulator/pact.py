"""Pacts: what consumers rely on, as message files of the Pact specification, version 4 (docs.pact.io).

Whatever conforms to its schema keeps its pact. Pact's example demands everything that is in it, so only that is in it
of which the schema says that it is always there, and what it is. Not stated: lengths, bounds, fields that may be
absent, objects and lists that may be null, and names with an apostrophe, which have no path.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

from simulator.conformity import Conformity

__all__ = ["pact_of", "pacts_of"]

Schema: TypeAlias = Mapping[str, Any]

JSON = "application/json"
ANYTHING = r"[\s\S]*"


def pacts_of(conformities: Iterable[Conformity]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the pact of each consumer with each provider of whose messages there is an example, by their names."""
    between: dict[tuple[str, str], list[Conformity]] = {}
    for each in conformities:
        if each.examples and not each.complaint:
            between.setdefault((each.consumer, each.provider), []).append(each)
    return {parties: pact_of(*parties, found) for parties, found in between.items()}


def pact_of(consumer: str, provider: str, conformities: Iterable[Conformity]) -> dict[str, Any]:
    """Return a pact: per kind of message an example, and by which rules others match it."""
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": [_interaction(each) for each in conformities],
        "metadata": {"pactSpecification": {"version": "4.0"}, "wavetank": {"version": version("wavetank")}},
    }


def _interaction(conformity: Conformity) -> dict[str, Any]:
    schema = conformity.schema
    # The first of those about which most can be said: of an empty list nothing can.
    demanded = (_demanded(schema, each) for each in conformity.examples)
    example = max(demanded, key=lambda each: len(dict(_rules(schema, each, "$"))))
    return {
        "type": "Asynchronous/Messages",
        "description": f"a {conformity.name} message",
        "key": conformity.name,
        "pending": False,
        "contents": {"content": example, "contentType": JSON, "encoded": False},
        "matchingRules": {"body": dict(_rules(schema, example, "$"))},
        "metadata": {"contentType": JSON},
    }


def _demanded(schema: Schema, example: Any) -> Any:
    """Return the part of an example that may be demanded of every message."""
    if "const" in schema:
        return example
    if isinstance(example, Mapping):
        fields = [(name, _field(schema, name), value) for name, value in example.items() if "'" not in name]
        return {name: _demanded(each, value) for name, each, value in fields if _has_rule(each, value)}
    if isinstance(example, list):
        items = _part(schema, "items")
        return [_demanded(items, each) for each in example if _has_rule(items, each)]
    return example


def _rules(schema: Schema, example: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield how each value of an example may differ, as its schema says."""
    matchers = _matchers(schema)
    if matchers and _may_be_null(schema):
        yield path, {"combine": "OR", "matchers": [{"match": "null"}, *matchers]}
    elif matchers:
        yield path, {"combine": "AND", "matchers": matchers}
    if "const" in schema:
        return
    if isinstance(example, Mapping):
        for name, value in example.items():
            yield from _rules(_field(schema, name), value, f"{path}{'.*' if _is_map(schema) else _key(name)}")
    elif isinstance(example, list):
        for each in example:
            yield from _rules(_part(schema, "items"), each, f"{path}[*]")


def _matchers(schema: Schema) -> list[dict[str, Any]]:
    match _kind(schema):
        case "const":
            return [{"match": "equality"}]
        case "enum":
            texts = [re.escape(each) for each in schema["enum"] if each is not None]
            return [{"match": "regex", "regex": f"^({'|'.join(texts)})$"}]
        case "boolean" | "integer" | "number" as kind:
            return [{"match": kind}]
        case "string":
            pattern = schema.get("pattern")
            return [{"match": "type"} if pattern is None else {"match": "regex", "regex": _whole(pattern)}]
        case "array":
            most = {"max": schema["maxItems"]} if "maxItems" in schema else {}
            return [{"match": "type", "min": schema.get("minItems", 0), **most}]
        case "object" if _is_map(schema):
            names = _matchers({**_part(schema, "propertyNames"), "type": "string"})
            keys = [{"match": "eachKey", "rules": names}] if names[0]["match"] == "regex" else []
            return [*keys, {"match": "values"}]
        case _:
            return []


def _kind(schema: Schema) -> str | None:
    """Return what a value is when it is not null, or None where the schema does not say so by itself."""
    if "const" in schema:
        return "const"
    if all(isinstance(each, str | None) for each in schema.get("enum", [0])):
        return "enum"
    kinds = [each for each in _types(schema) if each != "null"]
    return kinds[0] if len(kinds) == 1 else None


def _types(schema: Schema) -> Sequence[str]:
    types = schema.get("type", ())
    return [types] if isinstance(types, str) else types


def _may_be_null(schema: Schema) -> bool:
    return "null" in _types(schema) or None in schema.get("enum", ())


def _has_rule(schema: Schema, value: Any) -> bool:
    """Return whether Pact has a rule that a value keeps if its schema allows it; null stands for no other value."""
    if "const" in schema:
        return True
    kind = _kind(schema)
    return kind is not None and value is not None and not (kind in ("object", "array") and _may_be_null(schema))


def _is_map(schema: Schema) -> bool:
    """Return whether it is an object whose fields may have any names."""
    is_open = isinstance(schema.get("additionalProperties"), Mapping) and not schema.get("properties")
    return is_open and _kind(schema) == "object"


def _field(schema: Schema, name: str) -> Schema:
    """Return the schema of a field, which says nothing of one that may be absent."""
    if _is_map(schema):
        return _part(schema, "additionalProperties")
    return _part(schema.get("properties", {}), name) if name in schema.get("required", ()) else {}


def _part(schema: Schema, name: str) -> Schema:
    """Return a schema within a schema, which says nothing where there is none."""
    part = schema.get(name)
    return part if isinstance(part, Mapping) else {}


def _whole(pattern: str) -> str:
    """Return a pattern as Pact takes it: of the whole of a text, where JSON Schema looks for it anywhere."""
    return f"{ANYTHING}(?:{pattern}){ANYTHING}"


def _key(name: str) -> str:
    return f".{name}" if name.isascii() and name.isidentifier() else f"['{name}']"
