"""`wavetank coverage`: what matters follows from the system; what is missing is named, made, and kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.system import system as chat
from simulator.goals import FAULT, KINDS, ORDER, PATH, Goal, goals_of
from simulator.kept_plan import kept_in
from tests.command.stage import BANK, called, refused, wavetank

SEED = ("--seed", "1")


def told(file: Path) -> dict[Goal, bool]:
    body: dict[str, Any] = json.loads(file.read_bytes())
    return {Goal(each["kind"], each["name"]): each["reached"] for each in body["goals"]}


def test_what_matters_follows_from_the_system() -> None:
    """Ways, transitions, faults at places, and what happens while a host suffers: nobody lists them."""
    goals = goals_of(chat)
    assert {each.kind for each in goals} == set(KINDS)
    for each in (
        Goal(PATH, "user > gateway-a > postgres"),
        Goal("transition", "breaker of clickhouse at agents: half-open > closed"),
        Goal("transition", "connection: open > cancelling"),
        Goal("transition", "agent: started > agent_thinking"),
        Goal(FAULT, "partition at agents > clickhouse"),
        Goal(FAULT, "slow at postgres > gateway-b"),
        Goal(FAULT, "clickhouse-too-many-parts at clickhouse"),
        Goal(ORDER, "cancel while redis suffers"),
        Goal("sometimes", "resumed-elsewhere"),
    ):
        assert each in goals, each
    assert len(goals) == len(set(goals)) > 250
    assert not [each for each in goals if "look_in" in each.name], "the search does not draw it"


def test_what_is_missing_is_named_then_made_and_kept(tmp_path: Path) -> None:
    words = ("coverage", BANK, "--critical-only", "--runs", "3", *SEED, "--json", "out.json")
    code, out, _ = called(tmp_path, *words, "--fail-under", "100")
    before = told(tmp_path / "out.json")
    missing = [each for each, is_reached in before.items() if not is_reached]
    assert code == 1
    assert missing
    for each in missing:
        assert f"missing  {each}" in out
    assert "less than 100 %" in out


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("coverage")
    words = (
        "coverage",
        "--critical-only",
        "--runs",
        "4",
        "--generate",
        *SEED,
        "--json",
        "out.json",
        "--fail-under",
        "30",
    )
    small = "tests.command.few_faults:system"
    code, out, _ = called(directory, *words[:1], small, *words[1:])
    assert code == 0, out
    return directory


def test_plans_that_reach_what_a_search_did_not_are_kept_as_tests(generated: Path) -> None:
    kept = kept_in(generated / "coverage")
    goals = told(generated / "out.json")
    assert kept
    for each in kept.values():
        assert goals[each.goal]
    made = {each.goal.kind for each in kept.values()}
    assert FAULT in made
    small = "tests.command.few_faults:system"
    words = ("coverage", small, "--critical-only", "--runs", "1", *SEED, "--json", "again.json", "--fail-under", "1")
    code, out, _ = called(generated, *words)
    assert code == 0, out
    assert f"{len(kept)} kept plans of coverage/ replayed" in out
    for each in kept.values():
        assert told(generated / "again.json")[each.goal]


def test_a_kept_plan_that_reaches_its_goal_no_more_fails(generated: Path, tmp_path: Path) -> None:
    (file, kept), *_ = kept_in(generated / "coverage").items()
    body = json.loads(file.read_bytes())
    body["plan"]["steps"] = body["plan"]["steps"][:1]
    (tmp_path / "coverage").mkdir()
    (tmp_path / "coverage" / "one.json").write_text(json.dumps(body))
    words = ("--critical-only", "--runs", "1", *SEED, "--fail-under", "1")
    code, out, _ = called(tmp_path, "coverage", kept.system, *words)
    assert code == 1
    assert f"does not reach its goal any more ({kept.goal})" in out


def test_lines_and_branches_of_the_systems_own_code_are_counted(tmp_path: Path) -> None:
    """In a process of its own: what was imported before is not seen."""
    ran = wavetank(
        tmp_path, "coverage", BANK, "--runs", "2", *SEED, "--source", "tests.reader.my_system", "--json", "out.json"
    )
    assert ran.returncode in (0, 1), ran.stderr
    (file,) = json.loads((tmp_path / "out.json").read_bytes())["code"]["files"]
    assert file["path"].endswith("my_system.py")
    assert 30 < file["lines_run"] <= file["lines"]
    assert 0 < file["branches_run"] <= file["branches"]
    assert "% " in ran.stdout
    assert "my_system.py" in ran.stdout


def test_a_broken_promise_fails_it(tmp_path: Path) -> None:
    words = ("--critical-only", "--runs", "3", *SEED, "--fail-under", "0", "--defect", "cache-without-user")
    code, out, _ = called(tmp_path, "coverage", *words)
    assert code == 1
    assert "BROKEN  isolation" in out


def test_a_damaged_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coverage").mkdir()
    (tmp_path / "coverage" / "one.json").write_text("{")
    assert "is no kept plan" in refused(tmp_path, "coverage", "--critical-only")
