"""The language model, asked over HTTP: any endpoint that speaks OpenAI's chat completions, streamed or not.

What was not received whole is not an answer: a stream must say that it is finished, and then that it is done. Nothing
is retried here. Not modelled: tools, several choices, images, limits on tokens, and proxies.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Self

import attrs
import httpx
import msgspec
import structlog
import trio

__all__ = ["LLM", "ChatMessage", "LLMError", "LLMRefusedError", "LLMUnavailableError", "RateLimitedError"]

# What a header can carry. A line end, say from the file that held the key, would be quoted in the error of a library.
KEY = re.compile(r"[!-~]+")
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
DONE = b"[DONE]"
# Beside its own errors msgspec raises these: for what is not UTF-8, and for what is nested without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class LLMError(Exception):
    """There is no answer."""


class LLMUnavailableError(LLMError):
    """The service could not be reached, failed, took too long, or did not send a whole answer."""


class RateLimitedError(LLMUnavailableError):
    """The service has had enough of us for now: for `retry_after_s`, or None when it did not say."""

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LLMRefusedError(LLMError):
    """The service is well and does not answer this: the mistake is the caller's, and asking again does not help."""


@attrs.frozen
class ChatMessage:
    """One message of a conversation; the role is `system`, `user` or `assistant`."""

    role: str
    content: str


class _Message(msgspec.Struct):
    role: Literal["assistant"]
    content: str


class _Choice(msgspec.Struct):
    index: Literal[0]
    message: _Message
    finish_reason: str


class _Completion(msgspec.Struct):
    object: Literal["chat.completion"]
    choices: tuple[_Choice]


class _Delta(msgspec.Struct):
    content: str | None = None


class _ChunkChoice(msgspec.Struct):
    index: Literal[0]
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    object: Literal["chat.completion.chunk"]
    choices: list[_ChunkChoice]
    """One; or none, in the chunk that counts tokens."""


class _Problem(msgspec.Struct):
    code: str | int | None = None
    param: str | None = None


class _Failure(msgspec.Struct):
    error: _Problem


_completion = msgspec.json.Decoder(_Completion)
_chunk = msgspec.json.Decoder(_Chunk)
_failure = msgspec.json.Decoder(_Failure)
log = structlog.get_logger()


class LLM:
    """A client with its pool of connections; any number of tasks may ask at once."""

    def __init__(
        self, *, http: httpx.AsyncClient, api_key: str | None, model: str, timeout_s: float, stream: bool
    ) -> None:
        self._http = http
        self._api_key = api_key
        self._model = model
        self._timeout_s = timeout_s
        self._stream = stream

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, *, base_url: str, api_key: str | None, model: str, timeout_s: float, stream: bool = True
    ) -> AsyncIterator[Self]:
        """Provide a client. `base_url` is what OPENAI_BASE_URL holds: `/v1` is part of it.

        Raises ValueError for a key that no header can carry.
        """
        if api_key is not None and not KEY.fullmatch(api_key):
            raise ValueError("the API key is empty, or holds a space, a line end or a character that is not ASCII")
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        # As for ClickHouse: no proxies from the environment, no expiry by a clock that is not the platform's, and
        # certificates are loaded for HTTPS only. The deadline is of the whole call, not of each read.
        http = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=None,
            trust_env=False,
            verify=base_url.startswith("https:"),
            limits=httpx.Limits(keepalive_expiry=None),
        )
        async with http:
            yield cls(http=http, api_key=api_key, model=model, timeout_s=timeout_s, stream=stream)

    async def complete(self, messages: Sequence[ChatMessage], *, user: str) -> str:
        """Return the whole answer to a conversation, asked on behalf of `user`.

        Raises LLMUnavailableError, RateLimitedError or LLMRefusedError.
        """
        request = self._request(messages, user)
        try:
            with trio.fail_after(self._timeout_s):
                response, body = await self._post(request)
            if response.status_code != httpx.codes.OK:
                raise self._error(response, body)
            answer = _streamed(body) if self._stream else _whole(body)
        except trio.TooSlowError as error:
            raise LLMUnavailableError(f"no whole answer within timeout_s={self._timeout_s:g}") from error
        except (httpx.HTTPError, *UNREADABLE) as error:
            raise LLMUnavailableError(f"{type(error).__name__}: {error}") from error
        if "\0" in answer:
            raise LLMUnavailableError("the answer has a character NUL, which nothing here can store")
        documents = list(_events(body))[:-1] if self._stream else [body]
        log.debug("llm_exchanged", request=_plain(request), response=[_plain(each) for each in documents])
        return answer

    def _request(self, messages: Sequence[ChatMessage], user: str) -> bytes:
        request = {"model": self._model, "messages": messages, "user": user, "stream": self._stream}
        try:
            return msgspec.json.encode(request)
        except UnicodeEncodeError as error:
            raise LLMRefusedError("the conversation is not text: it holds half of a surrogate pair") from error

    async def _post(self, content: bytes) -> tuple[httpx.Response, bytes]:
        # Read to the end, whatever it says: the connection can then serve the next call. Read as it comes, because when
        # httpx decodes and cannot, it leaves generators half-way, to be ended when the garbage collector finds them.
        async with self._http.stream("POST", "chat/completions", content=content) as response:
            return response, b"".join([piece async for piece in response.aiter_raw()])

    def _error(self, response: httpx.Response, body: bytes) -> LLMError:
        """Say what a status other than 200 means. The service's prose is left out: it may quote key or prompt."""
        status = response.status_code
        try:
            problem = _failure.decode(body).error
        except UNREADABLE:
            problem = _Problem()
        words = f"status={status} code={problem.code} param={problem.param}"
        if self._api_key is not None:
            words = words.replace(self._api_key, "***")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return RateLimitedError(words, retry_after_s=_seconds(response.headers.get("Retry-After", "")))
        if response.is_client_error:
            return LLMRefusedError(words)
        return LLMUnavailableError(words)


def _plain(document: bytes) -> object:
    return msgspec.json.decode(document)


def _seconds(retry_after: str) -> float | None:
    """Read a header of seconds; one that names a date instead counts as absent."""
    return float(retry_after) if SECONDS.fullmatch(retry_after) else None


def _whole(body: bytes) -> str:
    (choice,) = _completion.decode(body).choices
    _check_finished(choice.finish_reason)
    return choice.message.content


def _streamed(body: bytes) -> str:
    """Return the answer that a stream of chunks holds: the last must be finished, and [DONE] follow it."""
    events = list(_events(body))
    if not events or events[-1] != DONE:
        raise LLMUnavailableError(f"the stream was cut: events={len(events)}, and the last is not [DONE]")
    choices = [choice for event in events[:-1] for choice in _chunk.decode(event).choices]
    reasons = [choice.finish_reason for choice in choices]
    if not reasons or reasons[-1] is None or any(reason is not None for reason in reasons[:-1]):
        raise LLMUnavailableError(
            f"the stream has no finish_reason at its end, or more than one: chunks={len(choices)}"
        )
    _check_finished(reasons[-1])
    return "".join(choice.delta.content or "" for choice in choices)


def _events(body: bytes) -> Iterator[bytes]:
    """Yield the data of each complete server-sent event (HTML Living Standard, section 9.2).

    Bytes are split into lines just where that text says. Strings, and so httpx's reader of lines, also end them at
    characters like U+2028, which JSON leaves as they are within an answer.
    """
    data: list[bytes] = []
    for line in body.splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def _check_finished(reason: str) -> None:
    """An answer that was cut short on purpose, for its length or its content, is no answer to this conversation."""
    if reason in ("length", "content_filter"):
        raise LLMRefusedError(f"the answer was cut short: finish_reason={reason}")
    if reason != "stop":
        raise LLMUnavailableError(f"finish_reason={reason} was not asked for")
