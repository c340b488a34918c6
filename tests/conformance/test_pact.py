"""Pacts are what Pact's own verifier takes them for: it finds what was agreed in messages of another run, and misses it
in one that is spoiled."""

import gc
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pact import Verifier

from tests.command.stage import called

Messages = Mapping[str, Any]


@pytest.fixture(scope="module")
def pacts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Messages]]:
    """The pacts of one run, each with the messages of another."""
    directory = tmp_path_factory.mktemp("pacts")
    for seed in ("1", "2"):
        code, out, _ = called(directory, "contract", "--seed", seed, "--pacts", seed)
        assert code == 0, out
    return [
        (file, {**messages_in(file), **messages_in(directory / "2" / file.name)})
        for file in sorted((directory / "1").iterdir())
    ]


def messages_in(file: Path) -> dict[str, Any]:
    return {each["description"]: each["contents"]["content"] for each in json.loads(file.read_bytes())["interactions"]}


def are_kept(file: Path, messages: Messages) -> bool:
    """Let Pact compare a provider's messages with a pact."""

    def made(name: str) -> Callable[..., Any]:
        contents = json.dumps(messages[name]).encode()
        return lambda **_: {"contents": contents, "metadata": None, "content_type": "application/json"}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it does not close the socket over which it asks
        verifier = Verifier(json.loads(file.read_bytes())["provider"]["name"])
        verifier.message_handler({name: made(name) for name in messages_in(file)})
        verifier.add_source(file)
        try:
            verifier.verify()
        except RuntimeError:
            return False
        finally:
            del verifier
            gc.collect()
    return True


def test_messages_of_another_run_keep_every_pact(pacts: list[tuple[Path, Messages]]) -> None:
    """Each is between two parties; those of users and of agents are the largest."""
    assert {"device-gateway.json", "agents-llm.json", "postgres-agents.json"} <= {file.name for file, _ in pacts}
    for file, messages in pacts:
        assert are_kept(file, messages), file


def test_a_message_of_another_shape_breaks_it(pacts: list[tuple[Path, Messages]]) -> None:
    (file, messages) = next(each for each in pacts if each[0].name == "device-gateway.json")
    assert not are_kept(file, {**messages, "a ack message": {"type": "ack", "id": 7}})
