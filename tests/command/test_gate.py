"""`wavetank gate`: DEPLOY by evidence of every item, BLOCK for what is broken, stale, of another commit or missing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.command.stage import called, refused

EVIDENCE = Path(".wavetank") / "evidence"
SEED = ("--seed", "1")
PRE: dict[str, tuple[str, ...]] = {
    "matrix": ("--component", "LLM", "--kind", "unit", "--kind", "integration", "--runs", "12"),
    "e2e": ("first-chat", "--users", "2", "--duration", "5s"),
    "load": ("--profile", "peak", "--users", "6", "--duration", "20s"),
    "chaos": ("rollback",),
    "coverage": ("--critical-only", "--runs", "1", "--fail-under", "0", "--corpus", "kept"),
}
"""The commands whose results a gate looks at, and by which little they are made here."""
BROKEN = [
    ("unit", "matrix", "cache-without-user"),
    ("end-to-end", "e2e", "sessions-never-pruned"),
    ("objectives", "load", "cache-without-user"),
    ("no leaks", "load", "sessions-never-pruned"),
    ("rollback validated", "chaos", "farewell-before-the-rest"),
]
"""By item a defect that it blocks, and by which evidence."""


def made(directory: Path, command: str, *more: str) -> None:
    file = directory / EVIDENCE / f"{command}.json"
    code, out, err = called(directory, command, *PRE[command], *SEED, "--json", str(file), *more)
    assert code in (0, 1), out + err
    if command == "matrix":
        only_component(directory)


def committed(directory: Path) -> None:
    identity = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *words], cwd=directory, env={**os.environ, **identity}, check=True)


def only_component(directory: Path) -> None:
    """Say of the matrix that the system has no other components than the one that was tried: that is quicker."""
    file = directory / EVIDENCE / "matrix.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "components": ["LLM"]}))


def every_breaker_move(directory: Path) -> None:
    """Say of the coverage that all moves of breakers were seen: that takes a longer search than there is time for."""
    file = directory / EVIDENCE / "coverage.json"
    body = json.loads(file.read_bytes())
    for each in body["goals"]:
        each["reached"] |= each["name"].startswith("breaker of")
    file.write_text(json.dumps(body))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gate")
    committed(directory)
    (directory / EVIDENCE).mkdir(parents=True)
    for command in PRE:
        made(directory, command)
    every_breaker_move(directory)
    return directory


def blocked(directory: Path, *words: str) -> dict[str, str]:
    """Ask the gate, and return what blocks, by item."""
    code, out, _ = called(directory, "gate", *words, "--json", "gate.json")
    body: dict[str, Any] = json.loads((directory / "gate.json").read_bytes())
    found = {each["item"]: each["why"] for each in body["items"] if not each["shown"]}
    assert code == body["exit_code"] == (4 if found else 0), out
    assert out.rstrip().endswith(body["verdict"])
    assert (body["verdict"] == "BLOCK") is bool(found)
    return found


def test_the_healthy_platform_may_be_deployed(healthy: Path) -> None:
    assert blocked(healthy, "pre", "--markdown", "summary.md") == {}
    summary = (healthy / "summary.md").read_text()
    assert summary.startswith("## DEPLOY (pre-deployment, commit `")
    assert summary.count("| ✓ |") == 8
    body = json.loads((healthy / "gate.json").read_bytes())
    for each in body["items"]:
        assert len(each["sha256"]) == 64
        assert each["commit"]
        assert each["age_s"] < 3600


@pytest.mark.usefixtures("unconfirmed")
@pytest.mark.parametrize(("item", "command", "defect"), BROKEN)
def test_a_broken_platform_is_blocked_and_the_item_named(healthy: Path, item: str, command: str, defect: str) -> None:
    file = healthy / EVIDENCE / f"{command}.json"
    before = file.read_bytes()
    try:
        made(healthy, command, "--defect", defect)
        found = blocked(healthy, "pre")
        assert item in found
        assert ("integration" in found) is (item == "unit"), "a cache that mixes users up is found in both"
    finally:
        file.write_bytes(before)


def test_breakers_that_were_not_seen_to_move_block(healthy: Path) -> None:
    file = healthy / EVIDENCE / "coverage.json"
    before = file.read_bytes()
    body = json.loads(before)
    for each in body["goals"]:
        if each["name"].startswith("breaker of llm") and each["name"].endswith("half-open > closed"):
            each["reached"] = False
    try:
        file.write_text(json.dumps(body))
        assert blocked(healthy, "pre") == {
            "breakers tested": "the breaker of llm was never seen to go half-open > closed"
        }
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"growths": [{"host": "agents", "is_leak": True}]}, "the memory of agents grows"),
        ({"verdicts": {"resources": "unknown", "finishes": "holds"}}, "resources is unknown"),
    ],
)
def test_memory_that_grows_or_that_nobody_could_judge_blocks(healthy: Path, changes: dict[str, Any], told: str) -> None:
    file = healthy / EVIDENCE / "load.json"
    before = file.read_bytes()
    try:
        file.write_text(json.dumps({**json.loads(before), **changes}))
        assert blocked(healthy, "pre") == {"no leaks": told}
    finally:
        file.write_bytes(before)


def test_a_matrix_in_parts_is_one_and_lacks_what_no_part_has(healthy: Path) -> None:
    file = healthy / EVIDENCE / "matrix.json"
    before = file.read_bytes()
    body = json.loads(before)
    try:
        file.write_text(json.dumps({**body, "cells": body["cells"][:1], "components": ["LLM", "Redis"]}))
        assert blocked(healthy, "pre") == {
            "unit": "no unit cell of Redis",
            "integration": "no integration cell of LLM; no integration cell of Redis",
        }
        other = file.with_name("matrix-2.json")
        other.write_text(json.dumps({**body, "cells": body["cells"][1:], "components": ["LLM"]}))
        file.write_text(json.dumps({**body, "cells": body["cells"][:1], "components": ["LLM"]}))
        assert blocked(healthy, "pre") == {}
        other.unlink()
    finally:
        file.write_bytes(before)


def test_evidence_that_is_missing_stale_or_of_another_commit_blocks(healthy: Path, tmp_path: Path) -> None:
    assert blocked(healthy, "pre", "--max-age", "1ms").keys() >= {"unit", "rollback validated"}
    assert all("STALE" in why for why in blocked(healthy, "pre", "--max-age", "1ms").values())
    assert all("OTHER COMMIT" in why for why in blocked(healthy, "pre", "--commit", "f" * 40).values())
    assert all("MISSING" in why for why in blocked(tmp_path, "pre").values())


def test_after_deployment_evidence_must_be_of_the_target(healthy: Path) -> None:
    found = blocked(healthy, "post")
    assert found["smoke in staging"] == "MISSING: no result of wavetank e2e with --target"
    assert "MISSING: no rules" in found["alerts configured"]
    assert "MISSING" in found["no critical errors in logs"]


@pytest.fixture
def deployed(healthy: Path, tmp_path: Path) -> Path:
    """Evidence as it would be of a target."""
    committed(tmp_path)
    (tmp_path / EVIDENCE).mkdir(parents=True)
    for command in ("e2e", "load"):
        made(tmp_path, command)
        file = tmp_path / EVIDENCE / f"{command}.json"
        file.write_text(json.dumps({**json.loads(file.read_bytes()), "target": "target.toml"}))
    seen = {
        **json.loads((tmp_path / EVIDENCE / "load.json").read_bytes()),
        "command": "observe",
        "events": 10,
        "errors": [],
    }
    seen["properties"] = [{"name": "uncaught", "outcome": "holds"}, {"name": "isolation", "outcome": "holds"}]
    (tmp_path / EVIDENCE / "observe.json").write_text(json.dumps(seen))
    measures = [each["measure"] for each in seen["objectives"]]
    rules = "\n".join(f"  - alert: {each}\n    expr: {each} > 1" for each in measures)
    (tmp_path / "alerts.yaml").write_text(f"groups:\n- name: all\n  rules:\n{rules}\n")
    return tmp_path


def test_a_healthy_deployment_is_healthy(deployed: Path) -> None:
    assert blocked(deployed, "post", "--alerts", "alerts.yaml") == {}


def test_each_item_after_deployment_can_block(deployed: Path) -> None:
    """An error in a log, an answer that was late, an alert that nobody wrote."""
    observed, loaded = deployed / EVIDENCE / "observe.json", deployed / EVIDENCE / "load.json"
    good = observed.read_bytes(), loaded.read_bytes()
    observed.write_text(observed.read_text().replace('"outcome": "holds"', '"outcome": "violated"', 1))
    assert blocked(deployed, "post", "--alerts", "alerts.yaml") == {"no critical errors in logs": "broke uncaught"}
    for errors, why in ((["agents: Traceback"], "agents: Traceback"), (None, "errors were not looked for, since no")):
        observed.write_bytes(json.dumps({**json.loads(good[0]), "errors": errors}).encode())
        assert blocked(deployed, "post", "--alerts", "alerts.yaml")["no critical errors in logs"].startswith(why)
    observed.write_bytes(good[0])
    for measure, item in (("error_rate", "error rate"), ("ws_latency", "response times")):
        body = json.loads(good[1])
        for each in body["objectives"]:
            each["met"] = "missed" if each["measure"] == measure else each["met"]
        loaded.write_text(json.dumps(body))
        assert list(blocked(deployed, "post", "--alerts", "alerts.yaml")) == [item]
    loaded.write_bytes(good[1])
    rules = (deployed / "alerts.yaml").read_text().replace("memory", "something")
    (deployed / "alerts.yaml").write_text(rules)
    assert blocked(deployed, "post", "--alerts", "alerts.yaml") == {"alerts configured": "no alert names memory"}


def test_what_is_no_evidence_is_refused(tmp_path: Path) -> None:
    (tmp_path / EVIDENCE).mkdir(parents=True)
    (tmp_path / EVIDENCE / "one.json").write_text("{")
    assert "is no result of a command of wavetank" in refused(tmp_path, "gate", "pre")
    (tmp_path / EVIDENCE / "one.json").unlink()
    (tmp_path / "alerts.yaml").write_text("a: [")
    assert "holds no Prometheus rules" in refused(tmp_path, "gate", "post", "--alerts", "alerts.yaml")
