"""What goes back over HTTP: whole or streamed completions, errors, and what troubles make of them. No I/O."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

import attrs
import msgspec

from simulator.services.llm.request import Conversation, RefusedError
from simulator.services.llm.troubles import CUT, FAIL, MALFORM, RATE_LIMIT

__all__ = ["MODELS", "Reply", "from_json", "refusal", "reply_to"]

RETRY_AFTER_S = 1
PIECES = 3
DONE = b"data: [DONE]\n\n"
BROKEN_EVENT = b'data: {"id":"chatcmpl-\n\n'
NOT_A_COMPLETION = {"object": "chat.completion", "choices": "none today"}
MODELS = {"object": "list", "data": [{"id": "wavetank", "object": "model", "created": 0, "owned_by": "wavetank"}]}

ERROR_TYPES = {
    HTTPStatus.TOO_MANY_REQUESTS: "requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
}
"""What OpenAI calls an error beside its status. Every other is an `invalid_request_error`."""


@attrs.frozen(kw_only=True)
class Reply:
    """A response: its body in the parts in which it is sent."""

    status: HTTPStatus = HTTPStatus.OK
    parts: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...]
    is_whole: bool = True
    """Whether the parts are all of it. If not, the connection ends after them."""


def reply_to(conversation: Conversation, text: str, *, number: int, created: int, outcome: str) -> Reply:
    """Return the response to a conversation whose answer is `text`, or what a trouble makes of it.

    `number` and `created`, in seconds since the epoch, are the response's own. `outcome` names the trouble, if one.
    """
    if outcome == RATE_LIMIT:
        return _rate_limited()
    if outcome == FAIL:
        return refusal(RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "The server had an error. Sorry about that!"))
    head = {"id": f"chatcmpl-{number}", "created": created, "model": conversation.model}
    if conversation.stream:
        return _streamed(head, text, outcome)
    if outcome == MALFORM:
        return from_json(NOT_A_COMPLETION)
    whole = _whole(head, conversation, text)
    if outcome == CUT:
        (body,) = whole.parts
        return attrs.evolve(whole, parts=(body[: len(body) // 2],), is_whole=False)
    return whole


def _whole(head: Mapping[str, object], conversation: Conversation, text: str) -> Reply:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    asked, said = sum(_tokens(content) for _role, content in conversation.messages), _tokens(text)
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    return from_json({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _tokens(text: str) -> int:
    """Count what this model is said to read and write: a word is a token."""
    return len(text.split())


def _streamed(head: Mapping[str, object], text: str, outcome: str) -> Reply:
    first, *others = _pieces(text)
    begun = _event(head, {"role": "assistant", "content": ""}) + _event(head, {"content": first})
    rest = b"".join([*(_event(head, {"content": each}) for each in others), _event(head, {}, finish="stop"), DONE])
    headers = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"))
    if outcome == CUT:
        return Reply(parts=(begun,), headers=headers, is_whole=False)
    return Reply(parts=(begun, BROKEN_EVENT + rest if outcome == MALFORM else rest), headers=headers)


def _pieces(text: str) -> Iterable[str]:
    size = -(-len(text) // PIECES)
    return (text[start : start + size] for start in range(0, len(text), size))


def _event(head: Mapping[str, object], delta: dict[str, str], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _rate_limited() -> Reply:
    refused = refusal(RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "Rate limit reached.", code="rate_limit_exceeded"))
    return attrs.evolve(refused, headers=(*refused.headers, ("Retry-After", str(RETRY_AFTER_S))))


def refusal(error: RefusedError) -> Reply:
    """Return OpenAI's form of an error."""
    fields = {
        "message": error.message,
        "type": ERROR_TYPES.get(error.status, "invalid_request_error"),
        "param": error.param,
        "code": error.code,
    }
    return from_json({"error": fields}, status=error.status)


def from_json(value: object, *, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    """Return a response that is sent at once."""
    body = msgspec.json.encode(value)
    headers = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return Reply(status=status, parts=(body,), headers=headers)
