"""`wavetank shrink`: a saved failure made smaller, and what becomes of what was saved."""

from pathlib import Path

import msgspec
import pytest

from simulator.plan import Do, Plan, Setting, Step, Wait
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, load_trace, write_trace
from tests.command.stage import SMALL, called, listing, refused
from tests.simulator.small import Armed, armed

NOISE = (Step(Wait(), 1.0), Step(Do("act", 0), 0.2))
NEEDED = (Step(Do("arm", 0, {"code": Armed.CODE})), Step(Do("act", 0)))
LARGE = Plan(Setting(users=2), (*NOISE * 3, *NEEDED, *NOISE))
SMALLEST = Plan(Setting(), NEEDED)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A failure that was saved before it was small."""
    saved = Trace(
        system=f"{SMALL}:armed",
        defects=(),
        seed=7,
        plan=LARGE,
        broken=Broken(property="harmless", site="", evidence="act after the code"),
        hash=simulate(armed, LARGE, ()).history.hash,
        simulated_s=1.0,
        story=(),
        events=(),
    )
    return write_trace(saved, tmp_path / "trace.json")


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
