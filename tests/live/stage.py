"""A staging for tests: brought up as its users do, with plans written by hand to replay on it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import trio

from models.system import system as chat
from simulator.fault import Fault
from simulator.history import Value
from simulator.live.anchors import anchors_of
from simulator.live.means.staging import Control
from simulator.live.run import LiveResult, run_live
from simulator.live.target import ByStaging, Target, load_target
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, event_record
from wavetank.live import replay_live

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0  # how long something that must happen may take
CACHE = "cache-without-user"
QUESTION: dict[str, Value] = {"question": "what is our uptime?", "thread": 1}
WORKFLOW: dict[str, Value] = {
    **QUESTION,
    "workflow": {
        "triage-1": [],
        "data-2": ["triage-1"],
        "action-3": ["triage-1"],
        "report-4": ["data-2", "triage-1"],
    },
}


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def wavetank(*words: str, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "wavetank", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False, timeout=90
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def target_in(directory: Path) -> Target:
    return load_target(directory / "target.toml")


def staging_of(target: Target) -> ByStaging:
    (means,) = (means for means in target.means if isinstance(means, ByStaging))
    return means


def control_of(target: Target) -> Control:
    staging = staging_of(target)
    return Control(staging.address, staging.key.read())


def status_of(target: Target) -> dict[str, Value]:
    with closing(control_of(target)) as control:
        return control.order("status")


def hosts_up(target: Target) -> dict[str, Value]:
    up = status_of(target)["up"]
    assert isinstance(up, dict)
    return up


def pid_of(target: Target) -> int:
    pid = status_of(target)["pid"]
    assert isinstance(pid, int)
    return pid


def listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1.0).close()
    except OSError:
        return False
    return True


def wait_nothing_left(target: Target) -> None:
    """Wait until no process of a staging listens and its directories are gone."""
    for name, host in target.hosts.items():
        if host.address:
            wait_until(lambda name=name: not listens(target.address(name)))  # type: ignore[misc]
        if host.log is not None:
            wait_until(lambda log=host.log: not log.parent.exists())  # type: ignore[misc]


def staged(directory: Path, *words: str) -> Iterator[Path]:
    """Have a staging up in a directory, and see that nothing of it is left."""
    up = wavetank("staging", "up", *words, cwd=directory)
    assert up.returncode == 0, up.stderr
    yield directory
    target = target_in(directory)
    down = wavetank("staging", "down", cwd=directory)
    assert (down.returncode, down.stdout) == (0, "staging is down\n")
    wait_nothing_left(target)


# Plans


def plan(*steps: Step, users: int = 1) -> Plan:
    """A plan that begins with users who connect and end up with nothing to do."""
    return Plan(Setting(users=users), (*(Step(Do("connect", number), 0.3) for number in range(users)), *steps))


def two_same_questions() -> Plan:
    """The shortest plan that shows `cache-without-user`."""
    return plan(Step(Do("ask", 0, QUESTION), 1.5), Step(Do("ask", 1, QUESTION)), users=2)


def struck(*faults: Fault) -> Plan:
    """A plan in which a user asks before and after faults."""
    strikes = (Step(Strike(fault), fault.for_s + 0.05) for fault in faults)
    return plan(Step(Do("ask", 0, QUESTION), 0.3), *strikes, Step(Do("ask", 0, QUESTION)))


def trace_of(plan: Plan, broken: str = "isolation", site: str = "frame") -> Trace:
    """A plan with the history that it makes in simulation, as if its failure had been found there."""
    result = simulate(chat.with_defects([CACHE]), plan, ())
    return Trace(
        system="models.system:system",
        defects=(CACHE,),
        seed=0,
        plan=plan,
        broken=Broken(property=broken, site=site, evidence=""),
        hash=result.history.hash,
        simulated_s=result.simulated_s,
        story=(),
        events=tuple(event_record(event) for event in result.history.events),
    )


def replay(directory: Path, trace: Trace, runs: int = 1) -> int:
    return replay_live(chat.with_defects([CACHE]), trace, directory / "target.toml", runs)


def played(directory: Path, plan: Plan) -> LiveResult:
    """Replay a plan on the platform as it should be, each step when it came in simulation; no promise is broken."""
    events = [event_record(event) for event in simulate(chat, plan, ()).history.events]
    anchors = anchors_of(plan, [each for each in events if each["name"] not in chat.unawaited])
    result = trio.run(
        run_live, chat, plan, lambda run: run.play(plan, anchors), target_in(directory), chat.all_properties()
    )
    evidence = {name: verdict.violation for name, verdict in result.verdicts.items() if verdict.violation}
    assert not evidence
    return result
