"""What OpenAI answers, as JSON Schemas of its reference; and requests, each with the status and shape of its reply."""

import attrs

__all__ = ["CASES", "CHUNK", "ERROR", "HI", "Case", "Json"]

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
Json = dict[str, object]


def closed(properties: Json, **more: object) -> Json:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }


def one_of(item: Json) -> Json:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": 1}


COMPLETION = closed(
    {
        "id": {"type": "string", "pattern": "^chatcmpl-"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer", "minimum": 1_000_000_000},
        "model": TEXT,
        "choices": one_of(
            closed(
                {
                    "index": {"const": 0},
                    "message": closed({"role": {"const": "assistant"}, "content": TEXT}),
                    "logprobs": {"type": "null"},
                    "finish_reason": {"const": "stop"},
                }
            )
        ),
        "usage": closed({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}),
    }
)
CHUNK = closed(
    {
        "id": {"type": "string", "pattern": "^chatcmpl-"},
        "object": {"const": "chat.completion.chunk"},
        "created": {"type": "integer", "minimum": 1_000_000_000},
        "model": TEXT,
        "choices": one_of(
            closed(
                {
                    "index": {"const": 0},
                    "delta": {
                        "type": "object",
                        "properties": {"role": {"const": "assistant"}, "content": TEXT},
                        "additionalProperties": False,
                    },
                    "logprobs": {"type": "null"},
                    "finish_reason": {"enum": [None, "stop"]},
                }
            )
        ),
    }
)
ERROR = closed(
    {
        "error": closed(
            {
                "message": {"type": "string", "minLength": 1},
                "type": {"enum": ["invalid_request_error", "requests", "server_error"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            }
        )
    }
)
MODELS = closed(
    {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "minItems": 1,
            "items": closed({"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT}),
        },
    }
)


@attrs.frozen
class Case:
    """A request, and what the reply must be: its status, its schema, and some fields of an error."""

    name: str
    body: object
    status: int
    schema: Json = ERROR
    method: str = "POST"
    path: str = "/v1/chat/completions"
    error: Json = attrs.field(factory=dict)


HI = [{"role": "user", "content": "hi"}]
CASES = [
    Case("a completion", {"model": "m", "messages": HI}, 200, COMPLETION),
    Case("for a user", {"model": "m", "messages": HI, "user": "alice", "stream": False}, 200, COMPLETION),
    Case("the models", None, 200, MODELS, "GET", "/v1/models"),
    Case("no model", {"messages": HI}, 400, error={"param": "model", "code": "missing_required_parameter"}),
    Case("no messages", {"model": "m"}, 400, error={"param": "messages", "code": "missing_required_parameter"}),
    Case("empty messages", {"model": "m", "messages": []}, 400, error={"param": "messages", "code": "empty_array"}),
    Case("messages of text", {"model": "m", "messages": "hi"}, 400, error={"code": "invalid_type"}),
    Case("a message of text", {"model": "m", "messages": ["hi"]}, 400, error={"param": "messages[0]"}),
    Case(
        "a wrong role",
        {"model": "m", "messages": [*HI, {"role": "robot", "content": "hi"}]},
        400,
        error={"param": "messages[1].role", "code": "invalid_value"},
    ),
    Case("no role", {"model": "m", "messages": [{"content": "hi"}]}, 400, error={"param": "messages[0].role"}),
    Case("no content", {"model": "m", "messages": [{"role": "user"}]}, 400, error={"param": "messages[0].content"}),
    Case(
        "content in parts",
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        400,
        error={"param": "messages[0].content", "code": "unsupported_parameter"},
    ),
    Case(
        "an assistant without content",
        {"model": "m", "messages": [{"role": "assistant", "content": None}]},
        400,
        error={"param": "messages[0].content", "code": "unsupported_parameter"},
    ),
    Case(
        "a user without content",
        {"model": "m", "messages": [{"role": "user", "content": None}]},
        400,
        error={"param": "messages[0].content", "code": "invalid_type"},
    ),
    *(
        Case(
            f"the role {role}",
            {"model": "m", "messages": [{"role": role, "content": "hi"}]},
            400,
            error={"param": "messages[0].role", "code": "unsupported_parameter"},
        )
        for role in ("developer", "tool", "function")
    ),
    Case("no stream", {"model": "m", "messages": HI, "stream": None}, 200, COMPLETION),
    Case(
        "a parameter",
        {"model": "m", "messages": HI, "temperature": 0.5},
        400,
        error={"param": "temperature", "code": "unsupported_parameter"},
    ),
    Case(
        "a named message",
        {"model": "m", "messages": [{"role": "user", "content": "hi", "name": "x"}]},
        400,
        error={"param": "messages[0].name", "code": "unsupported_parameter"},
    ),
    Case("a model that is a number", {"model": 1, "messages": HI}, 400, error={"param": "model"}),
    Case("a user that is a number", {"model": "m", "messages": HI, "user": 1}, 400, error={"param": "user"}),
    Case("stream as text", {"model": "m", "messages": HI, "stream": "yes"}, 400, error={"param": "stream"}),
    Case("a list", [], 400, error={"param": None, "code": "invalid_type"}),
    Case("no JSON", b"{", 400),
    Case("no body", b"", 400),
    Case("no text", b'{"model":"\xff"}', 400),
    Case("brackets", b"[" * 100_000, 400),
    Case("another path", {}, 404, path="/v1/embeddings"),
    Case("another method", None, 404, method="GET"),
    Case("the root", None, 404, method="GET", path="/"),
]
