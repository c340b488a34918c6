"""A thousand damaged files: each is one clear sentence, and nothing is connected to that is not allowed."""

import ipaddress
import json
import random
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli_w

from simulator.fault import Fault
from simulator.live.target import target_schema
from simulator.plan import Do, Plan, Setting, Step, Strike
from tests.command.stage import called, edited, saved_armed
from tests.command.watched import SHOP, events_of, session, shop

EACH = 50  # of each sort in each round, and of recordings half as many by each command that reads them
ROUNDS = range(5)

TARGET = """\
defects = ["ack-before-store"]

[hosts.gateway-a]
address = "127.0.0.1:9"
log = "gateway.log"
tls = { name = "chat.example" }
[hosts.redis]
address = "127.0.0.1:9"
metrics = "http://127.0.0.1:9/metrics"
[credentials]
signing = { env = "SIGNING_SECRET" }
[constants]
"work to be looked for" = 3.5
[limits]
hosts = ["10.0.0.1"]
users = 3
fault_s = 20.0
[[means]]
by = "signals"
host = "agents"
pid_file = "agents.pid"
start = ["true"]
[[means]]
by = "toxiproxy"
url = "http://127.0.0.1:9"
links = { "agents->redis" = "redis" }
[[means]]
by = "command"
action = "crash"
at = "redis"
do = ["true"]
undo = ["true"]
within_s = 3
[[means]]
by = "redis"
host = "redis"
password = { file = "password" }
"""
PLAN = Plan(
    Setting(users=2, seed=7, latencies={"user:alice": 0.02}),
    (
        Step(Do("arm", 0, {"code": 2}), 0.5),
        Step(Strike(Fault("crash", ("server",), 1.0)), 0.1),
        Step(Strike(Fault("partition", ("user:bob", "server"), 1.0)), 0.1),
        Step(Do("act", 1), 0.5),
    ),
)
SALES = Plan(Setting(), (Step(Do("buy", 0, {"item": "hat"}), 1.5), Step(Do("buy", 0, {"item": "pen"}))))
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1.5, -0.0, 1e308, "", "\0", "x" * 300, "../..", [], [[]], {}, {"": 0}, "10.1.1.1:80",
    "example.org:443", "http://example.org", "::1", "agents->", "->", "127.0.0.1:99999",
)  # fmt: skip
"""What is put in place of what a file says."""


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """To whom sockets were connected; names that were looked up count as well."""
    hosts: list[str] = []

    def connect(_self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):
            hosts.append(str(address[0]))
        raise ConnectionRefusedError("nobody is connected to in this test")

    def look_up(host: Any, *_rest: Any, **_options: Any) -> list[Any]:
        hosts.append(host.decode() if isinstance(host, bytes) else str(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield hosts
    assert all(host == "localhost" or ipaddress.ip_address(host).is_loopback for host in hosts)


def garbled(content: bytes, chance: random.Random) -> bytes:
    """Damage a file as copying, editing and disks do."""
    place = chance.randrange(len(content) + 1)
    end = min(len(content), place + chance.randint(1, 40))
    match chance.randrange(6):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + content[end:]
        case 2:
            return content[:place] + chance.randbytes(chance.randint(1, 8)) + content[place:]
        case 3:
            return content[:place] + content[place:end] * 2 + content[end:]
        case 4:
            lines = content.splitlines(keepends=True)
            chance.shuffle(lines)
            return b"".join(lines)
        case _:
            return content[:place] + chance.choice(b'"[]{}=,.:0-\n\\').to_bytes() + content[place + 1 :]


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in nested lists and dictionaries, as the container and the key."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(each, dict | list):
            yield from places_in(each)


def altered(value: Any, chance: random.Random) -> None:
    """Put something odd in one place of nested lists and dictionaries, or take the place away."""
    container, key = chance.choice(list(places_in(value)))
    if chance.random() < 0.2:
        del container[key]
    else:
        container[key] = chance.choice(ODD)


def assert_told(code: object, out: str, err: str) -> None:
    assert "Traceback" not in out + err
    last = err.strip().splitlines()[-1]
    assert last.startswith("wavetank: "), err
    assert len(last) < 1000
    assert "should not have happened" not in last, last
    assert code == 2


def is_by_its_schema(text: bytes) -> bool:
    try:
        body = tomllib.loads(text.decode())
        jsonschema.validate(body, target_schema())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, jsonschema.ValidationError):
        return False
    return True


def refused_or_good(directory: Path, content: bytes) -> bool:
    """Look at a target in both ways; say whether it is refused. Only what is so by its schema is not."""
    (directory / "target.toml").write_bytes(content)
    code, out, err = called(directory, "target", "validate")
    if code == 0:
        assert is_by_its_schema(content)
    else:
        assert_told(code, out, err)
    code_of_doctor, out, err = called(directory, "target", "doctor", "--yes-really")
    assert code_of_doctor == 2, "nobody answers"
    assert "Traceback" not in out + err
    return code == 2


def test_what_is_damaged_here_is_good_before(tmp_path: Path, reached: list[str]) -> None:
    """Or everything would be refused for another reason."""
    assert not refused_or_good(tmp_path, TARGET.encode())
    assert reached == ["127.0.0.1"] * len(reached) != []


@pytest.mark.parametrize("number", ROUNDS)
def test_a_garbled_target_is_refused_in_one_sentence(tmp_path: Path, reached: list[str], number: int) -> None:
    """Copied half, edited with a slip, damaged on disk."""
    chance = random.Random(number)
    refused = sum(refused_or_good(tmp_path, garbled(TARGET.encode(), chance)) for _ in range(EACH))
    assert refused > EACH / 2


@pytest.mark.parametrize("number", ROUNDS)
def test_a_target_with_something_odd_in_it_is_refused_in_one_sentence(
    tmp_path: Path, reached: list[str], number: int
) -> None:
    """Good TOML, and no target; or one that leads elsewhere."""
    chance = random.Random(number)
    refused = 0
    for _ in range(EACH):
        body = tomllib.loads(TARGET)
        altered(body, chance)
        try:
            content = tomli_w.dumps(body).encode()
        except TypeError:  # TOML has no null
            continue
        refused += refused_or_good(tmp_path, content)
    assert refused > EACH / 2


@pytest.mark.parametrize("number", ROUNDS)
def test_a_garbled_trace_is_refused_in_one_sentence(tmp_path: Path, number: int) -> None:
    """Its checksum sees what its form does not."""
    chance = random.Random(number)
    path = saved_armed(tmp_path / "trace.json", PLAN)
    good = path.read_bytes()
    for _ in range(EACH):
        content = garbled(good, chance)
        path.write_bytes(content)
        if json.loads(good) != parsed(content):
            assert_told(*called(tmp_path, "replay", "trace.json"))


def parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize("number", ROUNDS)
def test_a_trace_that_says_something_odd_is_replayed_or_refused(
    tmp_path: Path, reached: list[str], number: int
) -> None:
    """Whoever writes one by hand computes its checksum too. Replayed on a target, it touches nothing either."""
    chance = random.Random(number)
    path = saved_armed(tmp_path / "trace.json", PLAN)
    body = json.loads(path.read_bytes())
    (tmp_path / "target.toml").write_text('[hosts.server]\naddress = "127.0.0.1:9"\n')
    refused = 0
    for _ in range(EACH):
        changed = json.loads(json.dumps(body))
        altered(changed, chance)
        path.write_text(json.dumps(changed))
        if "checksum" in changed:
            edited(path, {})
        code, out, err = called(tmp_path, "replay", "trace.json")
        if code == 2:
            assert_told(code, out, err)
            refused += 1
        assert code in (0, 1, 2)
    assert refused > EACH / 2


@pytest.mark.parametrize("command", ["import", "observe"])
@pytest.mark.parametrize("number", ROUNDS)
def test_a_garbled_recording_is_read_or_refused_in_one_sentence(tmp_path: Path, number: int, command: str) -> None:
    """What a host wrote is passed over where it cannot be read; what wavetank wrote is not."""
    chance = random.Random(number)
    session(tmp_path / "good.jsonl", events_of(shop, SALES))
    good = (tmp_path / "good.jsonl").read_bytes()
    arguments = ("import", "log.jsonl", "--system", SHOP) if command == "import" else ("observe", "--log", "log.jsonl")
    refused = 0
    for _ in range(EACH // 2):
        (tmp_path / "log.jsonl").write_bytes(garbled(good, chance))
        code, out, err = called(tmp_path, *arguments)
        if code == 2 and err.strip():
            assert_told(code, out, err)
            refused += 1
        assert code in (0, 1, 2)
        assert "Traceback" not in out + err
    assert refused > EACH / 8
