"""The simulated language model's service speaks as OpenAI's does: in a test, as a process, to the platform's client.

What OpenAI answers is described beside this by JSON Schemas of its reference; the in-process service and `wavetank
serve-llm` are held to them, and to each other.
"""

import http.client
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import jsonschema
import pytest
import structlog
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.llm import LLM, ChatMessage, LLMError, LLMRefusedError, LLMUnavailableError, RateLimitedError
from simulator import Host, System
from simulator.errors import InputError
from simulator.fault import Fault
from simulator.live.process import ServerProcess
from simulator.services.llm import TROUBLES, SimulatedLLM
from simulator.world import World
from tests.conformance.llm_cases import CASES, CHUNK, ERROR, HI, Case, Json

KEY = "sk-only-for-tests"


class LLMServer(ServerProcess):
    """`wavetank serve-llm` as a child process."""

    name = "llm"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        options = ["--port", str(self.port), "--latency", "2ms", "--control", *self._options]
        return [sys.executable, "-m", "wavetank", "serve-llm", *options]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLM_KEY": KEY}

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            connection.request("GET", "/v1/models")
            return connection.getresponse().status in (200, 401)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def real() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="module")
def locked() -> Iterator[LLMServer]:
    """A process that wants the key."""
    with LLMServer("--api-key-env", "LLM_KEY") as server:
        yield server


@asynccontextmanager
async def simulated(*, api_key: str | None = None) -> AsyncIterator[str]:
    """Provide the URL of a service in this process, on a loopback socket."""
    service = SimulatedLLM(port=0, host="127.0.0.1", latency_s=0.002, api_key=api_key, control=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.main)
        yield f"http://127.0.0.1:{service.port}"
        nursery.cancel_scope.cancel()


def on_both(talk: Callable[[str], Awaitable[None]], server: LLMServer, *, api_key: str | None = None) -> None:
    """Hold the same talk with the process and with the service in this one."""

    async def main() -> None:
        await talk(server.url)
        async with simulated(api_key=api_key) as url:
            await talk(url)

    trio.run(main)


def session(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, verify=False, trust_env=False)


def llm(
    url: str, *, stream: bool = True, api_key: str | None = None, timeout_s: float = 10.0
) -> AbstractAsyncContextManager[LLM]:
    return LLM.opened(base_url=f"{url}/v1", api_key=api_key, model="any", timeout_s=timeout_s, stream=stream)


@asynccontextmanager
async def struck(url: str, trouble: str) -> AsyncIterator[None]:
    async with session(url) as http:
        (await http.post("/_trouble", json={"name": trouble, "on": True})).raise_for_status()
        try:
            yield
        finally:
            (await http.post("/_trouble", json={"name": trouble, "on": False})).raise_for_status()


def talk_of(user: str) -> list[ChatMessage]:
    return [ChatMessage("system", f"the context of {user}"), ChatMessage("user", f"what is {user}'s?")]


def answer_to(user: str) -> str:
    return f"what is {user}'s? -> the context of {user}"


# The wire


async def ask(http: httpx.AsyncClient, case: Case) -> tuple[int, str, Json]:
    content = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    response = await http.request(case.method, case.path, content=None if case.method == "GET" else content)
    body = response.json()
    jsonschema.validate(body, case.schema)
    return response.status_code, response.headers["content-type"], body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_reply_has_the_shape_of_openais(case: Case, real: LLMServer) -> None:
    """A client that was written for OpenAI's must be served, and refused, as it is there."""
    replies = []

    async def talk(url: str) -> None:
        async with session(url) as http:
            status, content_type, body = await ask(http, case)
            assert (status, content_type) == (case.status, "application/json")
            if case.schema is ERROR:
                error = body["error"]
                assert isinstance(error, dict)
                assert case.error.items() <= error.items()
            replies.append({name: value for name, value in body.items() if name not in ("id", "created")})

    on_both(talk, real)
    assert replies[0] == replies[1]


def test_usage_counts_words(real: LLMServer) -> None:
    """Whoever pays by the token must be able to test that they count."""

    async def talk(url: str) -> None:
        messages = [{"role": "system", "content": "be very brief"}, {"role": "user", "content": "why so?"}]
        async with session(url) as http:
            response = await http.post("/v1/chat/completions", json={"model": "m", "messages": messages})
        assert response.json()["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}

    on_both(talk, real)


def test_a_stream_is_chunks_and_then_done(real: LLMServer) -> None:
    """First the role, then the content in pieces, then why it ends; one id for all; and [DONE] at the last."""

    async def talk(url: str) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "0123456789"}], "stream": True}
        async with session(url) as http:
            response = await http.post("/v1/chat/completions", json=body)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        *events, done, end = response.text.split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        for chunk in chunks:
            jsonschema.validate(chunk, CHUNK)
        assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
        choices = [chunk["choices"][0] for chunk in chunks]
        contents = ["01234", "56789", " -> "]
        deltas = [{"role": "assistant", "content": ""}, *({"content": content} for content in contents), {}]
        assert [choice["delta"] for choice in choices] == deltas
        assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["stop"]

    on_both(talk, real)


@pytest.mark.parametrize(
    ("header", "code"),
    [({}, None), ({"Authorization": KEY}, None), ({"Authorization": "Bearer wrong"}, "invalid_api_key")],
    ids=["none", "no scheme", "another"],
)
def test_without_its_key_nobody_is_served(header: dict[str, str], code: str | None, locked: LLMServer) -> None:
    """A platform that forgets its key must fail in a test, not in production."""

    async def talk(url: str) -> None:
        async with session(url) as http:
            for path in ("/v1/models", "/v1/nowhere"):
                refused = await http.get(path, headers=header)
                jsonschema.validate(refused.json(), ERROR)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, code)
            assert (await http.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"})).status_code == 200

    on_both(talk, locked, api_key=KEY)


def test_a_head_is_answered_without_a_body(real: LLMServer) -> None:
    """A probe must neither end the service nor leave bytes that the next answer would begin with."""

    async def talk(url: str) -> None:
        async with session(url) as http:
            for path in ("/v1/models", "/v1/nowhere"):
                response = await http.head(path)
                assert (response.status_code, response.content) == (404, b"")
            assert (await http.get("/v1/models")).status_code == 200

    on_both(talk, real)


def test_refusals_leave_the_connection_usable(real: LLMServer) -> None:
    """A pool counts on keep-alive, after errors and streams too."""

    async def talk(url: str) -> None:
        addresses = set()
        async with session(url) as http:
            for body in ({}, {"model": "m", "messages": HI, "stream": True}, {"model": "m", "messages": HI}):
                response = await http.post("/v1/chat/completions", json=body)
                addresses.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(addresses) == 1

    on_both(talk, real)


def test_only_known_troubles_can_be_ordered_and_only_where_it_is_allowed(real: LLMServer) -> None:
    """An order that did nothing would make a staging's verdict worthless."""

    async def talk(url: str) -> None:
        async with session(url) as http:
            for order in ({"name": "llm-slwo", "on": True}, {"name": "llm-slow"}, {"name": "llm-slow", "on": 1}, "on"):
                refused = await http.post("/_trouble", json=order)
                jsonschema.validate(refused.json(), ERROR)
                assert refused.status_code == 400

    async def without_control() -> None:
        service = SimulatedLLM(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(service.main)
            async with session(f"http://127.0.0.1:{service.port}") as http:
                assert (await http.post("/_trouble", json={"name": "llm-slow", "on": True})).status_code == 404
            nursery.cancel_scope.cancel()

    on_both(talk, real)
    trio.run(without_control)


# The platform's client


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("base", ["/v1", "/v1/"])
def test_the_client_is_answered(stream: bool, base: str, real: LLMServer) -> None:
    """The last question and the last instruction count, whatever was said before; the URL may end with a slash."""
    messages = [
        ChatMessage("system", "be long"),
        ChatMessage("user", "what?"),
        ChatMessage("assistant", "nothing"),
        ChatMessage("system", "be brief"),
        ChatMessage("user", "why?"),
    ]

    async def talk(url: str) -> None:
        opened = LLM.opened(base_url=url + base, api_key=None, model="any", timeout_s=10.0, stream=stream)
        async with opened as client:
            assert await client.complete(messages, user="alice") == "why? -> be brief"
            assert await client.complete(messages[1:2], user="alice") == "what? -> "

    on_both(talk, real)


AWKWARD = [
    "",
    " ",
    "\r",
    "\r\n\r\n",
    "data: [DONE]\n\n",
    "\u2028\u2029\x85\x0b",
    "e\u0301",
    "👩‍👩‍👧",
    "\ufeff",
    '"\\',
]


@pytest.mark.parametrize("stream", [True, False])
def test_awkward_texts_survive_the_wire(stream: bool, real: LLMServer) -> None:
    """Line ends that are none for JSON, marks that are some for SSE, characters of many bytes, cut into pieces."""

    async def talk(url: str) -> None:
        async with llm(url, stream=stream) as client:
            for text in AWKWARD:
                messages = [ChatMessage("system", text), ChatMessage("user", text)]
                assert await client.complete(messages, user=text) == f"{text} -> {text}"

    on_both(talk, real)


@pytest.mark.parametrize("stream", [True, False])
def test_the_client_shows_its_key_and_a_wrong_one_is_the_callers_mistake(stream: bool, locked: LLMServer) -> None:
    """A breaker must not open because of it."""

    async def talk(url: str) -> None:
        async with llm(url, stream=stream, api_key=KEY) as client:
            assert await client.complete(talk_of("bob"), user="bob") == answer_to("bob")
        for key in (None, "sk-wrong"):
            async with llm(url, stream=stream, api_key=key) as client:
                with pytest.raises(LLMRefusedError, match="status=401"):
                    await client.complete(talk_of("bob"), user="bob")

    on_both(talk, locked, api_key=KEY)


SEEN_AS = {
    "llm-slow": LLMUnavailableError,
    "llm-rate-limited": RateLimitedError,
    "llm-failing": LLMUnavailableError,
    "llm-cut": LLMUnavailableError,
    "llm-malformed": LLMUnavailableError,
    "llm-cross-talk": None,
}


def test_every_trouble_has_a_test() -> None:
    """A new one needs its error too."""
    assert SEEN_AS.keys() == TROUBLES.keys()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("trouble", [name for name, error in SEEN_AS.items() if error])
def test_a_trouble_is_seen_as_its_error_and_never_as_an_answer(trouble: str, stream: bool, real: LLMServer) -> None:
    """What was cut is not an answer; and when the trouble is over, the same client is served again."""
    expected = SEEN_AS[trouble]
    assert expected is not None

    async def talk(url: str) -> None:
        async with (
            llm(url, stream=stream) as client,
            llm(url, stream=stream, timeout_s=0.2 if trouble == "llm-slow" else 10.0) as impatient,
        ):
            async with struck(url, trouble):
                with pytest.raises(LLMError) as raised:
                    await impatient.complete(talk_of("alice"), user="alice")
                assert type(raised.value) is expected
                if isinstance(raised.value, RateLimitedError):
                    assert raised.value.retry_after_s == 1.0
            assert await client.complete(talk_of("alice"), user="alice") == answer_to("alice")

    on_both(talk, real)


@pytest.mark.parametrize("stream", [True, False])
def test_cross_talk_repeats_the_last_other_user(stream: bool, real: LLMServer) -> None:
    """The leak that isolation must find; a user alone has nobody's conversation to be given."""

    async def talk(url: str) -> None:
        async with llm(url, stream=stream) as client:
            await client.complete(talk_of("zoe"), user="zoe")
            async with struck(url, "llm-cross-talk"):
                assert await client.complete(talk_of("alice"), user="alice") == answer_to("zoe")
                assert await client.complete(talk_of("alice"), user="alice") == answer_to("zoe")
                assert await client.complete(talk_of("bob"), user="bob") == answer_to("alice")
                assert await client.complete(talk_of("alice"), user="alice") == answer_to("bob")
            assert await client.complete(talk_of("alice"), user="alice") == answer_to("alice")

    on_both(talk, real)


# In a world


def in_world(service: SimulatedLLM, client: Callable[[], Awaitable[object]]) -> World:
    world = World()
    world.add_host("llm", service.main, service.crash)
    world.add_host("client")
    world.run(client, host="client", timeout_s=60)
    return world


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_takes_the_latency_and_a_slow_one_three_seconds(stream: bool) -> None:
    """Exactly, in virtual time: promises with a time in them are computed from it."""
    service = SimulatedLLM(latency_s=0.5)
    took_s = []

    async def client() -> None:
        async with llm("http://llm:8080", stream=stream) as opened:
            for on in (False, False, True):
                service.slow(on)
                began_s = trio.current_time()
                await opened.complete(talk_of("bob"), user="bob")
                took_s.append(trio.current_time() - began_s)

    in_world(service, client).close()
    assert took_s[1:] == pytest.approx([0.502, 3.002])


def test_a_rate_limit_is_told_at_once() -> None:
    """It stands before the model, and costs its caller no time."""
    service = SimulatedLLM(latency_s=0.5)
    service.rate_limit(True)
    service.slow(True)

    async def client() -> None:
        async with llm("http://llm:8080") as opened:
            with pytest.raises(RateLimitedError):
                await opened.complete(talk_of("bob"), user="bob")
            assert trio.current_time() < 0.1

    in_world(service, client).close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_crash_in_the_middle_of_an_answer_is_no_answer_and_a_restart_begins_anew(stream: bool) -> None:
    """A process's memory goes, its troubles stay: they come from outside."""
    service = SimulatedLLM(latency_s=1.0)
    outcomes: list[str] = []

    async def client() -> None:
        async with llm("http://llm:8080", stream=stream) as opened:
            try:
                outcomes.append(await opened.complete(talk_of("bob"), user="bob"))
            except LLMUnavailableError:
                outcomes.append("unavailable")

    async def number() -> str:
        async with session("http://llm:8080") as http:
            response = await http.post("/v1/chat/completions", json={"model": "m", "messages": HI, "user": "carol"})
            return str(response.json()["id"])

    with in_world(service, client) as world:
        assert world.run(number, host="client") == "chatcmpl-2"
        world.start(client, host="client")
        world.advance(0.75)
        world.crash("llm")
        service.cross_talk(True)
        world.restart("llm")
        world.advance(0.1)
        assert world.run(number, host="client") == "chatcmpl-1"
        world.run(client, host="client")
        assert not world.failures
    assert outcomes == [answer_to("bob"), "unavailable", "hi -> "]


def test_a_call_that_is_given_up_leaves_nothing_for_the_next() -> None:
    """Half of one user's answer on a pooled connection would be the next user's."""
    service = SimulatedLLM(latency_s=1.0)
    answers = []

    async def client() -> None:
        async with llm("http://llm:8080") as opened:
            for patience_s in (0.25, 0.75, 0.999, 5.0):
                with trio.move_on_after(patience_s):
                    answers.append(await opened.complete(talk_of("alice"), user="alice"))
                answers.append(await opened.complete(talk_of("bob"), user="bob"))

    in_world(service, client).close()
    bob = answer_to("bob")
    assert answers == [bob, bob, bob, answer_to("alice"), bob]


def test_what_is_asked_and_what_became_of_it_are_logged() -> None:
    """Whether one user's words are in another's prompt is judged from these."""
    service = SimulatedLLM()

    async def client() -> None:
        async with llm("http://llm:8080") as opened:
            await opened.complete(talk_of("bob"), user="bob")
            for switch in (service.rate_limit, service.fail, service.malform, service.cut):
                switch(True)
                with pytest.raises(LLMUnavailableError):
                    await opened.complete(talk_of("bob"), user="bob")
                switch(False)
            service.cross_talk(True)
            await opened.complete(talk_of("bob"), user="bob")
            await opened.complete(talk_of("alice"), user="alice")
            with pytest.raises(LLMRefusedError):
                await opened.complete([], user="bob")

    with structlog.testing.capture_logs() as events:
        in_world(service, client).close()
    asked = [event for event in events if event["event"] == "llm_asked"]
    assert asked[0] == {
        "event": "llm_asked",
        "log_level": "info",
        "user": "bob",
        "system": "the context of bob",
        "question": "what is bob's?",
    }
    assert [event["user"] for event in asked] == ["bob"] * 6 + ["alice"]
    assert [(event["user"], event["outcome"]) for event in events if event["event"] == "llm_answered"] == [
        ("bob", "answered"),
        ("bob", "llm-rate-limited"),
        ("bob", "llm-failing"),
        ("bob", "llm-malformed"),
        ("bob", "llm-cut"),
        ("bob", "answered"),
        ("alice", "llm-cross-talk"),
    ]


def test_a_client_that_is_gone_is_logged_as_such() -> None:
    """An answer that nobody heard is not an answer."""
    service = SimulatedLLM(latency_s=1.0)

    async def client() -> None:
        async with llm("http://llm:8080", timeout_s=0.1) as opened:
            with pytest.raises(LLMUnavailableError):
                await opened.complete(talk_of("bob"), user="bob")

    with structlog.testing.capture_logs() as events:
        with in_world(service, client) as world:
            world.advance(5.0)
            assert not world.failures
    assert [event["outcome"] for event in events if event["event"] == "llm_answered"] == ["gone"]


def test_a_conversation_that_is_too_long_is_the_callers_mistake() -> None:
    """Every model has its limit, and asking again does not help."""
    service = SimulatedLLM(context_characters_max=5)
    replies = []

    async def client() -> None:
        async with session("http://llm:8080") as http, llm("http://llm:8080") as opened:
            assert (
                await opened.complete([ChatMessage("system", "ab"), ChatMessage("user", "abc")], user="") == "abc -> ab"
            )
            messages = [ChatMessage("system", "abc"), ChatMessage("user", "abc")]
            with pytest.raises(LLMRefusedError, match="code=context_length_exceeded param=messages"):
                await opened.complete(messages, user="bob")
            body = {"model": "m", "messages": [{"role": "user", "content": "a" * 6}]}
            replies.append((await http.post("/v1/chat/completions", json=body)).json())

    in_world(service, client).close()
    jsonschema.validate(replies[0], ERROR)


class OnlyLLM(System):
    """A system of nothing but the service."""

    def hosts(self) -> Iterator[Host]:
        service = SimulatedLLM()
        yield Host("llm", service.main, on_crash=service.crash, open_to_users=True, troubles=service.troubles())


def test_a_host_declares_every_trouble_with_one_call() -> None:
    """They are then drawn, told and replayed as any fault is."""
    system = OnlyLLM()
    system.check_declared()
    faults = system.possible_faults()
    assert [faults[name] for name in TROUBLES] == [[("llm",)]] * len(TROUBLES)
    assert system.sentence(Fault("llm-cut", ("llm",), 2.0)) == (
        "llm ends its connections in the middle of answers for 2 s"
    )


def test_a_declared_trouble_strikes_while_it_lasts() -> None:
    """Its two ends are the switch's two positions."""
    service = SimulatedLLM()
    failing = next(trouble for trouble in service.troubles() if trouble.name == "llm-failing")
    begin, end = failing.begin, failing.end
    assert end is not None
    outcomes = []

    async def client() -> None:
        async with llm("http://llm:8080") as opened:
            for switch in (begin, end):
                switch()
                try:
                    outcomes.append(await opened.complete(talk_of("bob"), user="bob"))
                except LLMUnavailableError as error:
                    outcomes.append(str(error))

    in_world(service, client).close()
    assert outcomes == ["status=500 code=None param=None", answer_to("bob")]


def test_an_unknown_trouble_is_an_input_error() -> None:
    """A misspelt one would never strike."""
    with pytest.raises(InputError, match="Known: llm-slow"):
        SimulatedLLM().strike("llm-slwo", on=True)


conversations = st.lists(
    st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1, max_size=5
)


@settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=conversations, user=st.text(), stream=st.booleans(), weather=st.integers(0, 3))
def test_any_conversation_round_trips_through_a_world(
    messages: list[ChatMessage], user: str, stream: bool, weather: int
) -> None:
    """Whatever users type, and however the network delivers it, the answer is to that, letter by letter."""

    def last(role: str) -> str:
        return next((message.content for message in reversed(messages) if message.role == role), "")

    async def client() -> str:
        async with llm("http://llm:8080", stream=stream) as opened:
            return await opened.complete(messages, user=user)

    with World() as world:
        service = SimulatedLLM()
        world.add_host("llm", service.main, service.crash)
        world.add_host("client")
        world.weather.change(weather)
        answer: str = world.run(client, host="client", timeout_s=60)
    assert answer == f"{last('user')} -> {last('system')}"
