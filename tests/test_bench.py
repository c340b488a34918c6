"""The benchmark: what it measures is not judged here, only that it measures, and says so in the agreed form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.defects import DEFECTS
from scripts.bench_defects import Entry, Search, row, summary
from scripts.bench_journal import append, read

ROOT = Path(__file__).parent.parent
KEYS = ["name", "value", "unit", "reference", "ratio", "aim", "note"]
REFERENCED = {
    "world",
    "switches-calm",
    "switches-stormy",
    "echo",
    "websocket",
    "timers",
    "timers-speed",
    "check",
    "check-speed",
    "message",
    "message-stormy",
    "message-growth",
    "load",
    "load-users",
    "load-growth",
    "proxy",
}
UNREFERENCED = {"echo-simloop", "proxy-added"}
TINY = ("--scale", "0.02", "--repeat", "1")


def bench(*arguments: str, simloop: str = "") -> subprocess.CompletedProcess[str]:
    """Run the benchmark in a process of its own: it times what a fresh interpreter does."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "WAVETANK_BENCH_SIMLOOP": simloop},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_figure_is_one_json_line_of_one_shape() -> None:
    """Whoever compares two runs reads the lines with a program."""
    ran = bench(*TINY)
    assert ran.returncode == 0, ran.stderr
    lines = {line["name"]: line for line in map(json.loads, ran.stdout.splitlines())}
    assert set(lines) == REFERENCED | UNREFERENCED
    for name, line in lines.items():
        assert list(line) == KEYS
        assert line["value"] > 0 or name == "proxy-added"  # which is a difference, of next to no commands here
        assert line["unit"]
        assert line["note"]
        assert (line["reference"] is not None) == (line["ratio"] is not None) == (name in REFERENCED)
    assert {name: line["aim"] for name, line in lines.items() if line["aim"] is not None} == {
        "world": 1.0,
        "switches-calm": 0.8,
        "switches-stormy": 0.45,
        "message-growth": 1.1,
        "load-users": 11.0,
        "load-growth": 1.1,
        "proxy-added": 150.0,
    }
    assert "pip install simloop" in lines["echo-simloop"]["note"]


def test_only_the_named_measurements_run() -> None:
    """Whoever makes one thing faster does not wait for the others."""
    ran = bench("message", *TINY)
    assert [json.loads(line)["name"] for line in ran.stdout.splitlines()] == [
        "message",
        "message-stormy",
        "message-growth",
    ]
    assert ran.stderr == "bench: message 0/1\nbench: message 1/1\n"


def test_simloop_is_a_reference_when_its_interpreter_is_named(tmp_path: Path) -> None:
    """simloop needs another Python than the oldest that is supported here, so an interpreter of its own runs it."""
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho 1000.0\n")
    interpreter.chmod(0o755)
    ran = bench("echo", *TINY, simloop=str(interpreter))
    line = json.loads(ran.stdout.splitlines()[1])
    assert (line["name"], line["reference"]) == ("echo-simloop", 1000.0)
    assert line["ratio"] > 0


def test_an_interpreter_that_does_not_run_is_one_sentence() -> None:
    """A wrong path is the user's slip; a traceback would hide it."""
    ran = bench("echo", *TINY, simloop="/nowhere/python")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("bench: WAVETANK_BENCH_SIMLOOP names no interpreter that can be run")


def test_an_unknown_measurement_is_one_sentence_and_exit_code_2() -> None:
    """A slip of the pen is found before minutes of measuring."""
    ran = bench("echo", "nonsense")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "bench: no measurement named 'nonsense'. "
        "Known: world, switches, echo, websocket, timers, check, message, load, proxy.\n"
    )


def test_list_names_every_measurement() -> None:
    """The names need not be remembered."""
    ran = bench("--list")
    assert [line.split()[0] for line in ran.stdout.splitlines()] == [
        "world",
        "switches",
        "echo",
        "websocket",
        "timers",
        "check",
        "message",
        "load",
        "proxy",
    ]


def test_costs_name_whose_code_the_time_is_spent_in() -> None:
    """Shares of one whole, the largest first, each of a place that can be looked at."""
    command = [sys.executable, "-m", "scripts.bench_costs", "--runs", "2", "--top", "1000"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    shares = [line["percent"] for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert 95 < sum(shares) < 105
    assert {"trio", "models", "simulator/services/postgresql"} <= {line["place"] for line in lines}


def test_a_soak_tells_what_the_workers_hold() -> None:
    """Line by line, and at the end by how much it grew."""
    command = [sys.executable, "-m", "scripts.bench_soak", "--runs", "30", "--every", "25", "--workers", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    first, last, end = map(json.loads, ran.stdout.splitlines())
    assert (first["runs"], last["runs"], end["runs"]) == (25, 30, 30)
    for line in (first, last):
        assert line["runs_per_s"] > 0
        assert 20 < line["worker_mib"] < 2000
        assert 20 < line["campaign_mib"] < 2000
        assert line["files"] >= 3
        assert line["threads"] >= 2, "its own, and the one that ends it with its parent"
    assert end["broken"] is None
    assert end["worker_ratio"] == pytest.approx(last["worker_mib"] / first["worker_mib"], rel=0.01)


def test_a_search_that_finds_nothing_counts_as_endless_and_is_not_made_again(tmp_path: Path) -> None:
    """A median over the hits alone would tell of a defect that is hardly ever found that it is found at once."""
    defect = DEFECTS[0]
    hit, miss = Search(defect.breaks, 3, 1.5), Search(None, 900, 120.0)
    assert " inf | inf " in row(defect, [hit, miss, miss])
    assert " 3 | 1.5 " in row(defect, [hit, hit, miss])
    assert "inf s at most" in summary([(defect, [hit, miss, miss])])
    elsewhere = Search("elsewhere", 5, 2.5)
    assert "| 2 of 2 (1 by elsewhere) | 4 | 2.0 |" in row(defect, [hit, elsewhere])
    journal = tmp_path / "journal"
    made = [Entry(defect.name, 1, hit), Entry(defect.name, 2, miss)]
    for entry in made:
        append(journal, entry)
    assert read(journal, Entry) == made
