"""`wavetank serve-llm` as a person starts it: what it says, how it ends, and what it refuses."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tests.command.stage import environment, listing, refused
from wavetank.listening import cannot_listen
from wavetank.sub_commands import command

KEY = "sk-only-for-tests"
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "why?"}], "user": "alice"}


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run it on a free port. Yields the process and the port that it says it listens on."""
    arguments = [sys.executable, "-m", "wavetank", "serve-llm", "--port", "0", *options]
    with subprocess.Popen(
        arguments,
        cwd=directory,
        env=environment(LLM_KEY=KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, said(process, "listening", host="127.0.0.1")["port"]
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]", event: str, **fields: object) -> dict[str, int]:
    """Read the next line of its output: this event with these fields."""
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert line["event"] == event
    assert fields.items() <= line.items()
    assert "timestamp" in line
    return dict(line)


def test_it_says_where_it_listens_logs_json_lines_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    """A staging reads the port from the first line, and judges isolation from the others."""
    with serving(tmp_path) as (process, port):
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=QUESTION, trust_env=False)
        assert reply.json()["choices"][0]["message"]["content"] == "why? -> "
        said(process, "llm_asked", user="alice", question="why?", system="")
        said(process, "llm_answered", user="alice", outcome="answered")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert (process.returncode, out, err.strip()) == (130, "", "wavetank: interrupted.")
    assert listing(tmp_path) == []


def test_the_key_is_taken_from_the_named_variable_and_never_logged(tmp_path: Path) -> None:
    """On the command line everybody on the machine would see it."""
    with serving(tmp_path, "--api-key-env", "LLM_KEY") as (process, port):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        assert httpx.post(url, json=QUESTION, trust_env=False).status_code == 401
        key = {"Authorization": f"Bearer {KEY}"}
        assert httpx.post(url, json=QUESTION, headers=key, trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert KEY not in out + err


@pytest.mark.parametrize(("options", "status"), [((), 404), (("--control",), 200)])
def test_troubles_can_be_ordered_only_with_control(tmp_path: Path, options: tuple[str, ...], status: int) -> None:
    """A service that anybody may break must be asked for."""
    with serving(tmp_path, *options) as (_process, port):
        base = f"http://127.0.0.1:{port}"
        order = {"name": "llm-failing", "on": True}
        assert httpx.post(f"{base}/_trouble", json=order, trust_env=False).status_code == status
        answered = httpx.post(f"{base}/v1/chat/completions", json=QUESTION, trust_env=False)
        assert answered.status_code == (500 if status == 200 else 200)


def test_a_conversation_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Every model has such a limit, and the platform must bear it."""
    with serving(tmp_path, "--context-characters-max", "3") as (_process, port):
        refused = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=QUESTION, trust_env=False)
        assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_help_has_examples_and_explains_every_option() -> None:
    """Exit code 0, lines to copy, nothing wider than a terminal."""
    ran = CliRunner().invoke(command, ["serve-llm", "--help"], prog_name="wavetank")
    assert ran.exit_code == 0
    assert "  wavetank serve-llm --port 8080" in ran.output
    assert all(len(line) <= 100 for line in ran.output.splitlines())
    for option in ("--port", "--host", "--latency", "--context-characters-max", "--api-key-env", "--control"):
        assert option in ran.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing option '--port'"),
        (("--port", "70000"), "--port"),
        (("--port", "0", "--latency", "soon"), "'soon' is not a duration"),
        (("--port", "0", "--api-key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE, which is not set"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, and nothing is served."""
    assert says in refused(tmp_path, "serve-llm", *arguments)


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """It says which, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = refused(tmp_path, "serve-llm", "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in sentence
    assert "choose another --host or --port" in sentence


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_of_nobody_here_is_one_sentence(tmp_path: Path, host: str) -> None:
    """To end what listens there would not help: nothing does."""
    sentence = refused(tmp_path, "serve-llm", "--port", "0", "--host", host)
    assert sentence.startswith(f"wavetank: cannot listen on {host}:0: [Errno ")
    assert sentence.endswith(". Name an address of this machine with --host.")


def test_a_port_for_the_privileged_is_one_sentence() -> None:
    """Those below 1024, on most machines; root, as whom tests may run, is never refused."""
    error = cannot_listen("127.0.0.1", 80, ExceptionGroup("", [PermissionError(13, "Permission denied")]))
    assert str(error) == "cannot listen on 127.0.0.1:80: [Errno 13] Permission denied. Choose a --port from 1024 on."
