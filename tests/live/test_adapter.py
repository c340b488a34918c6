"""A platform with a protocol of its own, reached through an adapter: the example of docs/other-platforms.md."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from models.adapted_client import AdaptedClient
from models.adapter import FOREVER_S, Adapter, AdapterError, Received, check_adapter, fault_in
from models.device import Outcome
from models.protocol import Ack, AgentEvent, ServerFrame, Welcome
from models.system import ChatSystem
from simulator import InputError, System
from simulator.fault import Fault
from simulator.live.expressible import inexpressible
from simulator.live.process import free_port
from simulator.live.target import Target, load_target
from simulator.plan import Do, Plan, Step, Strike
from simulator.trace import load_trace, write_trace
from tests.live.stage import CACHE, QUESTION, plan, trace_of, two_same_questions, wait_until, wavetank

EXAMPLE = Path(__file__).parents[1] / "reader" / "other_platform"
PAGE = Path(__file__).parents[2] / "docs" / "other-platforms.md"
PASSWORD = "open-sesame"
TRACE = "same-question.json"


class Hall:
    """The example in a directory of its own, its server at a port of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(EXAMPLE, directory, dirs_exist_ok=True)
        self.port = free_port()
        self.rewrite("target.toml", "127.0.0.1:9100", f"127.0.0.1:{self.port}")
        self.rewrite("target.toml", '["./start-hall"]', f'["./start-hall", "--port", "{self.port}"]')

    def rewrite(self, name: str, old: str, new: str) -> None:
        path = self.directory / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    @property
    def variables(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        return {"HALL_PASSWORD": PASSWORD, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def start(self, *options: str) -> None:
        command = ["./start-hall", "--port", str(self.port), *options]
        subprocess.run(command, cwd=self.directory, env={**os.environ, **self.variables}, check=True, timeout=30)

    def stop(self) -> None:
        pid_file = self.directory / "hall.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGKILL)
            pid_file.unlink()
            wait_until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())

    def replay(self, *words: str, trace: str = TRACE, **changes: str) -> "subprocess.CompletedProcess[str]":
        variables = {**self.variables, **changes}
        return wavetank("replay", trace, "--target", "target.toml", *words, cwd=self.directory, **variables)

    def save(self, plan: Plan) -> str:
        """Keep a plan as a failure of isolation."""
        return str(write_trace(trace_of(plan), self.directory / "plan.json"))

    def written(self) -> str:
        """Return all that is in files, but for the program's own."""
        files = [each for each in self.directory.rglob("*") if each.is_file() and each.suffix in (".json", ".log")]
        return "".join(each.read_text() for each in files)


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.stop()


# The example


def test_a_failure_of_the_built_in_platform_is_reproduced_on_another_that_has_the_bug(hall: Hall) -> None:
    """Five times of five, by a program that shares nothing with the platform, and told as on any target."""
    hall.start("--hasty")
    ran = hall.replay()
    said = ran.stdout.splitlines()
    assert (ran.returncode, ran.stderr) == (1, "")
    assert said[1] == "target target.toml by hall_adapter:HallAdapter"
    assert said[2].startswith("run 1 of 5: violated: bob received 'Welcome to alice/1! I do not know: what is our")
    assert said[-1] == "reproduced 5 of 5 (95 % interval 57 to 100 %): isolation (frame)"
    (shown,) = re.findall(r"```text\n(isolation-.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert timeless(ran.stdout) == timeless(shown)


def timeless(printed: str) -> str:
    """What is the same in every run: how long it takes is not, nor which of two users' frames is seen first."""
    seen = re.compile(r"^  [ *] .*\|.*\n", re.MULTILINE)
    return re.sub(r"\d+\.\d+ s", "N s", seen.sub("", printed))


def test_it_is_not_reproduced_where_the_bug_is_not(hall: Hall) -> None:
    """And that is judged, not unknown: what users see is enough for it."""
    hall.start()
    ran = hall.replay()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "not reproduced, 0 of 5 (95 % interval 0 to 43 %)"
    assert "diverged" not in ran.stdout


def test_the_trace_of_the_example_is_one_of_the_built_in_platform() -> None:
    """Whoever reads the document can replay it in simulation."""
    trace = load_trace(EXAMPLE / TRACE)
    assert (trace.plan, trace.defects) == (two_same_questions(), (CACHE,))
    assert trace.hash == trace_of(trace.plan).hash


def test_the_target_of_the_example_is_valid_and_answers_the_doctor(hall: Hall) -> None:
    """The first two commands of whoever writes one."""
    hall.start()
    valid = wavetank("target", "validate", cwd=hall.directory, **hall.variables)
    assert (valid.returncode, valid.stderr) == (0, "")
    assert "freeze                   at 1 of 7 hosts" in valid.stdout
    doctor = wavetank("target", "doctor", cwd=hall.directory, **hall.variables)
    assert (doctor.returncode, doctor.stdout.splitlines()[-1]) == (0, "3 of 3 are as they should be")


# What goes wrong


def test_who_loses_the_connection_comes_back_and_goes_on(hall: Hall) -> None:
    """The process is killed and started again, by the means of the target file: the next question is answered."""
    hall.start()
    ask = Step(Do("ask", 0, QUESTION), 1.5)
    crash = Step(Strike(Fault("crash", ("gateway-a",), 0.5)), 4.0)
    ran = hall.replay("-n", "1", trace=hall.save(plan(ask, crash, ask)))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "run 1 of 1: holds" in ran.stdout


class Scripted(Adapter):
    """Welcomes, loses the connection at the first question, and answers after that."""

    connections = 0

    async def connect(self, nursery: trio.Nursery, host: str, port: int) -> None:
        self.connections += 1
        self.to_user, self.received = trio.open_memory_channel[str](9)
        self.to_user.send_nowait("welcome")

    async def send(self, id: str, text: str, context: str) -> None:
        if self.connections == 1:
            raise ConnectionResetError("in the middle")
        self.to_user.send_nowait(f"ack {id}")

    async def receive(self) -> str:
        return await self.received.receive()

    def classify(self, received: Received) -> ServerFrame:
        if received == "welcome":
            return Welcome(user=self.user, session="s", token="t", expires_in=FOREVER_S)
        return Ack(id=str(received).removeprefix("ack "))

    async def close(self) -> None:
        if self.connections == 1:
            self.to_user.close()


def test_of_what_was_sent_when_the_connection_was_lost_nobody_knows() -> None:
    """Neither that it happened nor that it did not; the device connects again, and the next question is answered."""
    states: list[str] = []

    async def main() -> None:
        client = AdaptedClient(
            adapter=Scripted("alice", {}),
            host="gateway",
            port=1,
            on_frame=lambda _frame: None,
            on_state=states.append,
            on_secret=lambda _secret: None,
            on_error=lambda _error: None,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.testing.wait_all_tasks_blocked()
            assert await client.send("alice-1", "why?", "alice/1", {}) is Outcome.INFO
            await trio.sleep(3.0)
            assert await client.send("alice-2", "why?", "alice/1", {}) is Outcome.OK
            await client.leave(clean=True)
            assert await client.send("alice-3", "why?", "alice/1", {}) is Outcome.FAIL

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert states == ["connected", "disconnected", "connected", "disconnected"]


def test_an_operation_without_words_is_named_before_anything_is_touched(hall: Hall) -> None:
    """The server does not even run."""
    ran = hall.replay(trace=hall.save(plan(Step(Do("cancel", 0)), Step(Do("stall", 0, {"for_s": 0.5})))))
    assert ran.returncode == 2
    assert "not expressible on target.toml: step 2 (cancel): the target's adapter does not express that" in ran.stdout
    assert "step 3 (stall)" in ran.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('case {"posted": number}:', 'case {"posted": number, "by": _}:', "KeyError: 1 in classify"),
        ('self.credentials["password"]', 'self.credentials["word"]', "KeyError: 'word' in connect"),
        ("post=text, room=context", "post=text, room=room", "NameError: name 'room' is not defined in send"),
        ("return Ack(id=self.posts[number])", "return Ack(id=number)", "classify returned a wrong Ack: Expected `str`"),
        ("return Ack(id=self.posts[number])", "return number", "classify returned int, and it tells only"),
        ("super().__init__(user, credentials)", "raise RuntimeError('no')", "RuntimeError: no in __init__"),
    ],
)
def test_an_adapter_that_fails_is_told_where_and_ends_the_replay(hall: Hall, old: str, new: str, said: str) -> None:
    """It is the user's own code, and no promise of the platform: one sentence, with the file and the line."""
    hall.rewrite("hall_adapter.py", old, new)
    hall.start()
    ran = hall.replay()
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("wavetank: adapter ")
    assert said in ran.stderr
    assert "run 1" not in ran.stdout
    if "classify returned" not in said:
        assert f"{hall.directory}/hall_adapter.py:" in ran.stderr


def test_a_password_and_a_token_in_frames_are_shown_nowhere(hall: Hall) -> None:
    """Servers echo what they should not, and a replay is sent to colleagues."""
    hall.rewrite("hall.py", 'f"Welcome to {room}!', 'f"Welcome to {room}! {self.password} {self.ticket}')
    hall.rewrite("hall.py", "ticket=secrets.token_hex(16)", "ticket=self.ticket")
    hall.rewrite(
        "hall.py", "self.password = password", 'self.password = password\n        self.ticket = "t1ck3t-0f-hall"'
    )
    hall.start("--hasty")
    ran = hall.replay("-n", "1")
    assert "reproduced 1 of 1" in ran.stdout
    assert "Welcome to alice/1! <secret> <secret> I do not know" in ran.stdout
    assert "<secret> <secret>" in (hall.directory / "same-question.replay.json").read_text()
    for secret in (PASSWORD, "t1ck3t-0f-hall"):
        assert secret not in ran.stdout + ran.stderr + hall.written()


def test_who_is_turned_away_stays_away_and_nothing_is_known_of_the_promise(hall: Hall) -> None:
    """A wrong password is no promise that was kept."""
    hall.start()
    ran = hall.replay("-n", "1", "--time-scale", "0.2", HALL_PASSWORD="a guess")
    assert ran.returncode in (2, 3)
    assert "holds" not in ran.stdout


# What an adapter may declare


def test_an_adapter_that_cannot_be_one_is_refused_with_the_cure() -> None:
    """Before anything is touched."""

    class Odd(Adapter):
        operations = ("connect", "log_out")

    class Silent(Adapter):
        tells = (Ack,)

    for wrong, said in [("text", "is no adapter"), (Odd, "Odd.operations="), (Silent, "must hold Welcome")]:
        with pytest.raises(InputError, match=said):
            ChatSystem().adapted(wrong)
    with pytest.raises(InputError, match="System takes no adapter"):
        System().adapted(Adapter)


def test_what_an_adapter_declares_is_what_it_expresses_and_tells() -> None:
    """By that steps are refused, and nobody waits for what will not come."""

    class Events(Adapter):
        operations = ("connect", "ask", "cancel")
        tells = (Welcome, AgentEvent)

    system = ChatSystem().adapted(Events)
    assert "cancel" not in system.unexpressed
    assert {"leave", "run_workflow", "trespass", "stall"} <= system.unexpressed
    assert system.untold == {"token", "ack", "cancelling", "logged_out", "reply", "error"}
    steps = plan(Step(Do("leave", 0, {"clean": True})))
    assert inexpressible(steps, Target({}), unexpressed=system.unexpressed) == [
        "step 2 (leave): the target's adapter does not express that"
    ]


def test_what_is_not_raised_by_an_adapter_is_not_blamed_on_it() -> None:
    """A bug of ours must look like one."""
    with pytest.raises(ValueError) as raised:
        json.loads("{")
    assert fault_in(Adapter, raised.value) is None
    assert fault_in(Adapter, ExceptionGroup("", [AdapterError("x is wrong")])) == "adapter x is wrong."


def test_an_adapter_is_named_like_a_system(hall: Hall) -> None:
    """And missed with the same words."""
    hall.rewrite("target.toml", "hall_adapter:HallAdapter", "hall_adapter:Nobody")
    ran = hall.replay()
    assert (ran.returncode, ran.stdout.count("\n")) == (2, 1)
    assert ran.stderr == "wavetank: module 'hall_adapter' has no 'Nobody'. Name the adapter as module:object.\n"
    assert load_target(hall.directory / "target.toml").adapter == "hall_adapter:Nobody"
    with pytest.raises(AdapterError):
        check_adapter(None)
