"""The client of the language model, on replies made by hand: what is an answer, and whose fault it is if not."""

import gzip
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import httpx
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from models.llm import LLM, ChatMessage, LLMError, LLMRefusedError, LLMUnavailableError, RateLimitedError

KEY = "sk-nobody-may-see-this"
ASKED = [ChatMessage("user", "hi")]
DONE = "[DONE]"
BOUNDED = settings(max_examples=80, derandomize=True, database=None, deadline=None)
Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Pieces(httpx.AsyncByteStream):
    """A body that arrives in these pieces, perhaps each after a while, and perhaps breaks off."""

    def __init__(self, pieces: Sequence[bytes], *, breaks: bool = False, every_s: float = 0.0) -> None:
        self._pieces = pieces
        self._breaks = breaks
        self._every_s = every_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if self._every_s:
                await trio.sleep(self._every_s)
            yield piece
        if self._breaks:
            raise httpx.ReadError("the peer is gone")


@attrs.define
class Wire(httpx.AsyncBaseTransport):
    """Stands for the network: gives the same response to every request, and keeps the requests."""

    response: Callable[[], httpx.Response]
    requests: list[httpx.Request] = attrs.field(factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.response()


def client_on(wire: Wire, *, stream: bool, timeout_s: float = 5.0) -> LLM:
    http = httpx.AsyncClient(transport=wire, base_url="http://llm/v1", timeout=None)
    return LLM(http=http, api_key=None, model="m", timeout_s=timeout_s, stream=stream)


def answer(
    body: bytes | httpx.AsyncByteStream, *, stream: bool, status: int = 200, headers: dict[str, str] | None = None
) -> str:
    """Return what a client makes of a response, or raise what it raises."""

    async def main() -> str:
        content = {"stream": body} if isinstance(body, httpx.AsyncByteStream) else {"stream": Pieces([body])}
        wire = Wire(lambda: httpx.Response(status, headers=headers, **content))
        return await client_on(wire, stream=stream).complete(ASKED, user="alice")

    return trio.run(main)


def chunk(delta: dict[str, object], finish: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return msgspec.json.encode({"object": "chat.completion.chunk", "choices": [choice], **more}).decode()


def events(*data: str, end: str = "\n") -> bytes:
    return "".join(f"data: {each}{end}{end}" for each in data).encode()


STREAM = events(
    chunk({"role": "assistant", "content": ""}), chunk({"content": "h\u00e9"}), chunk({"content": "y"}, "stop"), DONE
)


def whole(content: object = "h\u00e9y", finish: object = "stop", **choice: object) -> bytes:
    message = {"role": "assistant", "content": content}
    fields = {"index": 0, "message": message, "finish_reason": finish, **choice}
    return msgspec.json.encode({"object": "chat.completion", "choices": [fields]})


# Answers


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nothing_can_store_is_no_answer(stream: bool) -> None:
    """PostgreSQL knows no character NUL; kept in the cache, the answer would come again and again."""
    body = events(chunk({"content": "one\0two"}), chunk({}, "stop"), DONE) if stream else whole("one\0two")
    with pytest.raises(LLMUnavailableError):
        answer(body, stream=stream)


def test_a_whole_answer_is_returned() -> None:
    """The examples on which the others vary."""
    assert answer(STREAM, stream=True) == answer(whole(), stream=False) == "h\u00e9y"


@pytest.mark.parametrize("length", range(len(STREAM)))
@pytest.mark.parametrize("breaks", [True, False], ids=["broken", "ended"])
def test_a_stream_cut_anywhere_is_never_an_answer(length: int, breaks: bool) -> None:
    """However it ends: a proxy may end a cut stream as politely as a whole one."""
    with pytest.raises(LLMUnavailableError):
        answer(Pieces([STREAM[:length]], breaks=breaks), stream=True)


@pytest.mark.parametrize("length", range(len(whole())))
def test_a_body_cut_anywhere_is_never_an_answer(length: int) -> None:
    """The same without a stream."""
    with pytest.raises(LLMUnavailableError):
        answer(whole()[:length], stream=False)


@BOUNDED
@given(data=st.data(), texts=st.lists(st.text(), max_size=4), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_stream_reads_alike_however_it_is_chunked(data: st.DataObject, texts: list[str], end: str) -> None:
    """TCP and proxies cut where they like, within characters and between the two bytes of a line end, too."""
    body = events(*(chunk({"content": text}) for text in texts), chunk({}, "stop"), DONE, end=end)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12).map(sorted))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert answer(Pieces([piece for piece in pieces if piece]), stream=True) == "".join(texts)
    assert answer(Pieces([bytes([byte]) for byte in body]), stream=True) == "".join(texts)


def test_what_server_sent_events_allow_is_understood() -> None:
    """Comments keep a connection alive; other fields, no space after the colon, and data of several lines."""
    first, last = chunk({"content": "hi"}), chunk({}, "stop")
    lines = first.replace('"choices"', '\n"choices"').replace("\n", "\ndata:")
    body = f": ping\n\nevent: x\nid: 7\ndata:{lines}\n\nretry: 1\n\ndata:{last}\n\n\ndata: {DONE}\n\n: bye\n\n"
    assert answer(body.encode(), stream=True) == "hi"


def test_what_openai_adds_is_ignored() -> None:
    """Fields nobody knows yet, and the chunk without choices that counts tokens."""
    usage = '{"object":"chat.completion.chunk","choices":[],"usage":{"total_tokens":3},"obfuscation":"x"}'
    body = events(chunk({"content": "hi", "refusal": None}, service_tier="x"), chunk({}, "stop"), usage, DONE)
    assert answer(body, stream=True) == "hi"
    assert answer(whole(logprobs=None, extra={"a": [1]}), stream=False) == "h\u00e9y"


FINISHED = chunk({"content": "hi"}, "stop")
NO_STREAMS = {
    "nothing": b"",
    "a completion": whole(),
    "no events": STREAM.replace(b"data: ", b""),
    "done at once": events(DONE),
    "unfinished": events(chunk({"content": "hi"}), DONE),
    "not done": events(FINISHED, '{"error":{"message":"overloaded"}}'),
    "finished twice": events(FINISHED, FINISHED, DONE),
    "content after the finish": events(FINISHED, chunk({"content": "and"}), DONE),
    "events after the end": events(FINISHED, DONE, FINISHED),
    "an error in the middle": events(chunk({"content": "hi"}), '{"error":{"message":"overloaded"}}', DONE),
    "broken JSON": events('{"choices":', FINISHED, DONE),
    "an unknown object": events(FINISHED.replace(".chunk", ""), DONE),
    "a second choice": events(FINISHED.replace('"index":0', '"index":1'), DONE),
    "a number": events(chunk({"content": 1}), FINISHED, DONE),
    "a tool": events(chunk({}, "tool_calls"), DONE),
    "no UTF-8": events(FINISHED, DONE).replace(b"hi", b"\xff"),
    "half a surrogate pair": events(FINISHED.replace("hi", "\\ud800"), DONE),
    "brackets": events('{"x":' + "[" * 100_000, DONE),
}


@pytest.mark.parametrize("body", NO_STREAMS.values(), ids=NO_STREAMS)
def test_what_is_no_finished_stream_is_a_failure_of_the_service(body: bytes) -> None:
    """Read strictly: a reader that guesses returns half an answer, or somebody else's."""
    with pytest.raises(LLMUnavailableError):
        answer(body, stream=True)


NO_BODIES = {
    "nothing": b"",
    "a stream": STREAM,
    "an error": b'{"error":{"message":"overloaded"}}',
    "no choice": b'{"object":"chat.completion","choices":[]}',
    "an unknown object": whole().replace(b"chat.completion", b"text"),
    "null": whole(None),
    "a number": whole(1),
    "a user's role": whole().replace(b"assistant", b"user"),
    "a second choice": whole(index=1),
    "unfinished": whole(finish=None),
    "a tool": whole(finish="tool_calls"),
    "no UTF-8": whole().replace(b"h", b"\xff"),
    "brackets": b'{"x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("body", NO_BODIES.values(), ids=NO_BODIES)
def test_what_is_no_completion_is_a_failure_of_the_service(body: bytes) -> None:
    """The same without a stream."""
    with pytest.raises(LLMUnavailableError):
        answer(body, stream=False)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut_short_on_purpose_is_refused(reason: str) -> None:
    """The service is well; half an answer is still none."""
    with pytest.raises(LLMRefusedError):
        answer(events(chunk({"content": "hi"}), chunk({}, reason), DONE), stream=True)
    with pytest.raises(LLMRefusedError):
        answer(whole(finish=reason), stream=False)


# Errors


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (204, LLMUnavailableError),
        (302, LLMUnavailableError),
        (400, LLMRefusedError),
        (401, LLMRefusedError),
        (404, LLMRefusedError),
        (413, LLMRefusedError),
        (429, RateLimitedError),
        (500, LLMUnavailableError),
        (503, LLMUnavailableError),
    ],
)
def test_a_status_says_whose_fault_it_is(status: int, expected: type[LLMError], stream: bool) -> None:
    """A breaker counts the service's failures, and the caller's mistakes are not among them."""
    for body in (b'{"error":{"code":"some_code","param":"p"}}', b'{"error":{"code":7}}', b"<html>", b"[" * 100_000):
        with pytest.raises(LLMError, match=f"status={status}") as raised:
            answer(body, stream=stream, status=status)
        assert type(raised.value) is expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_for_how_long_if_it_does(header: dict[str, str], seconds: float | None) -> None:
    """What cannot be read must not become a sleep without end."""
    with pytest.raises(RateLimitedError) as raised:
        answer(b"{}", stream=True, status=429, headers=header)
    assert raised.value.retry_after_s == seconds


@pytest.mark.parametrize("stream", [True, False])
def test_the_deadline_is_of_the_whole_call(stream: bool) -> None:
    """A service that drips a byte now and then would pass any deadline of single reads."""

    async def main() -> None:
        wire = Wire(lambda: httpx.Response(200, stream=Pieces([b" "] * 100, every_s=1.0)))
        with pytest.raises(LLMUnavailableError, match=r"timeout_s=4\.5"):
            await client_on(wire, stream=stream, timeout_s=4.5).complete(ASKED, user="alice")
        assert trio.current_time() - began_s == 4.5

    clock = trio.testing.MockClock(autojump_threshold=0)
    began_s = clock.current_time()
    trio.run(main, clock=clock)


def test_nobody_there_is_a_failure_of_the_service() -> None:
    """Refused connections, and names that do not resolve."""

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await listeners[0].aclose()
        for url in (f"http://127.0.0.1:{port}/v1", "http://no-such-host.invalid/v1"):
            async with LLM.opened(base_url=url, api_key=None, model="m", timeout_s=5.0) as llm:
                with pytest.raises(LLMUnavailableError):
                    await llm.complete(ASKED, user="alice")

    trio.run(main)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
    ],
)
def test_what_does_not_speak_http_is_a_failure_of_the_service(said: bytes) -> None:
    """Every error that the HTTP library has is one fact to the platform."""

    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(said)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, say, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            opened = LLM.opened(base_url=f"http://127.0.0.1:{port}/v1", api_key=None, model="m", timeout_s=5.0)
            async with opened as llm:
                with pytest.raises(LLMUnavailableError):
                    await llm.complete(ASKED, user="alice")
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_compressed_answer_is_a_failure_of_the_service() -> None:
    """Nobody asked for it: answers are short. What httpx does with one that is broken is not deterministic."""
    for body in (gzip.compress(STREAM), b"no gzip"):
        with pytest.raises(LLMUnavailableError):
            answer(body, stream=True, headers={"Content-Encoding": "gzip"})


def test_half_a_surrogate_pair_is_refused_before_it_is_sent() -> None:
    """It is no text; which no service can be asked."""

    async def main() -> None:
        wire = Wire(lambda: httpx.Response(200))
        with pytest.raises(LLMRefusedError):
            await client_on(wire, stream=True).complete([ChatMessage("user", "\ud800")], user="alice")
        assert wire.requests == []

    trio.run(main)


# What is sent, and what is never told


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_names_user_and_model(stream: bool) -> None:
    """The service bills, limits and is judged by them."""

    async def main() -> None:
        wire = Wire(lambda: httpx.Response(200, stream=Pieces([STREAM if stream else whole()])))
        await client_on(wire, stream=stream).complete([ChatMessage("system", "s"), *ASKED], user="alice")
        (request,) = wire.requests
        assert (request.method, str(request.url)) == ("POST", "http://llm/v1/chat/completions")
        assert msgspec.json.decode(request.content) == {
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
            "user": "alice",
            "stream": stream,
        }

    trio.run(main)


@asynccontextmanager
async def failing_with(status: int, body: str) -> AsyncIterator[LLM]:
    """Provide a real client, with the key, of a service that answers so."""
    reply = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            assert KEY.encode() in await stream.receive_some()
            await stream.send_all(reply)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, say, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        async with LLM.opened(base_url=url, api_key=KEY, model="m", timeout_s=5.0) as llm:
            yield llm
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
@pytest.mark.parametrize(
    "body", [f'{{"error":{{"message":"{KEY}","code":"{KEY}","param":"the {KEY}"}}}}', f"<{KEY}>", ""]
)
def test_no_error_tells_the_key(status: int, body: str) -> None:
    """Errors are logged, and logs are read by many; a service that repeats the key must not defeat that."""

    async def main() -> None:
        async with failing_with(status, body) as llm:
            with pytest.raises(LLMError) as raised:
                await llm.complete(ASKED, user="alice")
            told = "".join(traceback.format_exception(raised.value))
            assert KEY not in told + str(raised.value) + repr(raised.value) + repr(llm)

    trio.run(main)


@pytest.mark.parametrize("key", ["", f"{KEY}\n", f" {KEY}", f"{KEY}\u00e9", f"{KEY}\0"])
def test_a_key_that_no_header_can_carry_is_refused_without_telling_it(key: str) -> None:
    """A key read from a file with its line end: the HTTP library's own error would quote it."""

    async def main() -> None:
        with pytest.raises(ValueError, match="API key") as raised:
            async with LLM.opened(base_url="http://llm/v1", api_key=key, model="m", timeout_s=5.0):
                pass
        assert KEY not in "".join(traceback.format_exception(raised.value))

    trio.run(main)
