"""`wavetank shrink`: a saved failure made smaller, and what becomes of what was saved."""

from pathlib import Path

import msgspec
import pytest

from simulator.plan import Do, Plan, Setting, Step, Wait
from simulator.reducer import Reducer, Reduction
from simulator.trace import load_trace, write_trace
from tests.command.stage import SMALL, called, listing, refused, saved_armed
from tests.simulator.small import Armed

NOISE = (Step(Wait(), 1.0), Step(Do("act", 0), 0.2))
NEEDED = (Step(Do("arm", 0, {"code": Armed.CODE})), Step(Do("act", 0)))
LARGE = Plan(Setting(users=2), (*NOISE * 3, *NEEDED, *NOISE))
SMALLEST = Plan(Setting(), NEEDED)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A failure that was saved before it was small."""
    return saved_armed(tmp_path / "trace.json", LARGE, seed=7)


def test_a_saved_failure_becomes_smaller_beside_what_was_saved(trace: Path, tmp_path: Path) -> None:
    """It is told as a search tells it, and can be replayed by its name."""
    before = trace.read_bytes()
    code, out, _ = called(tmp_path, "shrink", "trace.json")
    assert code == 1
    assert f"harmless on {SMALL}:armed, 10 steps" in out
    assert "10 steps shrunk to 2 by" in out
    assert "found with" not in out, "that is not known of a trace"
    (path,) = (tmp_path / ".wavetank" / "failures").glob("*/trace.json")
    assert f"saved as {path.parent.name}" in out
    smaller = load_trace(path)
    assert (smaller.plan, smaller.seed, smaller.broken) == (SMALLEST, 7, load_trace(trace).broken)
    assert trace.read_bytes() == before
    assert called(tmp_path, "replay", path.parent.name, "--exact")[0] == 1


def test_what_is_as_small_as_can_be_stays_as_it_is(trace: Path, tmp_path: Path) -> None:
    """Nothing is saved a second time."""
    called(tmp_path, "shrink", "trace.json")
    before = listing(tmp_path)
    code, out, _ = called(tmp_path, "shrink", "harmless")
    assert code == 1
    assert "nothing more can be removed, by" in out
    assert listing(tmp_path) == before


def test_it_takes_no_more_time_than_it_is_given(trace: Path, tmp_path: Path) -> None:
    """What was saved can be shrunk another time."""
    code, out, _ = called(tmp_path, "shrink", "trace.json", "--max-time", "0.000001")
    assert code == 1
    assert "nothing was removed in this time" in out
    assert listing(tmp_path) == ["trace.json"]


def test_a_failure_that_is_gone_is_not_shrunk(trace: Path, tmp_path: Path) -> None:
    """Nor is another one in its place."""
    gone = msgspec.structs.replace(load_trace(trace), plan=Plan(Setting(), NOISE))
    write_trace(gone, trace)
    assert "harmless holds: this failure is gone" in refused(tmp_path, "shrink", "trace.json")
    assert listing(tmp_path) == ["trace.json"]


def test_a_search_that_had_no_time_to_shrink_says_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved is as large as it was found, and this makes it smaller."""

    def out_of_time(reducer: Reducer, plan: Plan) -> Reduction:
        reducer.best = plan
        return Reduction(plan, 0, 0.0, complete=False)

    with monkeypatch.context() as patched:
        patched.setattr(Reducer, "reduce", out_of_time)
        out = called(tmp_path, "check", f"{SMALL}:counting", "--seed", "1", "--workers", "1")[1]
    (command,) = (line.split(":", 1)[1].split() for line in out.splitlines() if line.startswith("  smaller:"))
    assert command[:2] == ["wavetank", "shrink"]
    assert "steps shrunk to 3" in called(tmp_path, *command[1:])[1]
