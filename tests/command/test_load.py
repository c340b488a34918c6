"""`wavetank load`: many users at once, held to objectives and promises."""

import json
from pathlib import Path

import pytest

from tests.command.stage import BANK, called, interrupted, refused, wavetank

BRIEF = ("--profile", "peak", "--users", "8", "--duration", "30s", "--seed", "3")
OWN = """
users = 5
per_minute = 30
duration = "20s"
arrive_within = "1s"
[[mix]]
operation = "deposit"
arguments = {amount = 3}
[[mix]]
operation = "read"
"""


def test_a_healthy_platform_meets_every_objective(tmp_path: Path) -> None:
    """Those of processes are told to be for live loads; all others have samples."""
    code, out, _ = called(tmp_path, "load", *BRIEF, "--json", "out.json")
    assert code == 0, out
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert {each["measure"]: each["met"] for each in told["objectives"]} == {
        "ws_latency": "met",
        "simple_agent": "met",
        "complex_agent": "met",
        "clickhouse_query": "met",
        "memory": "only live",
        "cpu": "only live",
        "error_rate": "met",
        "success_rate": "met",
    }
    assert told["begun"] == told["measures"]["error_rate"]["samples"]
    assert "no promise is broken" in out
    assert out.count("✓") == 6


def test_the_same_seed_is_the_same_load_in_any_process(tmp_path: Path) -> None:
    """What is measured in simulation is no luck."""
    results = []
    for number in ("1", "2"):
        ran = wavetank(tmp_path, "load", *BRIEF, "--json", f"{number}.json", PYTHONHASHSEED=number)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        told = json.loads((tmp_path / f"{number}.json").read_bytes())
        assert told.pop("real_s") > 0
        assert told.pop("made_at")
        results.append(told)
    assert results[0] == results[1]


def test_objectives_that_are_missed_or_without_samples_fail(tmp_path: Path) -> None:
    """A measurement that measures nothing is no success."""
    objectives = '[objectives]\ndeposit = "p(50) < 1ms"\nread = "max < 10s"\nwithdraw = "max < 10s"\n'
    (tmp_path / "own.toml").write_text(OWN + objectives)
    code, out, _ = called(tmp_path, "load", BANK, "--profile", "own.toml", "--seed", "1")
    assert code == 1
    lines = {line.split()[1]: line for line in out.splitlines() if line[:1] in ("✓", "✗")}
    assert "MISSED" in lines["deposit"]
    assert lines["read"].startswith("✓")
    assert "NO SAMPLES" in lines["withdraw"]


def test_an_objective_can_be_added_or_replaced(tmp_path: Path) -> None:
    words = ("--objective", "ws_latency p(99) < 1us", "--objective", "connect max < 1s")
    code, out, _ = called(tmp_path, "load", *BRIEF, *words)
    assert code == 1
    assert "✗ ws_latency        p(99) < 1us" in out
    assert "✓ connect" in out


@pytest.mark.usefixtures("unconfirmed")
def test_promises_are_judged_under_load(tmp_path: Path) -> None:
    """A cache that mixes users up answers as fast as any other."""
    code, out, _ = called(tmp_path, "load", *BRIEF, "--defect", "cache-without-user")
    assert code == 1
    assert "VIOLATED  isolation" in out
    assert "✗" not in out


@pytest.mark.usefixtures("unconfirmed")
def test_a_system_of_ones_own_needs_only_a_mix(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN + '[objectives]\ndeposit = "p(99) < 1s"\n')
    code, out, _ = called(tmp_path, "load", BANK, "--profile", "own.toml", "--seed", "1")
    assert "✓ deposit" in out
    assert code == 1, "and its lost update is found: deposits meet"
    assert "VIOLATED  no-deposit-is-lost" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--profile", "stedy"), "no load profile named 'stedy'"),
        (("--profile", "none.toml"), "the load profile cannot be read"),
        (("--users", "0"), "0 is not in the range"),
        (("--duration", "soon"), "'soon' is not a duration"),
        ((BANK,), "there is nothing that users do"),
        (("--target", "none.toml"), "the target cannot be read"),
        (("--target", "none.toml", "--defect", "cache-without-user"), "--defect plants bugs in simulation"),
        (("--json", "none/out.json"), "there is no directory"),
        (("./my_system:system",), "a system is named module:object as in an import, not './my_system:system'"),
        (("my_system.py:system",), "a system is named module:object as in an import, not 'my_system.py:system'"),
        (("--workers", "2"), "--workers are for real services (--target): a simulated world is one process"),
    ],
)
def test_what_cannot_be_loaded_is_told_at_once(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    code, _, error = called(tmp_path, "load", *words)
    assert code == 2
    assert told in error
    assert len(error.strip().splitlines()) <= 4


def test_an_operation_that_the_system_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace('"read"', '"withdraw"'))
    code, _, error = called(tmp_path, "load", BANK, "--profile", "own.toml")
    assert code == 2
    assert "no operation 'withdraw'" in error


def test_beyond_its_capacity_the_platform_gives_less_and_loses_nothing(tmp_path: Path) -> None:
    """Twice as much is asked of the LLM as it can do: answers do without it, in bounded time, and each is there."""
    text = 'users = 12\nper_minute = 30\nduration = "20s"\n[services.llm]\nat_once = {}\nservice_s = [[1.0, 0.5]]\n'
    told = {}
    for at_once in (1, 50):
        (tmp_path / "own.toml").write_text(text.format(at_once))
        code, out, _ = called(tmp_path, "load", "--profile", "own.toml", "--seed", "2", "--json", "out.json")
        assert code == 0, out
        told[at_once] = json.loads((tmp_path / "out.json").read_bytes())["measures"]
    assert told[50]["degraded_rate"]["avg"] == 0
    assert told[1]["degraded_rate"]["avg"] > 0.2
    assert told[1]["simple_agent"]["p99"] > told[50]["simple_agent"]["p99"]
    assert told[1]["simple_agent"]["max"] < 6
    assert told[1]["simple_agent"]["lost"] == told[1]["error_rate"]["avg"] == 0


@pytest.mark.parametrize(
    ("services", "told"),
    [
        ("[services.llm]\nservice_s = [[0.5, 1]]", "must end with what all requests take at most"),
        ("[services.llm]\nservice_s = []", "must end with what all requests take at most"),
        ("[services.llm]\nservice_s = [[0.5, 1], [0.5, 2], [1.0, 3]]", "must be in order"),
        ("[services.llm]\nservice_s = [[0.5, 3], [1.0, 2]]", "must be in order"),
        ("[services.llm]\nservice_s = [[1.0, 2]]\nat_once = 0", "at_once"),
        ("[services.lml]\nservice_s = [[1.0, 2]]", "host='lml'"),
    ],
)
def test_a_service_model_that_makes_no_sense_is_refused(tmp_path: Path, services: str, told: str) -> None:
    (tmp_path / "own.toml").write_text(f'users = 1\nper_minute = 60\nduration = "5s"\n{services}\n')
    code, _, error = called(tmp_path, "load", "--profile", "own.toml")
    assert code == 2
    assert told in error


def test_evidence_needs_no_directory_made_for_it(tmp_path: Path) -> None:
    """It is ours; another one may be a slip of the pen."""
    words = ("load", "--users", "1", "--duration", "5s", "--seed", "1", "--json")
    code, _, error = called(tmp_path, *words, ".wavetank/evidence/load.json")
    assert (code in (0, 1), error) == (True, "")
    assert json.loads((tmp_path / ".wavetank" / "evidence" / "load.json").read_bytes())["begun"]
    other = tmp_path / "other"
    other.mkdir()
    (other / ".wavetank").write_text("in the way")
    assert "there is no directory" in refused(other, *words, ".wavetank/evidence/load.json")


def test_an_interrupt_ends_it_with_what_there_is_by_then(tmp_path: Path) -> None:
    """Half an hour of load is not thrown away because somebody has seen enough."""
    words = ("load", "--profile", "sustained", "--seed", "1", "--json", "out.json")
    code, out = interrupted(tmp_path, *words, at=r"\b[1-9]\d+ steps")
    assert code == 130, out
    assert "interrupted; the figures are those of what there was by then" in out
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert told["interrupted"]
    assert 0 < told["begun"] < 5000
    assert told["violated"] == []
