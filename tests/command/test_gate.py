"""`wavetank gate`: DEPLOY by evidence of every item, BLOCK for what is broken, stale, of something else or missing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulator.live.target import load_target
from tests.command.stage import called, refused

EVIDENCE = Path(".wavetank") / "evidence"
SYSTEM = "shop:system"
COMMANDS: dict[str, tuple[str, ...]] = {
    "matrix": (SYSTEM, "--kind", "unit", "--kind", "integration", "--runs", "5"),
    "e2e": ("--system", SYSTEM, "--users", "2", "--duration", "5s"),
    "load": (SYSTEM, "--users", "5", "--duration", "20s"),
    "chaos": ("--system", SYSTEM, "--all"),
    "coverage": (SYSTEM, "--critical-only", "--generate", "--runs", "20", "--fail-under", "50"),
}
"""The commands whose results a gate looks at, as anybody would call them for a system as small as this one."""
BROKEN = [
    ("unit", "matrix", "overcharges", "shop fails: honest: "),
    ("integration", "matrix", "overcharges", "shop fails: honest: "),
    ("end-to-end", "e2e", "overcharges", "broke honest"),
    ("objectives", "load", "starts-late", "buy p(99) < 3s is"),
    ("no leaks", "load", "keeps-connections", "resources is violated"),
    ("breakers tested", "coverage", "never-asks-again", "the breaker of store was never seen to go open > half-open"),
    ("chaos", "chaos", "never-asks-again", "store-unreachable deviated"),
    ("rollback validated", "chaos", "overcharges", "rollback deviated, broke honest"),
]
"""By item a defect that it blocks, by which evidence, and what it says."""


def made(directory: Path, file: Path, command: str, *more: str) -> None:
    words = (*(more or COMMANDS[command]), "--seed", "1", "--json", str(file))
    code, out, err = called(directory, command, *words)
    assert code in (0, 1), out + err


def git(directory: Path, *words: str) -> None:
    identity = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], cwd=directory, env={**os.environ, **identity}, check=True, capture_output=True)


def edited(file: Path, **changes: Any) -> None:
    """Have a result say something else, as another run would have written it."""
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **changes}))


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A team's repository, where the small system is, and all evidence of it."""
    directory = tmp_path_factory.mktemp("gate") / "checkout"
    shutil.copytree(Path(__file__).with_name("gated"), directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / ".gitignore").write_text("__pycache__/\n")
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-q", "-m", "one")
    for command in COMMANDS:
        made(directory, directory / EVIDENCE / f"{command}.json", command)
    yield directory
    sys.modules.pop("shop")


@pytest.fixture
def evidence(checkout: Path, tmp_path: Path) -> Path:
    """A copy of the evidence."""
    return Path(shutil.copytree(checkout / EVIDENCE, tmp_path / "evidence"))


def asked(checkout: Path, evidence: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """Ask the gate, and return what it told, and its result."""
    file = evidence.parent / "gate.json"
    words = (*words, "--system", SYSTEM, "--evidence", str(evidence), "--json", str(file))
    code, out, err = called(checkout, "gate", *words)
    body: dict[str, Any] = json.loads(file.read_bytes())
    assert code == body["exit_code"] == (4 if body["verdict"] == "BLOCK" else 0), out + err
    return out, body


def blocked(checkout: Path, evidence: Path, *words: str) -> dict[str, str]:
    """Ask the gate, and return what blocks, by item."""
    _, body = asked(checkout, evidence, *words)
    found = {each["item"]: each["why"] for each in body["items"] if not each["shown"]}
    assert (body["verdict"] == "BLOCK") is bool(found)
    return found


def test_the_healthy_system_may_be_deployed(checkout: Path, evidence: Path) -> None:
    """Evidence beside the code, in files that git does not ignore, makes it no other code."""
    summary = evidence.parent / "summary.md"
    out, body = asked(checkout, checkout / EVIDENCE, "pre", "--markdown", str(summary))
    assert out.endswith("\nDEPLOY\n"), out
    assert summary.read_text().startswith("## DEPLOY (pre-deployment, commit `")
    assert summary.read_text().count("| ✓ |") == 8
    for each in body["items"]:
        assert len(each["sha256"]) == 64
        assert each["commit"]
        assert each["age_s"] < 3600
        assert each["deployment"] == "simulated"


@pytest.mark.usefixtures("unconfirmed")
@pytest.mark.parametrize(("item", "command", "defect", "told"), BROKEN)
def test_a_broken_system_is_blocked_and_the_item_named(
    checkout: Path, evidence: Path, item: str, command: str, defect: str, told: str
) -> None:
    file = evidence / f"{command}.json"
    made(checkout, file, command, *COMMANDS[command], "--defect", defect)
    found = blocked(checkout, evidence, "pre")
    assert told in found[item]
    assert f"DEFECTS: {file} was made with {defect}" in found[item]


def test_a_part_of_what_the_system_comes_with_is_not_all_of_it(checkout: Path, evidence: Path) -> None:
    made(checkout, evidence / "chaos.json", "chaos", "--system", SYSTEM, "rollback")
    made(checkout, evidence / "e2e.json", "e2e", "--system", SYSTEM, "two-things", "--duration", "5s")
    assert blocked(checkout, evidence, "pre") == {
        "end-to-end": "nothing-much was not walked",
        "chaos": "store-unreachable was not done",
    }


@pytest.mark.usefixtures("unconfirmed")
def test_what_is_broken_is_named_before_what_was_not_done(checkout: Path, evidence: Path) -> None:
    """Of many things only the first few are told."""
    made(checkout, evidence / "chaos.json", "chaos", "--system", SYSTEM, "rollback", "--defect", "overcharges")
    found = blocked(checkout, evidence, "pre")
    assert found["chaos"].startswith("rollback deviated, broke honest; store-unreachable was not done; DEFECTS: ")


@pytest.mark.parametrize(
    ("command", "changes", "told"),
    [
        ("e2e", {"journeys": {}, "known_journeys": []}, {"end-to-end": "no journey was walked"}),
        ("e2e", {"interrupted": True}, {"end-to-end": "wavetank e2e was interrupted"}),
        ("load", {"verdicts": {}}, {"no leaks": "honest is not judged; resources is not judged; uncaught is not"}),
        ("load", {"known_promises": []}, {"no leaks": "no promise was judged"}),
        ("load", {"growths": [{"host": "shop", "is_leak": True}]}, {"no leaks": "the memory of shop grows"}),
        ("coverage", {"exit_code": 1}, {"breakers tested": "wavetank coverage ended with exit code 1"}),
        ("coverage", {"goals": []}, {"breakers tested": "no breaker was found"}),
        (
            "chaos",
            {"journals": {}, "not_done": {"rollback": "no means", "store-unreachable": "no means"}},
            {
                "chaos": "no experiment was done; store-unreachable was not",
                "rollback validated": "no experiment with the tag",
            },
        ),
        (
            "matrix",
            {"cells": [], "components": []},
            {"unit": "the system has no components", "integration": "the system has no components"},
        ),
    ],
)
def test_what_holds_nothing_shows_nothing(
    checkout: Path, evidence: Path, command: str, changes: dict[str, Any], told: dict[str, str]
) -> None:
    edited(evidence / f"{command}.json", **changes)
    found = blocked(checkout, evidence, "pre")
    assert found.keys() == told.keys()
    assert all(found[item].startswith(why) for item, why in told.items()), found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"system": "shop:other"}, "OTHER SYSTEM"),
        ({"made_at": ago(-60)}, "OF THE FUTURE"),
        ({"made_at": ago(60 * 25)}, "STALE"),
        ({"commit": "f" * 40}, "OTHER COMMIT"),
        ({"commit": None, "module": "/usr/lib/shop.py"}, "OTHER COMMIT"),
        ({"exit_code": 130}, "wavetank e2e ended with exit code 130"),
    ],
)
def test_evidence_of_something_else_is_refused_and_named(
    checkout: Path, evidence: Path, changes: dict[str, Any], told: str
) -> None:
    edited(evidence / "e2e.json", **changes)
    found = blocked(checkout, evidence, "pre")
    assert list(found) == ["end-to-end"]
    assert found["end-to-end"].startswith(told)


def test_objectives_of_which_nothing_is_measured_are_not_met(checkout: Path, evidence: Path) -> None:
    """In simulation there is no memory; a profile with nothing else holds nobody to anything."""
    profile = evidence.parent / "profile.toml"
    profile.write_text('users = 2\nper_minute = 30\nduration = "5s"\n[objectives]\nmemory = "max < 1GiB"\n')
    made(checkout, evidence / "load.json", "load", SYSTEM, "--profile", str(profile))
    assert blocked(checkout, evidence, "pre") == {
        "objectives": "no such objective is met; no objective of buy; no objective of error_rate"
    }


def test_a_matrix_in_parts_is_one_and_lacks_what_no_part_has(checkout: Path, evidence: Path) -> None:
    file = evidence / "matrix.json"
    cells = json.loads(file.read_bytes())["cells"]
    edited(file, cells=cells[:1], components=["shop", "store"])
    assert blocked(checkout, evidence, "pre") == {
        "unit": "no unit cell of store",
        "integration": "no integration cell of shop; no integration cell of store",
    }
    other = Path(shutil.copy(file, evidence / "matrix-2.json"))
    edited(other, cells=cells[1:], components=["shop"], made_at=ago(0))
    assert blocked(checkout, evidence, "pre") == {}
    edited(other, cells=cells[2:])
    assert blocked(checkout, evidence, "pre") == {"integration": "no integration cell of shop"}, "as the other part has"


def test_evidence_that_is_missing_stale_or_of_another_commit_blocks(checkout: Path, evidence: Path) -> None:
    assert blocked(checkout, evidence, "pre", "--max-age", "1ms").keys() >= {"unit", "rollback validated"}
    assert all("STALE" in why for why in blocked(checkout, evidence, "pre", "--max-age", "1ms").values())
    assert all("OTHER COMMIT" in why for why in blocked(checkout, evidence, "pre", "--commit", "f" * 40).values())
    shutil.rmtree(evidence)
    assert all("MISSING" in why for why in blocked(checkout, evidence, "pre").values())


# Of which code it is


def test_code_that_is_in_no_commit_is_other_code(checkout: Path, evidence: Path) -> None:
    """A new file is found by its name's pattern, and so is part of what is tested."""
    new = checkout / "experiments" / "new.toml"
    new.write_text("")
    try:
        out, body = asked(checkout, evidence, "pre")
        assert all("OTHER COMMIT" in each["why"] for each in body["items"])
        assert "experiments/new.toml differ from it, or are not in it" in out
        made(checkout, evidence / "e2e.json", "e2e")
        assert json.loads((evidence / "e2e.json").read_bytes())["commit"].endswith("+")
    finally:
        new.unlink()
    assert "is of commit" in blocked(checkout, evidence, "pre")["end-to-end"]


def test_where_git_cannot_say_what_differs_nothing_is_as_committed(checkout: Path, evidence: Path) -> None:
    index = checkout / ".git" / "index"
    before = index.read_bytes()
    index.write_bytes(b"damaged")
    try:
        assert all("OTHER COMMIT" in why for why in blocked(checkout, evidence, "pre").values())
    finally:
        index.write_bytes(before)


def test_the_commit_is_that_of_the_code_and_not_of_the_directory(
    checkout: Path, evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that is installed is in no commit of whoever tests it, nor is one of another checkout."""
    monkeypatch.setattr(sys.modules["shop"], "__file__", str(tmp_path / "installed" / "shop.py"))
    made(checkout, evidence / "e2e.json", "e2e")
    why = f"is of {tmp_path / 'installed' / 'shop.py'}, which no repository keeps"
    assert blocked(checkout, evidence, "pre") == {"end-to-end": f"OTHER COMMIT: {evidence / 'e2e.json'} {why}"}
    ignored = checkout / "__pycache__" / "shop.py"
    ignored.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(sys.modules["shop"], "__file__", str(ignored))
    made(checkout, evidence / "e2e.json", "e2e")
    assert "which no repository keeps" in blocked(checkout, evidence, "pre")["end-to-end"]
    monkeypatch.undo()
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "another")
    made(other, evidence / "e2e.json", "e2e")
    assert blocked(checkout, evidence, "pre") == {}


# Of which target it is


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return a_target(tmp_path / "target.toml", 7000)


def a_target(file: Path, port: int) -> Path:
    file.write_text(f'[hosts.shop]\naddress = "127.0.0.1:{port}"\n')
    return file


def live(evidence: Path, command: str, target: Path, **changes: Any) -> Path:
    """Say of a result that it was made on a target: real ones are made elsewhere."""
    body = json.loads((evidence / f"{command}.json").read_bytes())
    if command == "load":
        body["objectives"] = [{**each, "met": "met"} for each in body["objectives"]]
    made_on = {"target": str(target), "target_sha256": load_target(target).sha256}
    file = evidence / f"{command}-{target.stem}.json"
    file.write_text(json.dumps({**body, **made_on, "made_at": ago(0), **changes}))
    return file


@pytest.fixture
def deployed(evidence: Path, target: Path) -> Path:
    """Evidence as it would be of a target."""
    for command in ("e2e", "load"):
        live(evidence, command, target)
    promises = [{"name": "uncaught", "outcome": "holds"}, {"name": "honest", "outcome": "holds"}]
    seen = json.loads((evidence / "load-target.json").read_bytes()) | {"command": "observe", "properties": promises}
    (evidence / "observe.json").write_text(json.dumps({**seen, "events": 10, "errors": []}))
    rules = "\n".join(f"  - alert: {each}\n    expr: {each} > 1" for each in seen["known_objectives"])
    (evidence.parent / "alerts.yaml").write_text(f"groups:\n- name: all\n  rules:\n{rules}\n")
    return evidence


def after(checkout: Path, evidence: Path, *words: str) -> dict[str, str]:
    return blocked(checkout, evidence, "post", "--alerts", str(evidence.parent / "alerts.yaml"), *words)


def test_a_healthy_deployment_is_healthy(checkout: Path, deployed: Path, target: Path) -> None:
    assert after(checkout, deployed) == {}
    assert after(checkout, deployed, "--target", str(target)) == {}
    out, body = asked(checkout, deployed, "pre")
    assert f"; on {target}" in out
    assert f"on {target}" in {each["deployment"] for each in body["items"]}


def test_after_deployment_evidence_must_be_of_the_target(checkout: Path, evidence: Path) -> None:
    found = blocked(checkout, evidence, "post")
    assert found["smoke in staging"] == "MISSING: no result of wavetank e2e with --target"
    assert "MISSING: no rules" in found["alerts configured"]
    assert "MISSING" in found["no critical errors in logs"]


def test_all_evidence_is_of_one_target(checkout: Path, deployed: Path, target: Path) -> None:
    other = a_target(deployed.parent / "other.toml", 7001)
    assert all("OTHER TARGET" in why for why in after(checkout, deployed, "--target", str(other)).values())
    assert blocked(checkout, deployed, "pre", "--target", str(other)) == {}, "what is simulated is of no target"
    (deployed / "e2e-target.json").unlink()
    live(deployed, "e2e", other, made_at=ago(5))
    assert list(after(checkout, deployed)) == ["smoke in staging"]
    a_target(target, 7002)
    assert len(after(checkout, deployed, "--target", str(target))) == 5, "the file says something else by now"


@pytest.mark.parametrize(
    ("command", "changes", "item", "told"),
    [
        ("observe", {"errors": ["shop: Traceback"]}, "no critical errors in logs", "shop: Traceback"),
        ("observe", {"errors": None}, "no critical errors in logs", "errors were not looked for"),
        ("observe", {"events": 0}, "no critical errors in logs", "nothing was logged"),
        ("observe", {"properties": []}, "no critical errors in logs", "no promise could be judged"),
        (
            "observe",
            {"properties": [{"name": "a", "outcome": "holds"}, {"name": "b", "outcome": "violated"}]},
            "no critical errors in logs",
            "broke b",
        ),
    ],
)
def test_what_logs_tell_can_block(
    checkout: Path, deployed: Path, command: str, changes: dict[str, Any], item: str, told: str
) -> None:
    edited(deployed / f"{command}.json", **changes)
    found = after(checkout, deployed)
    assert list(found) == [item]
    assert found[item].startswith(told)


@pytest.mark.parametrize("met", ["missed", "no samples", "only live"])
def test_objectives_of_a_target_can_block(checkout: Path, deployed: Path, met: str) -> None:
    """Real services have memory: what only they can show, they must."""
    file = deployed / "load-target.json"
    objectives = json.loads(file.read_bytes())["objectives"]
    for measure, item in (("error_rate", "error rate"), ("buy", "response times")):
        edited(file, objectives=[{**each, "met": met if each["measure"] == measure else "met"} for each in objectives])
        found = after(checkout, deployed)
        assert list(found) == [item]
        assert f"is {met}" in found[item]


def test_an_objective_without_an_alert_blocks(checkout: Path, deployed: Path) -> None:
    rules = deployed.parent / "alerts.yaml"
    rules.write_text(rules.read_text().replace("memory", "something"))
    assert after(checkout, deployed) == {"alerts configured": "no alert names memory"}


def test_what_cannot_be_done_on_a_target_does_not_block_and_is_named(
    checkout: Path, evidence: Path, target: Path
) -> None:
    """Some of what a simulated service gets into, no real one can be made to."""
    journals = json.loads((evidence / "chaos.json").read_bytes())["journals"]
    changes = {"journals": {"rollback": journals["rollback"]}, "not_done": {"store-unreachable": "no means"}}
    live(evidence, "chaos", target, **changes)
    out, body = asked(checkout, evidence, "pre")
    assert body["verdict"] == "DEPLOY"
    assert "; cannot be done there: store-unreachable" in out


def test_memory_that_was_watched_for_too_short_a_time_is_named(checkout: Path, evidence: Path) -> None:
    edited(evidence / "load.json", growths_unjudged=["shop", "store"])
    out, _ = asked(checkout, evidence, "pre")
    assert "; watched for too short a time: the memory of shop, store" in out


def test_what_failed_counts_until_the_same_was_shown(checkout: Path, evidence: Path, target: Path) -> None:
    """What passes in simulation says nothing of the services that failed."""
    broken = live(evidence, "load", target, made_at=ago(30), violated=["honest"], exit_code=1)
    assert blocked(checkout, evidence, "pre") == {
        "objectives": "broke honest",
        "no leaks": "wavetank load ended with exit code 1",
    }
    assert blocked(checkout, evidence, "pre", "--max-age", "20m") == {}
    again = Path(shutil.copy(broken, evidence / "load-again.json"))
    edited(again, made_at=ago(20), violated=[], exit_code=0)
    assert blocked(checkout, evidence, "pre") == {}
    other = live(evidence, "load", a_target(evidence.parent / "other.toml", 7001), made_at=ago(10))
    again.unlink()
    assert "objectives" in blocked(checkout, evidence, "pre"), "another target is another one"
    edited(broken, commit="f" * 40)
    assert blocked(checkout, evidence, "pre") == {}
    assert other.exists()


# What is damaged, and how it is told


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[" * 100_000,
        b"[]",
        b"\xff",
        b'{"command": "e2e", "made_at": "2026-01-01T00:00:00", "commit": null}',
        b'{"command": "e2e", "made_at": "2026-01-01T00:00:00Z", "commit": null, "violated": null}',
    ],
)
def test_what_is_no_whole_result_blocks_and_is_named(checkout: Path, evidence: Path, data: bytes) -> None:
    file = evidence / "damaged.json"
    file.write_bytes(data)
    found = blocked(checkout, evidence, "pre")
    assert list(found) == ["evidence"]
    assert found["evidence"].startswith(f"DAMAGED: {file} is no whole result of a command of wavetank: ")


@pytest.mark.parametrize("rules", ["a: [", "[" * 1_000, "groups: [{rules: [alert]}]", "groups: []\ngroups: []"])
def test_what_are_no_rules_is_refused(checkout: Path, tmp_path: Path, rules: str) -> None:
    (tmp_path / "alerts.yaml").write_text(rules)
    assert "holds no Prometheus rules" in refused(
        checkout, "gate", "post", "--system", SYSTEM, "--alerts", str(tmp_path / "alerts.yaml")
    )


def test_a_summary_that_cannot_be_written_hides_no_verdict(checkout: Path, evidence: Path) -> None:
    words = ("gate", "pre", "--system", SYSTEM, "--evidence", str(evidence), "--markdown", "/dev/full")
    file = evidence.parent / "gate.json"
    code, out, err = called(checkout, *words, "--json", str(file))
    assert code == 2
    assert out.endswith("\nDEPLOY\n")
    assert "No space left" in err
    (evidence / "e2e.json").unlink()
    code, out, _ = called(checkout, *words, "--json", str(file))
    assert code == json.loads(file.read_bytes())["exit_code"] == 4
    assert out.endswith("\nBLOCK\n")


def test_evidence_that_was_made_in_less_time_says_so(checkout: Path, evidence: Path) -> None:
    summary = evidence.parent / "summary.md"
    edited(evidence / "load.json", scale=0.01)
    edited(evidence / "matrix.json", scale=1.0)
    out, body = asked(checkout, evidence, "pre", "--markdown", str(summary))
    assert out.endswith("\nDEPLOY, on evidence SCALED by 0.01\n")
    assert out.count("; simulated; SCALED by 0.01\n") == 2
    assert summary.read_text().startswith("## DEPLOY, on evidence SCALED by 0.01 (")
    assert (body["verdict"], body["evidence_scale"]) == ("DEPLOY", 0.01)
