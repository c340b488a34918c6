"""What a live deployment is described by, and what is said when the description or the deployment is wrong."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from models.system import system as chat
from simulator.errors import EnvironmentFailedError, InputError
from simulator.fault import Fault
from simulator.live.clickhouse import ClickHouseServer
from simulator.live.credential import Credential
from simulator.live.expressible import inexpressible
from simulator.live.means.staging import Control
from simulator.live.process import ServerProcess, free_port
from simulator.live.redis import RedisServer
from simulator.live.target import (
    BySignals,
    ByStaging,
    HostTarget,
    Limits,
    Target,
    described,
    load_target,
    target_schema,
)
from simulator.live.validation import problems_of
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.redaction import redacted, redacted_value
from tests.live.stage import ROOT

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


def test_a_free_port_is_none_that_whoever_connects_is_given() -> None:
    """Such a one may be taken while its server is down, and then that cannot come back."""
    with socket.socket() as first:
        port = free_port()
        first.bind(("127.0.0.1", port))
        others = {free_port() for _ in range(20)}
    assert port not in others
    assert max(port, *others) < 32_768


def test_a_server_whose_port_is_taken_says_its_last_words() -> None:
    """It ends at once, and why is in its log only."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(EnvironmentFailedError, match=r"ended at once.*(?s:.)*[Aa]ddress already in use"):
            with RedisServer(port=taken.getsockname()[1]):
                pass


# What makes sense, and what may be touched


def described_as(text: str, tmp_path: Path) -> Target:
    path = tmp_path / "target.toml"
    path.write_text(text)
    return load_target(path)


GATEWAY = '[hosts.gateway-a]\naddress = "127.0.0.1:8000"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hosts]\n", "no host that users connect to has an address under [hosts]: gateway-a or gateway or"),
        (GATEWAY + "[hosts.gatway-b]\n", "[hosts] has 'gatway-b'. Known: redis, postgres,"),
        (GATEWAY + "[constants]\n'a probe' = 3\n", "[constants] has 'a probe'."),
        (GATEWAY + "[[means]]\nby = 'signals'\nhost = 'agent'\npid_file = 'p'\n", "means[0] names host 'agent'."),
        (
            GATEWAY + "[[means]]\nby = 'command'\naction = 'explode'\nat = 'redis'\ndo = ['a']\nundo = ['b']\n",
            "means[0] names 'explode', no action and no trouble of host 'redis'.",
        ),
        (
            GATEWAY + "[[means]]\nby = 'redis'\nhost = 'redis'\n",
            "means[0] is for host 'redis', which has no address under [hosts].",
        ),
    ],
)
def test_a_name_that_means_nothing_to_the_system_is_told(tmp_path: Path, text: str, said: str) -> None:
    """A misspelt host would otherwise be one that is never struck."""
    (problem,) = problems_of(described_as(text, tmp_path), chat)
    assert said in problem


def test_a_name_in_common_may_have_one_address(tmp_path: Path) -> None:
    """Behind a load balancer nobody sees which gateway it is."""
    target = described_as('[hosts.gateway]\naddress = "127.0.0.1:8000"\n', tmp_path)
    assert list(problems_of(target, chat)) == []


FAR = '[hosts.gateway-a]\naddress = "staging.example:8000"\n'


def test_another_machine_must_be_allowed_and_meant(tmp_path: Path) -> None:
    """The name of a production host is one letter away."""
    with pytest.raises(InputError, match=r"gateway-a.address is on 'staging.example'.*not in hosts of \[limits\]"):
        described_as(FAR, tmp_path).check_allowed(confirmed=True)
    allowed = described_as(FAR + '[limits]\nhosts = ["staging.example"]\n', tmp_path)
    with pytest.raises(InputError, match="Say --yes-really if that is meant"):
        allowed.check_allowed(confirmed=False)
    allowed.check_allowed(confirmed=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_this_machine_is_always_allowed(tmp_path: Path, host: str) -> None:
    """Nothing on it is anybody else's."""
    here = described_as(FAR.replace("staging.example", host), tmp_path)
    here.check_allowed(confirmed=False)
    assert here.is_here
    assert not described_as(FAR, tmp_path).is_here


@pytest.mark.parametrize(
    "text",
    [
        '[hosts.redis]\nmetrics = "http://staging.example:9090/metrics"\n',
        '[hosts.redis]\nmetrics = "http://staging.example/metrics"\n',
        "[[means]]\nby = 'toxiproxy'\nurl = 'http://staging.example:8474'\nlinks = { 'agents->redis' = 'r' }\n",
        "[[means]]\nby = 'staging'\naddress = 'staging.example:1'\nkey = { env = 'KEY' }\n",
    ],
)
def test_every_address_that_a_target_names_is_looked_at(tmp_path: Path, text: str) -> None:
    """One that is forgotten is a door."""
    with pytest.raises(InputError, match=r"is on 'staging\.example', which is not this machine"):
        described_as(GATEWAY + text, tmp_path).check_allowed(confirmed=True)


def test_limits_are_kept_before_anything_is_touched() -> None:
    """Users and seconds are counted as they would be live."""
    target = Target(
        {},
        (BySignals("redis", Path("pid"), ("true",)),),
        limits=Limits(users=0, fault_s=1.5),
    )
    crash = faults(Fault("crash", ("redis",), 1.0))
    assert inexpressible(crash, target) == ["it has 1 users, and [limits] allows users=0"]
    assert inexpressible(crash, target, time_scale=2.0)[1] == (
        "step 2 (redis crashes and is back after 1 s): it takes 2 s, and [limits] allows fault_s=1.5"
    )
    left = msgspec.structs.replace(crash, setting=Setting(users=0, left_broken=("redis",)))
    assert inexpressible(left, target) == [
        "it leaves redis broken until all else has come to rest, and [limits] allows fault_s=1.5"
    ]
    assert "may only be observed" in inexpressible(crash, Target({}, limits=Limits(observe_only=True)))[0]


def test_times_are_stretched_by_the_constant_that_differs_most() -> None:
    """A wait for a breaker to move would otherwise end before it does."""
    patience = {"a breaker's reset": 10.0, "a heartbeat": 5.0}
    assert Target({}).scale_of(patience) == 1.0
    assert Target({}, constants={"a breaker's reset": 30.0, "a heartbeat": 5.0}).scale_of(patience) == 3.0
    assert Target({}, constants={"a breaker's reset": 30.0}, time_scale=2.0).scale_of(patience) == 2.0


def test_a_description_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    """A journal keeps it, to undo what was done when the file has changed since."""
    text = GATEWAY + "log = 'gateway.log'\n[limits]\nhosts = ['a']\n"
    target = described_as(text + "[[means]]\nby = 'signals'\nhost = 'agents'\npid_file = 'p'\n", tmp_path)
    assert target.hosts["gateway-a"].log == tmp_path / "gateway.log"
    assert described_as(described(target), tmp_path) == target


def test_the_schema_that_is_published_is_that_of_the_code() -> None:
    """Editors complete and check the file by it."""
    assert json.loads((ROOT / "docs" / "target.schema.json").read_text()) == json.loads(json.dumps(target_schema()))


# Credentials


def test_a_credential_is_read_where_it_is_and_concealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on it is in nothing that wavetank says."""
    (tmp_path / "secret").write_text("canary-in-a-file\n")
    monkeypatch.setenv("SECRET", "canary-in-a-variable")
    for credential, secret in (
        (Credential(file=tmp_path / "secret"), "canary-in-a-file"),
        (Credential(env="SECRET"), "canary-in-a-variable"),
    ):
        assert credential.read() == secret
        assert redacted(f"the password is {secret}!") == "the password is <secret>!"
    assert redacted_value({"canary-in-a-file": ["x canary-in-a-variable", 7]}) == {"<secret>": ["x <secret>", 7]}


@pytest.mark.parametrize("credential", [Credential(env="UNSET_OF_WAVETANK"), Credential(file=Path("/dev/null"))])
def test_a_credential_that_is_not_there_is_named(credential: Credential) -> None:
    """By where it should be."""
    with pytest.raises(InputError, match=r"(UNSET_OF_WAVETANK|/dev/null) is not set or empty"):
        credential.read()
