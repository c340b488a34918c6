"""`wavetank contract`: every kind of message is seen and conforms; what is broken is named."""

import json
from pathlib import Path

import pytest

from models.system import system as chat
from tests.command.stage import BANK, called, refused

SEED = ("--seed", "1")
BREAKERS = {
    "ack-with-more-fields": "BROKEN",
    "malformed-frame-ends-connection": "✗ malformed: no frame",
    "cache-without-user": "VIOLATED  isolation",
}
"""By defect what is told of it: messages that do not conform, or come in a wrong order, or affect others."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("contract")
    code, out, _ = called(directory, "contract", *SEED, "--json", "out.json", "--pacts", "pacts")
    assert code == 0, out
    return directory, out


def test_every_kind_of_message_is_seen_and_conforms(healthy: tuple[Path, str]) -> None:
    directory, out = healthy
    told = json.loads((directory / "out.json").read_bytes())
    document = json.loads((Path(__file__).parents[2] / "properties" / "asyncapi.json").read_bytes())
    frames = {each["name"] for each in told["messages"] if each["provider"] == "gateway" and each["samples"]}
    assert frames >= {"welcome", "token", "ack", "cancelling", "logged_out", "reply", "event", "error"}
    assert frames <= document["components"]["messages"].keys() | {"session", "user"}
    sent = {each["name"] for each in told["messages"] if each["provider"] == "device" and each["samples"]}
    assert sent == {"hello", "message", "cancel", "refresh", "logout"}
    assert frames | sent >= document["components"]["messages"].keys()
    unseen = [each["name"] for each in told["messages"] if not each["samples"]]
    assert unseen == ["chat_completion", "buffered_row"]
    assert all(each["shown"] for each in told["messages"])
    assert sum(name.startswith("malformed") for name in told["journeys"]) == 8
    assert not any(told["journeys"].values())
    assert "nobody else was affected" in out


@pytest.mark.usefixtures("unconfirmed")
@pytest.mark.parametrize(("defect", "told"), BREAKERS.items())
def test_what_is_broken_is_named(tmp_path: Path, defect: str, told: str) -> None:
    code, out, _ = called(tmp_path, "contract", *SEED, "--defect", defect)
    assert code == 1
    assert told in out


def test_pacts_are_message_files_of_version_4(healthy: tuple[Path, str]) -> None:
    """Each with an example per kind of message, and rules for every value in it that are of the schema."""
    directory, _ = healthy
    files = sorted(path.name for path in (directory / "pacts").iterdir())
    assert {"device-gateway.json", "gateway-device.json"} <= set(files)
    assert "gateway-agents.json" in files
    for path in (directory / "pacts").iterdir():
        pact = json.loads(path.read_bytes())
        assert pact["metadata"]["pactSpecification"] == {"version": "4.0"}
        assert path.stem == f"{pact['consumer']['name']}-{pact['provider']['name']}"
        for each in pact["interactions"]:
            assert each["type"] == "Asynchronous/Messages"
            assert each["contents"]["contentType"] == "application/json"
            assert each["matchingRules"]["body"]
    device = json.loads((directory / "pacts" / "device-gateway.json").read_bytes())
    kept = {each["key"]: each for each in device["interactions"]}
    assert kept.keys() == {"welcome", "token", "ack", "cancelling", "logged_out", "reply", "event", "error"}
    rules = kept["reply"]["matchingRules"]["body"]
    assert rules["$.type"]["matchers"] == [{"match": "equality"}]
    assert rules["$.status"]["matchers"] == [{"match": "regex", "regex": "^(done|partial|cancelled)$"}]
    assert rules["$.seq"]["matchers"] == [{"match": "integer"}]
    assert kept["error"]["contents"]["content"] == {"type": "error", "code": "bad_request"}
    agents = json.loads((directory / "pacts" / "gateway-agents.json").read_bytes())
    passed_on = {each["key"]: each["matchingRules"]["body"] for each in agents["interactions"]}
    assert passed_on["reply_body"] == rules


def test_a_system_without_a_contract_is_refused(tmp_path: Path) -> None:
    assert "states no contract" in refused(tmp_path, "contract", BANK)


def test_what_would_not_be_seen_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract of which nothing is tried is not kept."""
    short = {"first-chat": chat.contract_journeys()["first-chat"]}
    monkeypatch.setattr(type(chat), "contract_journeys", lambda _self: short)
    code, out, _ = called(tmp_path, "contract", *SEED)
    assert code == 1
    assert "✗ cancelling               NOT SEEN" in out
