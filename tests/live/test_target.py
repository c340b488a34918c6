"""What a live deployment is described by, and what is said when the description or the deployment is wrong."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulator.errors import EnvironmentFailedError, InputError
from simulator.fault import Fault
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.credential import Credential
from simulator.live.expressible import inexpressible
from simulator.live.means.staging import Control
from simulator.live.process import ServerProcess
from simulator.live.redis import RedisServer
from simulator.live.target import ByStaging, HostTarget, Target, load_target
from simulator.plan import Do, Plan, Setting, Step, Strike

GOOD = """
[hosts.platform]
address = "127.0.0.1:8000"
[[means]]
by = "staging"
address = "127.0.0.1:9000"
key = { file = "staging.key" }
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("garbage", "is not TOML"),
        ("\x00", "is not TOML"),
        ("", "missing required field `hosts`"),
        (GOOD + "[surprise]\n", "unknown field `surprise`"),
        (GOOD.replace(":8000", ""), "$.hosts[...].address"),
        (GOOD.replace('"staging.key"', "7"), "$.means[0].key.file"),
        (GOOD.replace('{ file = "staging.key" }', '"secret"'), "$.means[0].key"),
        (GOOD.replace("file =", "env = 'KEY', file ="), "one of the two, never the secret itself"),
        (GOOD.replace('"staging"', '"magic"'), "Invalid value 'magic' - at `$.means[0].by`"),
    ],
)
def test_a_damaged_target_is_named_with_its_fault_and_the_cure(tmp_path: Path, text: str, said: str) -> None:
    """A target file is edited by hand, and copied half."""
    path = tmp_path / "target.toml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        load_target(path)
    assert said in str(raised.value)
    assert "Name another file, or remove it if a staging wrote it" in str(raised.value)


def test_a_missing_target_says_who_writes_one(tmp_path: Path) -> None:
    """It is the first thing that a new user meets."""
    with pytest.raises(InputError, match="wavetank staging up"):
        load_target(tmp_path / "target.toml")


def test_an_unknown_host_and_an_impossible_port_are_the_users_input(tmp_path: Path) -> None:
    """Neither may end in a traceback."""
    path = tmp_path / "target.toml"
    path.write_text(GOOD.replace(":8000", ":99999"))
    with pytest.raises(InputError, match="no valid port"):
        load_target(path)
    path.write_text(GOOD)
    with pytest.raises(InputError, match=r"no address of host 'redis'.*Known: platform"):
        load_target(path).address("redis")


def faults(*struck: Fault) -> Plan:
    return Plan(Setting(), (Step(Do("connect", 0)), *(Step(Strike(fault)) for fault in struck)))


def test_what_a_target_cannot_do_is_said_by_step() -> None:
    """A replay that silently left a fault out would clear the guilty."""
    staging = ByStaging(
        "127.0.0.1:1", Credential(env="KEY"), ("redis",), ("platform->redis",), {"llm": ("slow-answers",)}
    )
    target = Target({"platform": HostTarget("127.0.0.1:2")}, (staging,))
    possible = faults(
        Fault("crash", ("redis",), 1.0),
        Fault("hold", ("redis", "platform"), 1.0),
        Fault("reset", ("user:alice", "platform")),
        Fault("terminate", ("redis",), 1.0),
        Fault("slow-answers", ("llm",), 1.0),
    )
    assert inexpressible(possible, target) == []
    of_three = Plan(Setting(replicas={"gateways": 3}), ())
    assert inexpressible(of_three, target) == ["it has gateways=3, and how many the target has cannot be changed"]
    said = inexpressible(
        faults(
            Fault("vanish", ("redis",), 1.0),
            Fault("freeze", ("clickhouse",), 1.0),
            Fault("slow", ("platform", "clickhouse"), 1.0),
            Fault("slow-answers", ("redis",), 1.0),
        ),
        target,
    )
    assert [line.split(" (")[0] for line in said] == ["step 2", "step 3", "step 4", "step 5"]
    assert "resets its connections" in said[0]
    assert "no means for host clickhouse" in said[1]
    assert "no means for link platform->clickhouse" in said[2]
    assert "(slow-answers at redis for 1 s): the staging declares no trouble 'slow-answers' of host redis" in said[3]
    with pytest.raises(InputError, match="strikes 1 place"):
        inexpressible(faults(Fault("crash", ("redis", "platform"))), target)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Listen at an address, and answer the first line with these bytes and the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "no wavetank staging"),
        (b"[1]\n", "no wavetank staging"),
        (b"", "hung up"),
        (b'{"error": "wrong key"}\n', "wrong key"),
    ],
)
def test_a_control_that_answers_something_else_is_told_apart(answer: bytes, said: str) -> None:
    """The port of a staging that ended may be somebody else's by now."""
    with answering(answer) as address:
        control = Control(address, "key")
        with pytest.raises(EnvironmentFailedError, match=said):
            control.order("status")
        control.close()


def test_a_control_that_is_not_there_says_how_to_start_one() -> None:
    """The staging may have ended since its file was written."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(EnvironmentFailedError, match="Start it with wavetank staging up"):
        Control(address, "key")


@pytest.mark.parametrize("kind", [RedisServer, ClickHouseServer])
def test_a_server_that_is_not_installed_is_named(kind: type[ServerProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure is one command."""
    monkeypatch.setattr("shutil.which", lambda _program: None)
    with pytest.raises(EnvironmentFailedError, match=r"scripts/services"), kind():
        pass


def test_a_server_whose_port_is_taken_says_its_last_words() -> None:
    """It ends at once, and why is in its log only."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(EnvironmentFailedError, match=r"ended at once.*(?s:.)*[Aa]ddress already in use"):
            with RedisServer(port=taken.getsockname()[1]):
                pass
