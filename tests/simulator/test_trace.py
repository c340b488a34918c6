"""The file that keeps a failure: complete, atomic, and never believed when it is damaged."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from simulator import Event, InputError, Kind
from simulator.errors import EnvironmentFailedError
from simulator.fault import Fault
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait, as_kept
from simulator.trace import FAILURES, Broken, Trace, event_record, find_trace, load_trace, save_trace

PLAN = Plan(
    Setting(users=2, latency_s=0.02, seed=7),
    (
        Step(Do("ask", 1, {"text": "üß", "n": 1, "x": 0.5, "deep": {"list": [1, None, True]}}), 0.25, 4_000_000_000),
        Step(Strike(Fault("partition", ("platform", "redis"), 2.0)), 3.0),
        Step(Wait()),
    ),
)


def a_trace(property_name: str = "isolation", hash_: str = "0123456789abcdef0123456789abcdef") -> Trace:
    event = Event(0, 0.001, Kind.INVOKE, "user:alice", "ask", {"text": "üß"}, 1)
    return Trace(
        system="models.system:system",
        defects=("cache-without-user",),
        seed=3,
        plan=PLAN,
        broken=Broken(property_name, "frame", "bob received alice's"),
        hash=hash_,
        simulated_s=12.5,
        story=("0.001 s alice asks",),
        events=(event_record(event),),
    )


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_body(path: Path, **changes: object) -> Path:
    """Write a trace whose checksum is right and whose content is not."""
    body = json.loads(path.read_bytes()) | changes
    body.pop("checksum")
    encoded = msgspec.json.encode(body, order="deterministic")
    body["checksum"] = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    path.write_bytes(json.dumps(body).encode())
    return path


def test_a_trace_is_read_as_it_was_saved() -> None:
    """Every step with every argument, or the replay is of something else."""
    path = save_trace(a_trace())
    assert load_trace(path) == a_trace()
    assert path == FAILURES / "isolation-01234567" / "trace.json"
    assert [each.name for each in path.parent.iterdir()] == ["trace.json"], "no temporary file is left"


def test_saving_again_replaces_the_trace() -> None:
    """The second run of one seed finds the same failure."""
    save_trace(a_trace())
    again = msgspec.structs.replace(a_trace(), story=("told better",))
    assert load_trace(save_trace(again)) == again


@pytest.mark.parametrize("arguments", [{"x": (1, 2)}, {"x": b"ab"}, {"x": float("nan")}])
def test_drawn_arguments_are_what_a_trace_gives_back(arguments: dict[str, object]) -> None:
    """A tuple in the search and a list in the replay would be two different runs."""
    kept = as_kept(arguments)
    assert as_kept(kept) == kept
    plan = Plan(Setting(), (Step(Do("ask", 0, kept)),))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@pytest.mark.parametrize("value", [object(), "\ud800", {1: object()}])
def test_arguments_that_no_trace_can_hold_are_refused(value: object) -> None:
    """Said when they are drawn, not when a failure is to be saved."""
    with pytest.raises(InputError, match=r"JSON"):
        as_kept({"x": value})


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_trace(path)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert len(sentence) < 600
    return sentence


@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_a_damaged_trace_is_refused_or_unchanged(data: st.DataObject) -> None:
    """Flipped, inserted, removed and cut bytes: one sentence, never another exception, never another plan."""
    saved = Path("whole.json")
    if not saved.exists():
        saved.write_bytes(save_trace(a_trace()).read_bytes())
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content = content or bytearray(b"{}")
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(("flip", "insert", "remove", "cut"))):
            case "flip":
                content[at] ^= data.draw(st.integers(1, 255))
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "remove":
                del content[at : at + data.draw(st.integers(1, 40))]
            case _:
                content = content[: max(1, at)]
    damaged = Path("damaged.json")
    damaged.write_bytes(content)
    try:
        assert load_trace(damaged) == a_trace()  # a changed space between two fields changes nothing
    except InputError as error:
        assert "damaged.json" in str(error)  # noqa: PT017 - either way is right


def test_every_truncation_is_refused() -> None:
    """A full disk and a broken copy cut files anywhere."""
    content = save_trace(a_trace()).read_bytes()
    cut = Path("cut.json")
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError):
            load_trace(cut)
        assert "damaged" in refused(cut)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged or truncated"),
        (b'{"for', "damaged or truncated"),
        (b'{\n "format": "wavetank-trace",\n "version": 1,\n "sys', "damaged or truncated"),
        (b'{"format": "wavetank-trace", "x": ' + b"[" * 100_000, "damaged or truncated"),
        (b'\xff"format": "wavetank-trace"}', "damaged or truncated"),
        (b"\xff\xfe", "not a wavetank trace"),
        (b"not json", "not a wavetank trace"),
        (b"[" * 100_000, "not a wavetank trace"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "not a wavetank trace"),
        (b"[]", "not a wavetank trace"),
        (b"null", "not a wavetank trace"),
        (b'{"format": "something-else", "version": 1}', "not a wavetank trace"),
        (b'{"format": "wavetank-trace"}', "version=None"),
        (b'{"format": "wavetank-trace", "version": 2}', "Upgrade wavetank"),
        (b'{"format": "wavetank-trace", "version": 1' + b"0" * 400 + b"}", "Upgrade wavetank"),
        (b'{"format": "wavetank-trace", "version": "1"}', "Upgrade wavetank"),
        (b'{"format": "wavetank-trace", "version": 1, "x": ' + b"[" * 800 + b"]" * 800 + b"}", "damaged"),
    ],
)
def test_what_is_no_trace_is_named(content: bytes, says: str) -> None:
    """Each with its cure; none with a traceback."""
    path = Path("x.json")
    path.write_bytes(content)
    assert says in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": {"setting": {}, "steps": [{"action": {"action": "explode"}}]}},
        {"plan": {"setting": {"users": "two"}, "steps": []}},
        {"unknown": 1},
        {"story": None},
        {"version": True},
    ],
)
def test_a_wrong_trace_with_a_right_checksum_is_refused(changes: dict[str, object]) -> None:
    """Written by another program, or by hand."""
    assert "damaged" in refused(with_body(save_trace(a_trace()), **changes))


def test_a_trace_that_cannot_be_read_is_named() -> None:
    """A directory, and nothing at all."""
    assert "cannot be read" in refused(Path())
    assert "cannot be read" in refused(Path("missing"))


def test_traces_are_found_by_file_directory_id_and_beginning() -> None:
    """Whatever of it a person has at hand."""
    path = save_trace(a_trace())
    other = save_trace(a_trace("durability"))
    for name in (str(path), str(path.parent), "isolation-01234567", "iso", "isolation"):
        assert load_trace(find_trace(name)) == load_trace(path)
    assert find_trace("d") == other


def test_an_id_that_begins_another_is_itself() -> None:
    """Or a trace could become unreachable by its own name."""
    directory = save_trace(a_trace()).parent
    (directory.parent / f"{directory.name}-2").mkdir()
    (directory.parent / f"{directory.name}-2" / "trace.json").write_bytes(b"{}")
    assert find_trace(directory.name) == directory / "trace.json"


def test_an_unknown_or_ambiguous_name_lists_what_is_there() -> None:
    """The cure is in the sentence."""
    with pytest.raises(InputError, match=r"no trace named 'x'. None is saved under .*check first"):
        find_trace("x")
    save_trace(a_trace())
    save_trace(a_trace(hash_="f" * 32))
    with pytest.raises(InputError, match=r"2 traces named 'iso'. Saved here: isolation-01234567, isolation-ffffffff"):
        find_trace("iso")
    with pytest.raises(InputError, match=r"no trace named"):
        find_trace("zzz")
    Path("zzz").mkdir()
    with pytest.raises(InputError, match=r"zzz is a directory without a trace.json. Name one"):
        find_trace("zzz")
    Path("isolation-0").mkdir()
    assert find_trace("isolation-0").parent.name == "isolation-01234567", "it is the beginning of an ID, too"


def test_the_same_history_of_another_system_replaces_nothing() -> None:
    """A mended copy beside the broken one is a usual way to work, and both traces are kept."""
    mine, theirs = a_trace(), msgspec.structs.replace(a_trace(), system="other:system")
    first, second = save_trace(mine), save_trace(theirs)
    assert (first.parent.name, second.parent.name) == ("isolation-01234567", "isolation-01234567-2")
    assert save_trace(mine) == first
    assert save_trace(theirs) == second
    assert load_trace(find_trace("isolation-01234567")).system == mine.system
    assert load_trace(find_trace("isolation-01234567-2")) == theirs


def test_a_place_that_cannot_be_written_is_said() -> None:
    """The failure was found; that it could not be kept must not hide it."""
    Path(".wavetank").write_text("a file where the directory should be")
    with pytest.raises(EnvironmentFailedError, match=r"could not be saved.*Move the file out of the way"):
        save_trace(a_trace())


FULL_DISK = """
import sys, resource
sys.path.insert(0, {root!r})
from tests.simulator.test_trace import a_trace, save_trace, msgspec
from simulator.errors import EnvironmentFailedError
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    save_trace(msgspec.structs.replace(a_trace(), story=("another",)))
except EnvironmentFailedError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_trace_whole() -> None:
    """Nothing that was saved is lost, and no half file is left."""
    path = save_trace(a_trace())
    script = FULL_DISK.format(root=str(Path(__file__).parents[2]))
    full = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "could not be saved" in full.stdout
    assert load_trace(path) == a_trace()
    assert os.listdir(path.parent) == ["trace.json"]
