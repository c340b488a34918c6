"""`wavetank fidelity`: what is known to differ between simulated and real services."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.fidelity import LEDGER, Ledger, load_ledger
from tests.command.stage import called, environment, refused


def test_nothing_compared_is_not_nothing_different(tmp_path: Path) -> None:
    """An empty ledger is no praise."""
    assert called(tmp_path, "fidelity") == (0, f"nothing was compared here yet: there is no {LEDGER}\n", "")


def test_a_difference_is_told_with_both_sides_and_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen again it keeps its first date; when the case agrees it is gone."""
    monkeypatch.setattr("simulator.fidelity.today", lambda: "2026-01-02")
    ledger = Ledger()
    ledger.agrees("redis", ["incr", "get"])
    ledger.differs("redis", "xadd", ":1", "-ERR syntax error")
    monkeypatch.setattr("simulator.fidelity.today", lambda: "2026-03-04")
    ledger.differs("redis", "xadd", ":2", "-ERR syntax error")
    ledger.save(tmp_path / LEDGER)
    code, out, _ = called(tmp_path, "fidelity", "--json", "out.json")
    assert code == 1
    assert out.splitlines() == [
        "redis        2 cases agreed on 2026-01-02, 1 difference known",
        "  xadd  (since 2026-01-02, 2 times, last 2026-03-04)",
        "    simulated: :2",
        "    real:      -ERR syntax error",
    ]
    assert json.loads((tmp_path / "out.json").read_text())["services"]["redis"]["agreed"] == 2
    ledger.agrees("redis", ["incr", "get", "xadd"])
    ledger.save(tmp_path / LEDGER)
    code, out, _ = called(tmp_path, "fidelity")
    assert (code, out) == (0, "redis        3 cases agreed on 2026-03-04, no differences known\n")


def test_another_file_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    """And what to do about it."""
    (tmp_path / LEDGER).parent.mkdir()
    (tmp_path / LEDGER).write_text("[1]")
    assert "is no fidelity ledger" in refused(tmp_path, "fidelity")


SUITE = """
def test_agrees(): assert 1 == 1
def test_differs(): assert [b":1"] == [b"-ERR"]
"""


def test_a_case_of_the_conformance_suite_that_differs_is_written_down(tmp_path: Path) -> None:
    """By whoever runs the suite, without their doing."""
    place = tmp_path / "tests" / "conformance"
    place.mkdir(parents=True)
    (place / "test_redis.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", ".", "tests"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    redis = load_ledger(tmp_path / LEDGER).services["redis"]
    (difference,) = redis.differences.values()
    assert redis.agreed == 1
    assert (difference.what, difference.expected, difference.real) == ("test_differs", "[b':1']", "[b'-ERR']")
