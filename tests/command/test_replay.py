"""`wavetank replay`: the same failure again, or a sentence that says why not."""

import json
import shutil
from pathlib import Path

import pytest

from simulator.trace import load_trace
from tests.command.stage import BANK, SMALL, called, edited, listing, refused, wavetank


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one saved failure of the reader's system."""
    directory = tmp_path_factory.mktemp("saved")
    assert wavetank(directory, "check", BANK, "--seed", "1").returncode == 1
    return directory


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def trace_in(directory: Path) -> Path:
    (path,) = directory.glob(".wavetank/failures/*/trace.json")
    return path


def test_a_replay_gives_the_same_history_and_the_story(saved: Path) -> None:
    """In any process, under any string-hash seed."""
    before = listing(saved)
    trace = load_trace(trace_in(saved))
    for hash_seed in ("0", "31337"):
        ran = wavetank(saved, "replay", trace.id, "--exact", PYTHONHASHSEED=hash_seed)
        assert ran.returncode == 1
        assert ran.stderr == ""
        assert ran.stdout == (
            f"{trace.id}: no-deposit-is-lost on {BANK}, 3 steps\n"
            f"the same history, 1 of 1: hash {trace.hash}\n"
            "no-deposit-is-lost is violated: alice read 1 after 2 were confirmed\n"
            "  1.    0.001 s  alice deposit amount=1\n"
            "  2.    0.001 s  alice deposit amount=1\n"
            "  3.    0.051 s  alice read\n"
            "  4.    0.051 s  everything is healed; then the system has 60 s to come to rest\n"
        )
    assert listing(saved) == before, "a replay writes nothing"


@pytest.mark.parametrize("name", ["no-deposit", "file", "directory"])
def test_a_trace_is_named_as_it_comes_to_hand(saved: Path, tmp_path: Path, name: str) -> None:
    """By the beginning of its ID where it was saved; by its path from anywhere."""
    path = trace_in(saved)
    where, named = {"file": (tmp_path, str(path)), "directory": (tmp_path, str(path.parent))}.get(name, (saved, name))
    code, out, _ = called(where, "replay", named, "-n", "3")
    assert code == 1
    assert "the same history, 3 of 3" in out


def test_a_failure_that_is_mended_is_gone(directory: Path) -> None:
    """Exit code 0; and with --exact another history is a divergence."""
    path = trace_in(directory)
    plan = json.loads(path.read_bytes())["plan"]
    plan["steps"] = plan["steps"][:1]
    edited(path, {"plan": plan})
    code, out, _ = called(directory, "replay", "no-deposit")
    assert code == 0
    assert "another history" in out
    assert "no-deposit-is-lost holds: this failure is gone" in out
    code, _, err = called(directory, "replay", "no-deposit", "--exact")
    assert code == 3
    assert err.startswith("wavetank: the replay has hash=")
    assert "\nFirst differing event: index=" in err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"system": "gone:system"}, "no module named 'gone'"),
        ({"system": f"{SMALL}:quiet"}, "has no property 'no-deposit-is-lost' any more"),
        ({"defects": ["gone"]}, "no defect named 'gone'"),
        ({"version": 2}, "Upgrade wavetank"),
        ({"format": "other"}, "is not a wavetank trace"),
        ({"seed": "one"}, "is damaged"),
    ],
)
def test_a_trace_of_something_else_is_refused(directory: Path, changes: dict[str, object], says: str) -> None:
    """Another version, another system, another tool: the sentence says which."""
    path = trace_in(directory)
    edited(path, changes)
    before = path.read_bytes()
    assert says in refused(directory, "replay", "no-deposit")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "arguments=none: missing a required argument: 'amount'; it takes amount"),
        ({"sum": 1}, "arguments=sum: "),
        ({"amount": 1, "sum": 1}, "arguments=amount, sum: got an unexpected keyword argument 'sum'; it takes amount"),
    ],
)
@pytest.mark.parametrize("user", [0, 7])
@pytest.mark.parametrize("live", [False, True])
def test_a_trace_of_an_older_operation_is_refused(
    directory: Path, arguments: dict[str, int], says: str, user: int, live: bool
) -> None:
    """Replayed, it would fail at once, or its step would be left out, and either would be told as mended."""
    path = trace_in(directory)
    plan = json.loads(path.read_bytes())["plan"]
    plan["steps"][0]["action"] |= {"arguments": arguments, "user": user}
    edited(path, {"plan": plan})
    if live:
        (directory / "target.toml").write_text('[hosts.bank]\naddress = "127.0.0.1:1"\n')
    sentence = refused(directory, "replay", "no-deposit", *(("--target", "target.toml") if live else ()))
    assert f"operation 'deposit' cannot be done with {says}" in sentence


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b"[" * 50_000, b"{}"])
def test_a_damaged_trace_is_refused(directory: Path, content: bytes) -> None:
    """One sentence, with the cure."""
    path = trace_in(directory)
    path.write_bytes(content)
    sentence = refused(directory, "replay", "no-deposit")
    assert "trace.json" in sentence
    assert "damaged" in sentence or "not a wavetank trace" in sentence


def test_what_never_was_a_trace_is_not_called_damaged(directory: Path) -> None:
    """Nobody can copy it again; half a trace can be."""
    (directory / "README.md").write_text("# wavetank\n")
    assert "README.md is not a wavetank trace" in refused(directory, "replay", "README.md")
    (directory / "empty").mkdir()
    assert "empty is a directory without a trace.json" in refused(directory, "replay", "empty")
    path = trace_in(directory)
    path.write_bytes(path.read_bytes()[:500])
    assert "trace.json is damaged or truncated" in refused(directory, "replay", "no-deposit")


@pytest.mark.parametrize("name", ["nothing", "no-deposit-is-lost-00000000", "x" * 5000, "missing/trace.json"])
def test_a_name_of_nothing_is_refused(saved: Path, name: str) -> None:
    """And what there is, is listed."""
    sentence = refused(saved, "replay", name)
    assert "Saved here: no-deposit-is-lost-" in sentence or "too long" in sentence


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "target.toml"),
        ("not toml [", "target.toml"),
        ("", "target.toml"),
        ("[control]\naddress = 5\n", "target.toml"),
    ],
)
def test_a_target_that_cannot_be_is_refused(directory: Path, content: str | None, says: str) -> None:
    """Before anything is touched."""
    if content is not None:
        (directory / "target.toml").write_text(content)
    before = listing(directory)
    assert says in refused(directory, "replay", "no-deposit", "--target", "target.toml")
    assert listing(directory) == before
