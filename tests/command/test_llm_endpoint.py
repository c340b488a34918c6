"""A real language model that is not there, or refuses the key, is known before anything is started."""

import socket
from pathlib import Path

import pytest

from tests.command.stage import listing, refused
from tests.command.test_serve_llm import KEY, serving
from wavetank.llm_endpoint import check_llm

STAGED = "stages: [{e2e: {environment: staging}}]"
COMMANDS = [("staging", "up"), ("pipeline", "run")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://127.0.0.1/v1", "--llm is no http URL"),
        ("http:///v1", "--llm is no http URL"),
        ("http://127.0.0.1:1/v1", "no language model answers at http://127.0.0.1:1/v1: ConnectError"),
    ],
)
def test_one_that_is_not_there_is_refused(tmp_path: Path, command: tuple[str, ...], url: str, told: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(STAGED)
    assert told in refused(tmp_path, *command, "--llm", url)
    assert listing(tmp_path) == ["pipeline.yaml"]


def test_one_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wavetank.llm_endpoint.WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = refused(tmp_path, "staging", "up", "--llm", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
    assert "ReadTimeout" in told


def test_the_key_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whatever answers without asking for one is there."""
    with serving(tmp_path, "--api-key-env", "LLM_KEY") as (_, port):
        url = f"http://127.0.0.1:{port}/v1"
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        assert "wants a key, and OPENAI_API_KEY has none: status=401" in refused(
            tmp_path, "staging", "up", "--llm", url
        )
        monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
        assert "refuses the key in OPENAI_API_KEY: status=401" in refused(tmp_path, "staging", "up", "--llm", url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        check_llm(url)
        check_llm(f"http://127.0.0.1:{port}/elsewhere")
