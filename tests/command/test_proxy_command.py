"""`wavetank proxy`: proxies as a process of its own, struck as by any client of Toxiproxy."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.command.stage import environment, refused


def test_a_proxy_passes_on_is_struck_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """By the two things that its users have: the address it listens at, and Toxiproxy's API."""
    with socket.create_server(("127.0.0.1", 0)) as upstream, contextlib.ExitStack() as closing:
        command = [sys.executable, "-m", "wavetank", "proxy", "--port", "0"]
        command += [f"link=127.0.0.1:0=127.0.0.1:{upstream.getsockname()[1]}"]
        running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        closing.callback(running.wait)
        closing.callback(running.kill)
        closing.enter_context(running.stdout)
        watchdog = threading.Timer(60.0, running.kill)
        watchdog.start()
        closing.callback(watchdog.cancel)
        listens = re.fullmatch(r"link: 127\.0\.0\.1:(\d+) -> .*\n", running.stdout.readline())
        told = re.fullmatch(r"Toxiproxy's API listens at (\S+)\n", running.stdout.readline())
        assert listens is not None
        assert told is not None
        client = closing.enter_context(socket.create_connection(("127.0.0.1", int(listens[1])), timeout=10.0))
        server, _ = upstream.accept()
        closing.enter_context(server)
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        toxic = {"type": "reset_peer", "stream": "upstream", "attributes": {"timeout": 0}}
        answer = httpx.post(f"{told[1]}/proxies/link/toxics", json=toxic, trust_env=False, timeout=10.0)
        assert answer.status_code == 200
        client.sendall(b"again")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(5) == b""
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("redis",), "'redis' is no proxy. Write NAME=LISTEN=UPSTREAM"),
        (("r=127.0.0.1:0=6379",), "the address '6379' has no host or no valid port, 1 to 65535"),
        (("r=127.0.0.1:x=a:1",), "the address '127.0.0.1:x' has no host or no valid port, 0 to 65535"),
        (("r=127.0.0.1:0=a:1", "r=127.0.0.1:0=b:1"), "two proxies are named 'r'"),
    ],
)
def test_what_is_no_proxy_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Before any of them listens."""
    assert said in refused(tmp_path, "proxy", "--port", "0", *arguments)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    """Of the API, which has one that everybody knows."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sentence = refused(tmp_path, "proxy", "--port", str(taken.getsockname()[1]))
    assert "Toxiproxy's API has no port: " in sentence
