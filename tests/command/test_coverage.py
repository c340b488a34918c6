"""`wavetank coverage`: what matters follows from the system; what is missing is named, made, and kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.system import system as chat
from simulator.fault import Fault
from simulator.goals import FAULT, KINDS, ORDER, PATH, Goal, goals_of, reached_in
from simulator.kept_plan import KeptPlan, keep, kept_in
from simulator.plan import Plan, Setting, Step, Strike, Wait
from simulator.recipes import Recipes
from simulator.simulated_run import simulate
from tests.command.stage import BANK, called, interrupted, refused, wavetank

SEED = ("--seed", "1")
FEW = "tests.command.few_faults:system"
FRAIL = "tests.command.frail:system"
CRASH, FREEZE = Goal(FAULT, "crash at server"), Goal(FAULT, "freeze at server")


def told(file: Path) -> dict[Goal, bool]:
    body: dict[str, Any] = json.loads(file.read_bytes())
    return {Goal(each["kind"], each["name"]): each["reached"] for each in body["goals"]}


def test_what_matters_follows_from_the_system() -> None:
    """Ways, transitions, faults at places, and what happens while a host suffers: nobody lists them."""
    goals = goals_of(chat)
    assert {each.kind for each in goals} == set(KINDS)
    for each in (
        Goal(PATH, "user > gateway-a > redis"),
        Goal(PATH, "user > gateway-a > postgres > agents > llm > agents > redis > gateway-b > user"),
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
    code, out, _ = called(directory, *words[:1], FEW, *words[1:])
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
    words = ("coverage", FEW, "--critical-only", "--runs", "1", *SEED, "--json", "again.json", "--fail-under", "1")
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


def frail(directory: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """Cover a system whose promise every crash breaks; return what was said and written."""
    more = ("--critical-only", *SEED, "--fail-under", "0", "--json", "out.json")
    code, out, _ = called(directory, "coverage", FRAIL, *more, *words)
    assert code == 1, out
    return out, json.loads((directory / "out.json").read_bytes())


def test_what_a_search_breaks_is_shrunk_and_saved_and_plans_are_made_all_the_same(tmp_path: Path) -> None:
    out, body = frail(tmp_path, "--runs", "30", "--generate")
    saved, *others = body["saved"]
    assert not others, "the plan for a crash shows the same failure"
    assert "BROKEN  stands: the server crashed 1 times" in out
    assert "steps shrunk to 1" in out
    assert f"wavetank replay {saved}" in out
    assert called(tmp_path, "replay", saved)[0] == 1
    assert told(tmp_path / "out.json")[FREEZE]
    assert "plans made, and kept" in out


def test_what_a_generated_plan_breaks_is_saved(tmp_path: Path) -> None:
    """A search of one run does not meet it; the plan is not kept as one that reaches its goal."""
    out, body = frail(tmp_path, "--runs", "1", "--generate")
    (saved,) = body["saved"]
    assert f"BROKEN  the plan for {CRASH} breaks stands: the server crashed 1 times" in out
    assert f"wavetank replay {saved}" in out
    assert called(tmp_path, "replay", saved)[0] == 1
    kept = [each.goal for each in kept_in(tmp_path / "coverage").values()]
    assert FREEZE in kept
    assert CRASH not in kept


def test_what_a_kept_plan_breaks_is_saved(tmp_path: Path) -> None:
    plan = Plan(Setting(users=1), (Step(Strike(Fault("crash", ("server",), 1.0)), 2.0),))
    file = keep(tmp_path / "coverage", KeptPlan(FRAIL, CRASH.kind, CRASH.name, plan))
    out, body = frail(tmp_path, "--runs", "1")
    (saved,) = body["saved"]
    assert f"BROKEN  {file.relative_to(tmp_path)} breaks stands" in out
    assert called(tmp_path, "replay", saved)[0] == 1


def test_a_kept_plan_whose_goal_is_none_any_more_is_replayed_and_told(tmp_path: Path) -> None:
    """Goals follow from the declaration, which may have changed: nothing is broken by that."""
    plan = Plan(Setting(users=1), (Step(Wait(), 1.0),))
    keep(tmp_path / "coverage", KeptPlan(FRAIL, PATH, "user > elsewhere", plan))
    words = ("--critical-only", "--runs", "1", *SEED, "--fail-under", "0")
    code, out, _ = called(tmp_path, "coverage", FRAIL, *words)
    assert code == 0, out
    assert "path: user > elsewhere is no goal any more" in out


def test_every_way_of_work_is_reached_by_plans_that_are_made() -> None:
    """Also the one on which an answer comes by another gateway than the question, since one of the two crashed."""
    missing = [each for each in goals_of(chat) if each.kind == PATH]
    for plan in Recipes(chat, 1, []).plans(missing[0]):
        history = simulate(chat, plan, ()).history
        missing = [each for each in missing if each not in reached_in(chat, history)]
        if not missing:
            break
    assert not missing


def test_a_kind_of_which_nothing_was_reached_fails_by_name(tmp_path: Path) -> None:
    """One percentage of all would not show it: there are few ways, and many faults."""
    words = ("coverage", FRAIL, "--critical-only", "--runs", "1", *SEED)
    code, out, _ = called(tmp_path, *words, "--fail-under", "1")
    assert code == 1
    assert "nothing of a kind was reached: path" in out
    assert called(tmp_path, *words, "--fail-under", "0")[0] == 0


def test_what_was_reached_by_an_interrupt_is_told_and_written(tmp_path: Path) -> None:
    words = ("coverage", FEW, "--critical-only", "--runs", "100000", *SEED, "--json", "out.json")
    code, out = interrupted(tmp_path, *words, at=r"[1-9]\d*/100000 runs")
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert code == body["exit_code"] == 130
    assert body["interrupted"]
    assert any(told(tmp_path / "out.json").values())
    assert "interrupted; the figures are those of what was run by then" in out


def test_a_damaged_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coverage").mkdir()
    (tmp_path / "coverage" / "one.json").write_text("{")
    assert "is no kept plan" in refused(tmp_path, "coverage", "--critical-only")
