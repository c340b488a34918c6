"""A load on real services: every objective has samples, and latency counts from when something was due."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from models.system import MIX, deployed
from models.system import system as chat
from simulator.live.target import load_target
from simulator.load.arrivals import plan_of
from simulator.load.live import run_load_live
from simulator.load.measured import LoadResult
from simulator.load.pace import Paced
from simulator.load.profile import Load
from simulator.load.sample import Sample
from tests.live.stage import CACHE, environment, staged, wait_until, wavetank

LOAD = ("load", "--profile", "peak", "--users", "6", "--duration", "20s", "--seed", "3", "--target", "target.toml")


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
    assert told["growths"] == []
    assert "gateway-a" in told["growths_unjudged"]
    assert "no leak is looked for in the memory of" in ran.stdout


def test_a_load_on_a_target_needs_its_consent(healthy: Path) -> None:
    """A limit on users holds here as it does for replays, and nothing is touched."""
    file = healthy / "limited.toml"
    file.write_text((healthy / "target.toml").read_text() + "\n[limits]\nusers = 2\n")
    ran = wavetank(*LOAD[:-1], "limited.toml", cwd=healthy)
    assert ran.returncode == 2
    assert "it has 6 users, and [limits] allows users=2" in ran.stderr


SHARED = """
users = 4
per_minute = 30
duration = "5s"
arrive_within = "1s"
[[mix]]
operation = "ask"
arguments = {question = "what is our uptime?", thread = 1}
"""


@contextmanager
def loading(directory: Path, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """Put the load on a staging by two workers, and wait until both have begun."""
    command = [sys.executable, "-m", "wavetank", *LOAD, "--workers", "2", *words]
    with subprocess.Popen(
        command, cwd=directory, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_until(lambda: len(workers_of(process)) == 2)
        log = load_target(directory / "target.toml").hosts["gateway-a"].log
        assert log is not None
        told = log.read_text()
        wait_until(lambda: "connection_opened" in log.read_text().removeprefix(told))
        yield process


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [*psutil.Process(process.pid).children()]


def deeds(loaded: LoadResult) -> list[tuple[str, str]]:
    """Return who did what, in the order in which it was planned."""
    by_number = {each.number: (each.user, each.name) for each in loaded.result.history.operations()}
    return [by_number[number] for number in loaded.invoked if number is not None]


def gateways(loaded: LoadResult) -> dict[object, str]:
    """Return where each user connected."""
    return {event.data["user"]: event.host for event in loaded.result.history.observed("connection_opened")}


def told_before_they_happened(loaded: LoadResult) -> list[object]:
    """Return the messages of which a user knew that they had arrived before a gateway did, by the history."""
    history = loaded.result.history
    accepted = {event.data["message"]: event.index for event in history.observed("message_accepted")}
    acknowledged = [event for event in history.observed("frame") if event.data["type"] == "ack"]
    assert acknowledged
    return [event.data["id"] for event in acknowledged if event.index < accepted[event.data["id"]]]


SEED = 213
"""With which nobody is to ask sooner than 1.8 s after connecting: on a busy machine that takes its time."""


def test_what_several_workers_do_and_see_is_one_history(healthy: Path) -> None:
    """The same arrivals, each begun when it is due, and one number of its own for each operation."""
    one, two = (
        run_load_live(
            deployed,
            plan_of(Load(users=6, per_minute=20, duration=4, arrive_within=1.0), MIX, "connect", SEED, latency_s=0.0),
            4.0,
            load_target(healthy / "target.toml"),
            deployed.all_properties(),
            lambda _number, _at_s: None,
            workers=workers,
        )
        for workers in (1, 2)
    )
    for each in (one, two):
        assert each.result.violated == []
        assert each.not_begun == 0
        operations = each.result.history.operations()
        assert all(operation.ok for operation in operations)
        assert sorted(operation.number for operation in operations) == sorted(
            number for number in each.invoked if number is not None
        )
        times = [event.at_s for event in each.result.history.events]
        assert times == sorted(times)
        assert not told_before_they_happened(each)
    assert deeds(one) == deeds(two)
    assert gateways(one) == gateways(two)
    assert one.begun == two.begun == len(two.result.history.operations())


def test_users_of_different_workers_are_held_apart(tmp_path: Path) -> None:
    """What one worker's user was told must not be told to another's."""
    for directory in staged(tmp_path, "--defect", CACHE):
        (directory / "shared.toml").write_text(SHARED)
        load = ("load", "--profile", "shared.toml", "--seed", "1", "--target", "target.toml", "--workers", "4")
        ran = wavetank(*load, "--json", "load.json", cwd=directory)
        assert ran.returncode == 1, ran.stderr
        told = json.loads((directory / "load.json").read_bytes())
        assert "isolation" in told["violated"]
        assert told["workers"] == 4


def test_a_worker_that_is_killed_ends_the_load_with_its_reason(healthy: Path) -> None:
    """The others would go on with a part of the load, and call that the whole."""
    with loading(healthy) as process:
        workers_of(process)[1].kill()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "worker 2 of 2 has ended with exit code -9" in err
    assert "Traceback" not in err


def test_ctrl_c_ends_a_load_of_several_workers_in_order(healthy: Path) -> None:
    """What was measured by then is told, and no worker is left."""
    with loading(healthy, "--json", "ended.json") as process:
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the figures are those of what there was by then" in out
    assert json.loads((healthy / "ended.json").read_bytes())["begun"] > 0
    assert not any(each.is_running() for each in workers)


def test_workers_end_with_whoever_began_them(healthy: Path) -> None:
    """One that is killed cannot tell them."""
    with loading(healthy) as process:
        workers = workers_of(process)
        process.kill()
        _, still_there = psutil.wait_procs(workers, timeout=20)
    assert still_there == []


def test_what_is_begun_late_counts_from_when_it_was_due() -> None:
    """Or a system that holds its users up would have fewer slow answers to show (coordinated omission)."""
    paced = Paced(late_s={1: 0.0, 2: 1.5})
    samples = [paced.since_due(Sample("ask", at_s, 0.1, operation)) for at_s, operation in ((0.0, 1), (2.5, 2))]
    assert [(each.at_s, each.value) for each in samples] == [(0.0, 0.1), (1.0, pytest.approx(1.6))]
