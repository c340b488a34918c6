"""`wavetank chaos`: the experiments hold on the healthy platform, and each fails when its subject is broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.system import deployed
from simulator.chaos.files import experiments_in
from tests.command.stage import BANK, called, interrupted, listing, refused

BREAKERS = {
    "clickhouse-unreachable": "half-open-stampede",
    "everything-slow": "answers-overtake",
    "gateway-cut-from-redis": "resume-off-by-one",
    "llm-silent": "failed-probe-closes",
    "postgres-unreachable": "ack-before-store",
    "redis-answers-late": "sessions-never-pruned",
    "user-cut-off": "resume-off-by-one",
    "agents-crash": "dependents-start-early",
    "agents-freeze": "first-failure-opens",
    "clickhouse-crashes": "analytics-in-the-way",
    "gateway-replaced": "farewell-before-the-rest",
    "llm-crashes": "llm-outage-waited-out",
    "llm-rate-limited": "retry-rebuilds-context",
    "postgres-crashes": "ack-before-store",
    "redis-crashes": "sessions-never-pruned",
    "analytics-refused": "breaker-never-recloses",
    "answers-mixed-up": "answer-not-checked",
    "breaker-state-lost": "recovery-waits-for-clickhouse",
    "commits-lost": "ack-before-store",
    "commits-unconfirmed": "unconfirmed-stored-anew",
    "connections-lost": "resume-off-by-one",
    "rollback": "farewell-before-the-rest",
    "redis-loses-a-second": "sessions-never-pruned",
    "work-half-done": "completed-before-tool",
}
"""By experiment the defect that it finds."""
SEED = ("--seed", "1")
OWN = """
title = "The bank is away"
[traffic]
users = 2
per_minute = 60
before = "5s"
after = "10s"
mix = [{operation = "read"}]
[[steady-state-hypothesis.probes]]
measure = "read"
tolerance = "p(90) < 1s"
during = "any"
[[method]]
name = "it freezes"
fault = "freeze"
at = "bank"
for = "3s"
"""


def journals(file: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(file.read_bytes())["journals"]
    return told


def test_every_experiment_has_a_defect_that_it_finds() -> None:
    assert deployed.experiments is not None
    assert BREAKERS.keys() == experiments_in(deployed.experiments, deployed).keys()


def test_each_says_what_must_hold_meanwhile() -> None:
    """Promises must, in any case; but what users notice, too."""
    assert deployed.experiments is not None
    for name, experiment in experiments_in(deployed.experiments, deployed).items():
        assert experiment.tolerances_during(), name


@pytest.mark.parametrize("name", BREAKERS)
def test_each_holds_on_the_healthy_platform(tmp_path: Path, name: str) -> None:
    code, out, _ = called(tmp_path, "chaos", name, *SEED)
    assert code == 0, out
    assert listing(tmp_path) == []


@pytest.mark.usefixtures("unconfirmed")
@pytest.mark.parametrize(("name", "defect"), BREAKERS.items())
def test_each_fails_when_its_subject_is_broken(tmp_path: Path, name: str, defect: str) -> None:
    code, out, _ = called(tmp_path, "chaos", name, *SEED, "--defect", defect, "--json", "out.json")
    assert code == 1, out
    journal = journals(tmp_path / "out.json")[name]
    assert (journal["status"], journal["deviated"]) == ("failed", True)
    assert journal["steady_states"]["before"]["steady_state_met"]


def test_a_broken_promise_is_saved_as_a_trace_that_replays(tmp_path: Path) -> None:
    _, out, _ = called(tmp_path, "chaos", "answers-mixed-up", *SEED, "--defect", "answer-not-checked")
    assert "isolation is saved as isolation-" in out
    name = out.split("isolation is saved as ")[1].split(",")[0]
    code, out, _ = called(tmp_path, "replay", name, "--exact")
    assert code == 1
    assert "isolation" in out


def test_the_journal_is_the_toolkits(tmp_path: Path) -> None:
    """Every activity with its times, and what was undone."""
    code, _, _ = called(tmp_path, "chaos", "breaker-state-lost", *SEED, "--json", "out.json")
    assert code == 0
    journal = journals(tmp_path / "out.json")["breaker-state-lost"]
    assert journal["status"] == "completed"
    assert journal["experiment"]["steady-state-hypothesis"]["probes"][0]["measure"] == "success_rate"
    assert journal["steady_states"].keys() == {"before", "during", "after"}
    for phase in ("before", "after"):
        assert [each["tolerance_met"] for each in journal["steady_states"][phase]["probes"]] == [True, True, True]
    assert len(journal["steady_states"]["during"][0]["probes"]) == 2
    assert [each["activity"]["name"] for each in journal["run"]] == ["ClickHouse is down", "the agents crash"]
    undone = [each["activity"]["name"] for each in journal["rollbacks"]]
    assert undone == ["the end of: ClickHouse is down", "the end of: the agents crash"]
    assert journal["start"] < journal["run"][0]["start"] < journal["rollbacks"][0]["start"] < journal["end"]
    assert journal["duration"] > 50
    assert 0 <= journal["wavetank"]["recovery_s"] < 10


def test_what_was_not_steady_before_is_not_touched(tmp_path: Path) -> None:
    """The method is not begun, and nothing is said of it."""
    (tmp_path / "own.toml").write_text(OWN.replace("p(90) < 1s", "p(90) < 1us"))
    code, out, _ = called(tmp_path, "chaos", "own.toml", "--system", BANK, *SEED, "--json", "out.json")
    assert code == 1
    assert "not steady before anything was done" in out
    journal = journals(tmp_path / "out.json")["own"]
    assert (journal["status"], journal["deviated"]) == ("failed", False)
    assert journal["run"] == journal["rollbacks"] == []
    assert journal["steady_states"]["during"] == []


def test_a_measure_that_nothing_is_measured_of_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace('measure = "read"', 'measure = "raed"'))
    code, out, _ = called(tmp_path, "chaos", "own.toml", "--system", BANK, *SEED)
    assert code == 1
    assert "FAILED    there was nothing to measure of raed before anything was done, so nothing was" in out


def test_ones_own_experiment_on_ones_own_system(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    code, out, _ = called(tmp_path, "chaos", "own.toml", "--system", BANK, *SEED)
    assert code == 0, out
    assert "held" in out


def test_it_begins_again_until_its_time_is_over_and_allows_what_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    words = ("own.toml", "--system", BANK, *SEED, "--for", "5s", "--recovery-time", "< 7s", "--json", "out.json")
    code, out, _ = called(tmp_path, "chaos", *words)
    assert code == 0, out
    assert out.count("steady again") > 1, "one takes a fraction of a second"
    assert journals(tmp_path / "out.json")["own"]["wavetank"]["recovery_time"] == "< 7s"


@pytest.mark.parametrize("recovery_time", ["soon", "5m", "> 5m", "< 5%"])
def test_what_no_recovery_time_could_keep_to_is_refused_whatever_is_asked(tmp_path: Path, recovery_time: str) -> None:
    told = refused(tmp_path, "chaos", "--recovery-time", recovery_time)
    assert f"{recovery_time!r} is nothing that a recovery time could keep to. Write < and a time: < 5m." in told


def test_a_dry_run_says_all_and_does_nothing(tmp_path: Path) -> None:
    code, out, _ = called(tmp_path, "chaos", "--kind", "network", "--dry-run", *SEED)
    assert code == 0
    assert "15.0 s  agents and clickhouse cannot reach each other for 12 s" in out
    assert "steady if  success_rate > 99%" in out
    assert "nothing was done" in out
    assert "held  " not in out
    assert listing(tmp_path) == []


def test_without_a_choice_it_says_what_there_is(tmp_path: Path) -> None:
    code, out, _ = called(tmp_path, "chaos")
    assert code == 0
    for name in BREAKERS:
        assert name in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("clickhouse-crash",), "no experiment named 'clickhouse-crash'"),
        (("none.toml",), "the experiment cannot be read"),
        (("--kind", "weather"), "'weather' is not one of"),
        (("--all", "--system", BANK), "the system comes with no such experiments"),
        (("--all", "--target", "none.toml"), "the target cannot be read"),
        (("--all", "--target", "none.toml", "--defect", "answered-twice"), "--defect plants bugs in simulation"),
        (("--all", "--json", "none/out.json"), "there is no directory"),
        (("llm-crashes", "--system", BANK), "no experiment named 'llm-crashes'"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    code, _, error = called(tmp_path, "chaos", *words)
    assert code == 2
    assert told in error


def test_an_experiment_for_another_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    assert "is at host='bank'" in refused(tmp_path, "chaos", "own.toml")


def test_a_file_of_the_toolkit_is_done_as_it_is(tmp_path: Path) -> None:
    body = {
        "title": "ClickHouse is killed",
        "tags": ["service"],
        "method": [
            {
                "type": "action",
                "name": "kill",
                "provider": {"type": "process", "path": "docker", "arguments": "kill clickhouse"},
                "pauses": {"after": 8},
            }
        ],
    }
    (tmp_path / "theirs.json").write_text(json.dumps(body))
    code, out, _ = called(tmp_path, "chaos", "theirs.json", *SEED)
    assert code == 0, out
    body["method"][0]["provider"]["arguments"] = "exec clickhouse rm -rf /"  # type: ignore[index]
    (tmp_path / "theirs.json").write_text(json.dumps(body))
    assert "docker exec clickhouse rm -rf /" in refused(tmp_path, "chaos", "theirs.json")


def test_an_interrupt_ends_it_and_everything_is_undone(tmp_path: Path) -> None:
    code, out = interrupted(tmp_path, "chaos", "--all", *SEED, "--json", "out.json", at=" of ")
    assert code == 130, out
    assert "interrupted" in out
    made = journals(tmp_path / "out.json")
    assert [each["status"] for each in made.values()][-1] == "interrupted"
    last = [*made.values()][-1]
    assert len(last["run"]) == len(last["rollbacks"])
