"""Pacts: what consumers rely on, as message files of the Pact specification, version 4 (docs.pact.io)."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from simulator.conformity import Conformity

__all__ = ["pact_of", "pacts_of"]

JSON = "application/json"
ANYTHING = r"[\s\S]*"


def pacts_of(conformities: Iterable[Conformity]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the pact of each consumer with each provider of whose messages there is an example, by their names."""
    between: dict[tuple[str, str], list[Conformity]] = {}
    for each in conformities:
        if each.example is not None and not each.complaint:
            between.setdefault((each.consumer, each.provider), []).append(each)
    return {parties: pact_of(*parties, found) for parties, found in between.items()}


def pact_of(consumer: str, provider: str, conformities: Iterable[Conformity]) -> dict[str, Any]:
    """Return a pact: per kind of message an example, and by which rules others match it."""
    return {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": [
            {
                "type": "Asynchronous/Messages",
                "description": f"a {each.name} message",
                "key": each.name,
                "pending": False,
                "contents": {"content": each.example, "contentType": JSON, "encoded": False},
                "matchingRules": {"body": dict(_rules(each.schema, each.example, "$"))},
                "metadata": {"contentType": JSON},
            }
            for each in conformities
        ],
        "metadata": {"pactSpecification": {"version": "4.0"}, "wavetank": {"version": version("wavetank")}},
    }


def _rules(schema: Mapping[str, Any], example: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield how each value of an example may differ, as its schema says."""
    matcher = _matcher(schema, example)
    if matcher is not None and path != "$":
        yield path, {"combine": "AND", "matchers": [matcher]}
    if isinstance(example, Mapping):
        others = schema.get("additionalProperties")
        for name, value in example.items():
            known = schema.get("properties", {}).get(name, others if isinstance(others, Mapping) else {})
            yield from _rules(known, value, f"{path}{_key(name)}")
    elif isinstance(example, list) and example:
        yield from _rules(schema.get("items", {}), example[0], f"{path}[*]")


def _matcher(schema: Mapping[str, Any], example: Any) -> dict[str, Any] | None:
    if "const" in schema:
        return {"match": "equality"}
    if "enum" in schema and all(isinstance(each, str) for each in schema["enum"]):
        return {"match": "regex", "regex": f"^({'|'.join(schema['enum'])})$"}
    match example:
        case bool():
            return {"match": "boolean"}
        case int():
            return {"match": "integer"}
        case float():
            return {"match": "number"}
        case str():
            return {"match": "regex", "regex": _whole(schema["pattern"])} if "pattern" in schema else {"match": "type"}
        case list():
            return {"match": "type", "min": schema.get("minItems", 0)}
        case None:
            return {"match": "null"}
        case _:
            return None


def _whole(pattern: str) -> str:
    """Return a pattern as Pact takes it: of the whole of a text, where JSON Schema looks for it anywhere."""
    return f"{ANYTHING}(?:{pattern}){ANYTHING}"


def _key(name: str) -> str:
    return f".{name}" if name.replace("_", "").isalnum() else f"['{name}']"
