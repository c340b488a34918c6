"""`wavetank serve` as a person or a deployment starts it: what it must be told, what it says, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from models.client import ChatClient, Outcome
from models.secret import DEMO_SECRET
from models.tokens import issue_login
from simulator.live.postgresql import PostgreSQLServer
from simulator.live.process import free_port
from simulator.live.redis import RedisServer
from tests.command.stage import called, environment, listing, refused
from wavetank.preloaded import Preloaded
from wavetank.processes import PlatformProcess
from wavetank.staged import Staged
from wavetank.stores import empty_postgres

PATIENCE_S = 30.0
PASSWORD = "hunter2"
REDIS = ("--redis", "redis://127.0.0.1:1")
POSTGRES = ("--postgres", "postgresql://wavetank@127.0.0.1:2/wavetank")
CLICKHOUSE = ("--clickhouse", "http://127.0.0.1:3")
LLM = ("--llm", "http://127.0.0.1:4/v1")
PORT = ("--port", "0")
EVERYTHING = {"--role": "all", **dict((REDIS, POSTGRES, CLICKHOUSE, LLM, PORT))}
ROLES = {
    "all": (*REDIS, *POSTGRES, *CLICKHOUSE, *LLM, *PORT),
    "gateway": ("--role", "gateway", *REDIS, *POSTGRES, *PORT),
    "agents": ("--role", "agents", *REDIS, *POSTGRES, *CLICKHOUSE, *LLM),
}


def with_changed(option: str, value: str) -> list[str]:
    return [word for pair in {**EVERYTHING, option: value}.items() for word in pair]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--redis", "nonsense", "--redis is no redis URL. Example: redis://127.0.0.1:6379"),
        ("--redis", "redis://127.0.0.1:99999", "--redis is not a URL, or its port"),
        ("--redis", "redis://127.0.0.1:0", "--redis is no redis URL"),
        ("--redis", "redis://127.0.0.1/3", "--redis says more than a host and a port"),
        ("--redis", "redis://127.0.0.1?db=3", "a query or a fragment"),
        ("--postgres", "http://wavetank@127.0.0.1/wavetank", "--postgres is no postgresql URL"),
        ("--postgres", "postgresql://127.0.0.1/wavetank", "must name a user and a database"),
        ("--postgres", "postgresql://wavetank@127.0.0.1", "must name a user and a database"),
        ("--clickhouse", "redis://127.0.0.1", "--clickhouse is no http URL"),
        ("--clickhouse", "http://127.0.0.1/database", "--clickhouse says more than a host and a port"),
        ("--llm", "127.0.0.1:8080", "--llm is no http URL"),
        ("--port", "70000", "--port"),
        ("--role", "gatekeeper", "'gatekeeper' is not one of"),
        ("--token-s", "0", "--token-s"),
        ("--postgres-driver", "asyncpg", "'asyncpg' is not one of"),
        ("--defect", "nonsense", "no defect named 'nonsense'"),
        ("--defect", "ack-before-stroe", "Did you mean 'ack-before-store'"),
    ],
)
def test_a_slip_of_the_hand_is_one_sentence(tmp_path: Path, option: str, value: str, says: str) -> None:
    """Each names the option that is wrong; none is a traceback, and nothing is served or written."""
    assert says in refused(tmp_path, "serve", *with_changed(option, value))
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*REDIS, *POSTGRES, *CLICKHOUSE, *LLM), "--port is missing, and --role all needs it."),
        (("--role", "gateway", *REDIS, *POSTGRES), "--port is missing, and --role gateway needs it."),
        ((*REDIS, *POSTGRES, *LLM, *PORT), "--clickhouse is missing, and --role all needs it. Example: http://"),
        (("--role", "agents", *REDIS, *POSTGRES, *CLICKHOUSE), "--llm is missing, and --role agents needs it."),
        (("--role", "agents", *REDIS, *POSTGRES, *CLICKHOUSE, *LLM, *PORT), "--role agents has no use for --port."),
        (("--role", "gateway", *REDIS, *POSTGRES, *PORT, *LLM), "--role gateway has no use for --llm."),
        ((*POSTGRES, *CLICKHOUSE, *LLM, *PORT), "Missing option '--redis'"),
    ],
)
def test_each_role_must_be_told_what_it_needs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    """An option without effect is a misunderstanding that shows later."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert says in refused(tmp_path, "serve", *words)


def test_the_address_of_the_llm_is_taken_from_the_environment_by_those_who_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the variable that every client of OpenAI's reads; a gateway does not mind it."""
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://elsewhere")
    agents = ("serve", "--role", "agents", *REDIS, *POSTGRES, *CLICKHOUSE)
    assert "--llm is no http URL" in refused(tmp_path, *agents)
    gateway = ("serve", "--role", "gateway", "--redis", "nonsense", *POSTGRES, *PORT)
    assert "--redis is no redis URL" in refused(tmp_path, *gateway)


@pytest.mark.parametrize(
    ("option", "url"),
    [
        ("--postgres", f"postgresql://wavetank:{PASSWORD}@127.0.0.1/wavetank"),
        ("--postgres", f"postgresql://wavetank:{PASSWORD}"),
        ("--postgres", f"postgresql://wavetank:{PASSWORD}/@127.0.0.1/wavetank"),
        ("--postgres", f"postgresql://wavetank@127.0.0.1/wavetank?password={PASSWORD}"),
        ("--postgres", f"postgres://wavetank:{PASSWORD}@127.0.0.1/wavetank"),
        ("--redis", f"redis://:{PASSWORD}@127.0.0.1"),
        ("--clickhouse", f"http://default:{PASSWORD}@127.0.0.1"),
        ("--llm", f"http://user:{PASSWORD}@127.0.0.1/v1"),
    ],
)
def test_a_password_in_a_url_is_refused_and_never_quoted(tmp_path: Path, option: str, url: str) -> None:
    """What a command says ends up in logs and issues; and its arguments can be read by everybody on the machine."""
    code, out, err = called(tmp_path, "serve", *with_changed(option, url))
    assert code == 2
    assert PASSWORD not in out + err


def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line end of the file that held it is easily taken along."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    sentence = refused(tmp_path, "serve", *ROLES["all"])
    assert "OPENAI_API_KEY" in sentence
    assert "sk-secret" not in sentence


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    """What Trio tells of it is a group of groups."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, "serve", *with_changed("--port", str(port)))
    assert said.startswith(f"wavetank: cannot listen on 127.0.0.1:{port}: [Errno 98]")


@pytest.mark.parametrize(("role", "driver"), [("all", "psycopg"), ("gateway", "wire"), ("agents", "psycopg")])
def test_each_role_starts_without_its_stores_and_ends_in_good_order_by_sigterm(
    tmp_path: Path, role: str, driver: str
) -> None:
    """Services start in any order, and SIGTERM is how every deployment ends them. It logs JSON, line by line."""
    process = serving(tmp_path, *ROLES[role], "--postgres-driver", driver)
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline())]
    while lines[-1]["event"] not in ("listening", "working"):
        lines.append(json.loads(process.stdout.readline()))
    assert ("port" in lines[-1]) is (role != "agents")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    names = [json.loads(line)["event"] for line in out.splitlines()]
    assert ("gateway_stopping" in names) is (role != "agents")


def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    """Ctrl-C, the same as for every command."""
    process = serving(tmp_path, *ROLES["all"])
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.strip()) == (130, "wavetank: interrupted.")


def serving(directory: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "wavetank", "serve", *words],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_gateway_recovers_when_its_stores_come_up() -> None:
    """Also when they come after it, and one after the other."""
    redis_port, postgres_port = free_port(), free_port()
    stores = {"redis": redis_port, "postgres": postgres_port}
    with (
        Preloaded() as preloaded,
        PlatformProcess(preloaded, "gateway", "gateway", stores, token_s=12, staged=Staged()) as gateway,
        RedisServer(redis_port),
        PostgreSQLServer(postgres_port),
    ):
        trio.run(empty_postgres, postgres_port)
        assert trio.run(ask_until_acknowledged, gateway.port) is Outcome.OK


async def ask_until_acknowledged(port: int) -> Outcome:
    client = ChatClient(
        user="alice",
        login=issue_login("alice", DEMO_SECRET),
        host="127.0.0.1",
        port=port,
        on_frame=lambda _frame: None,
        on_state=lambda _state: None,
    )
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            number, sent = 0, Outcome.FAIL
            while sent is not Outcome.OK:
                await trio.sleep(0.05)
                number += 1
                sent = await client.send(f"alice-{number}", "hello?", "alice/1", {"triage": ()})
            nursery.cancel_scope.cancel()
    return sent
