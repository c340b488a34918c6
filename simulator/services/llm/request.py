"""A request for a chat completion (OpenAI's API reference), read or refused by the name of what is wrong."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeGuard

import attrs
import msgspec

__all__ = ["Conversation", "RefusedError", "conversation"]

ROLES = ("system", "user", "assistant")
ROLES_REFUSED = ("developer", "tool", "function")
PARAMETERS = ("model", "messages", "user", "stream")

Object = Mapping[str, object]


class RefusedError(Exception):
    """The request is answered with an error: its status and the fields of OpenAI's error object."""

    def __init__(self, status: HTTPStatus, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


@attrs.frozen(kw_only=True)
class Conversation:
    """What was asked, of which model, on behalf of whom."""

    model: str
    messages: tuple[tuple[str, str], ...]
    """Role and content of each message."""
    user: str
    stream: bool

    @property
    def system(self) -> str:
        """The last system message, or nothing."""
        return self._last("system")

    @property
    def question(self) -> str:
        """The last message of the user, or nothing."""
        return self._last("user")

    @property
    def answer(self) -> str:
        """What an honest model says to it."""
        return f"{self.question} -> {self.system}"

    def _last(self, wanted: str) -> str:
        return next((content for role, content in reversed(self.messages) if role == wanted), "")


def conversation(body: bytes) -> Conversation:
    """Read the body of a request. Raises RefusedError for what is malformed or not modelled, by its name."""
    fields = _object(_decoded(body), "", "the body")
    for name in fields:
        if name not in PARAMETERS:
            raise _unmodelled(repr(name), name)
    messages = _required(fields, "messages", "")
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise _bad("Invalid 'messages': empty array. Expected at least one message.", "messages", "empty_array")
    stream = fields.get("stream")
    stream = False if stream is None else stream
    if not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    return Conversation(
        model=_text(_required(fields, "model", ""), "model"),
        messages=tuple(_message(each, f"messages[{number}]") for number, each in enumerate(messages)),
        user=_text(fields.get("user", ""), "user"),
        stream=stream,
    )


def _message(value: object, path: str) -> tuple[str, str]:
    fields = _object(value, path, "a message")
    for name in fields:
        if name not in ("role", "content"):
            raise _unmodelled(f"'{path}.{name}'", f"{path}.{name}")
    role = _text(_required(fields, "role", f"{path}."), f"{path}.role")
    if role in ROLES_REFUSED:
        raise _unmodelled(f"the role {role!r}", f"{path}.role")
    if role not in ROLES:
        wanted = ", ".join(map(repr, ROLES))
        raise _bad(f"Invalid value: {role!r}. Supported values are: {wanted}.", f"{path}.role", "invalid_value")
    content = _required(fields, "content", f"{path}.")
    if isinstance(content, list) or (content is None and role == "assistant"):
        raise _unmodelled("a message without content" if content is None else "content in parts", f"{path}.content")
    return role, _text(content, f"{path}.content")


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"We could not parse the JSON body of your request: {error}.") from error


def _object(value: object, path: str, what: str) -> Object:
    if not _is_object(value):
        raise _wrong_type(path or None, f"an object as {what}", value)
    return value


def _is_object(value: object) -> TypeGuard[Object]:
    return isinstance(value, dict)


def _required(fields: Object, name: str, path: str) -> object:
    if name not in fields:
        raise _bad(f"Missing required parameter: '{path}{name}'.", f"{path}{name}", "missing_required_parameter")
    return fields[name]


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(path, "a string", value)
    return value


def _wrong_type(path: str | None, wanted: str, value: object) -> RefusedError:
    kind = type(value).__name__
    return _bad(f"Invalid type for {path!r}: expected {wanted}, but got {kind} instead.", path, "invalid_type")


def _unmodelled(what: str, param: str) -> RefusedError:
    """Refuse what OpenAI's service takes, by its name."""
    return _bad(f"Unsupported parameter: {what} is not modelled.", param, "unsupported_parameter")


def _bad(message: str, param: str | None = None, code: str | None = None) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)
