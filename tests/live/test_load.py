"""A load on real services: every objective has samples, and latency counts from when something was due."""

import json
import re
from pathlib import Path

import pytest

from models.system import system as chat
from simulator.interrupts import Interrupts
from simulator.load.live import Pace
from simulator.load.sample import Sample
from simulator.plan import Do, Plan, Setting, Step
from tests.live.stage import wavetank

LOAD = ("load", "--profile", "peak", "--users", "6", "--duration", "30s", "--seed", "3", "--target", "target.toml")


def test_every_objective_is_measured_on_a_staging(healthy: Path) -> None:
    """Those of its processes too. On a busy machine some may be missed; none may lack samples."""
    ran = wavetank(*LOAD, "--json", "load.json", cwd=healthy)
    assert ran.returncode in (0, 1), ran.stderr
    told = json.loads((healthy / "load.json").read_bytes())
    assert {each["measure"] for each in told["objectives"]} == set(chat.objectives)
    for each in told["objectives"]:
        assert each["samples"] > 0, each
        assert each["met"] in ("met", "missed")
    assert told["violated"] == []
    assert told["begun"] > 10
    assert 10 * 2**20 < told["measures"]["memory of gateway-a"]["max"] < 2**31
    assert 0 < told["measures"]["cpu"]["max"] <= 1.01
    assert re.search(r"begun \S+ after they were due, at most", ran.stdout)


def test_a_load_on_a_target_needs_its_consent(healthy: Path) -> None:
    """A limit on users holds here as it does for replays, and nothing is touched."""
    file = healthy / "limited.toml"
    file.write_text((healthy / "target.toml").read_text() + "\n[limits]\nusers = 2\n")
    ran = wavetank(*LOAD[:-1], "limited.toml", cwd=healthy)
    assert ran.returncode == 2
    assert "it has 6 users, and [limits] allows users=2" in ran.stderr


def test_what_is_begun_late_counts_from_when_it_was_due() -> None:
    """Or a system that holds its users up would have fewer slow answers to show (coordinated omission)."""
    plan = Plan(Setting(), tuple(Step(Do("ask", 0), 1.0) for _ in range(3)))
    pace = Pace(plan, lambda _number, _at_s: None, Interrupts())
    pace.late_s = {1: 0.0, 2: 1.5}
    samples = [pace.since_due(Sample("ask", at_s, 0.1, operation)) for at_s, operation in ((0.0, 1), (2.5, 2))]
    assert [(each.at_s, each.value) for each in samples] == [(0.0, 0.1), (1.0, pytest.approx(1.6))]
