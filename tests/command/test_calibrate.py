"""`wavetank calibrate`: how fast real services are, for simulated loads."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.command.stage import called
from tests.command.test_serve_llm import serving

GATEWAY = '[hosts.gateway-a]\naddress = "127.0.0.1:1"\n'
TARGET = GATEWAY + '[hosts.llm]\naddress = "127.0.0.1:{port}"\n'


def test_a_real_service_is_measured_and_a_load_simulated_with_it(tmp_path: Path) -> None:
    """From one command to the next by the file between them."""
    with serving(tmp_path, "--latency", "40ms") as (_process, port):
        (tmp_path / "target.toml").write_text(TARGET.format(port=port))
        code, out, err = called(
            tmp_path,
            *("calibrate", "llm", "--target", "target.toml", "--requests", "10", "--profile", "peak"),
            *("-o", "measured.toml", "--json", "out.json"),
        )
    assert code == 0, err
    assert "llm         p(50) 4" in out
    assert "at once: " in out
    measured = tomllib.loads((tmp_path / "measured.toml").read_text())
    assert (measured["users"], measured["per_minute"]) == (200, 5)
    points = dict(map(tuple, measured["services"]["llm"]["service_s"]))
    assert 0.035 < points[0.5] < 0.2
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert "calibrate" in told["command"]
    assert dict(map(tuple, told["services"]["llm"]["service_s"])) == points
    code, out, err = called(
        tmp_path, "load", "--profile", "measured.toml", "--users", "2", "--duration", "5s", "--seed", "1"
    )
    assert code == 0, out + err


def test_who_does_not_answer_is_told_and_the_others_are_measured_all_the_same(tmp_path: Path) -> None:
    with serving(tmp_path) as (_process, port):
        (tmp_path / "target.toml").write_text(TARGET.format(port=port) + '[hosts.redis]\naddress = "127.0.0.1:1"\n')
        words = ("--target", "target.toml", "--requests", "5", "-o", "measured.toml", "--json", "out.json")
        code, out, _ = called(tmp_path, "calibrate", *words)
    assert code == 2
    assert "redis       redis does not answer: " in out
    assert [*tomllib.loads((tmp_path / "measured.toml").read_text())["services"]] == ["llm"]
    assert [*json.loads((tmp_path / "out.json").read_bytes())["failed"]] == ["redis"]


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        (TARGET.format(port=1), ("nobody",), "nobody says how to ask host='nobody'. "),
        (TARGET.format(port=1), ("redis",), "the target has no address of host 'redis' under [hosts]."),
        (GATEWAY, (), "the target has no address of any of redis, postgres, clickhouse, llm."),
        (TARGET.format(port=1) + "[limits]\nobserve_only = true\n", ("llm",), "the target may only be observed"),
        (TARGET.format(port=1) + "[hosts.llm.tls]\n", ("llm",), "host 'llm' speaks TLS"),
        (TARGET.format(port=1), ("--profile", "nonsense"), "no load profile named 'nonsense'"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, target: str, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "target.toml").write_text(target)
    code, _, err = called(tmp_path, "calibrate", "--target", "target.toml", *words)
    assert code == 2
    assert said in err
