"""Two runs of one plan that differ: where they part is told in words, and what parted them, if it can be known."""

import importlib
import os
import pickle
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator import DivergenceError, System
from simulator.batch import REPEATED_IN_ONE_OF
from simulator.campaign import RUNS_PER_BATCH, Budget, Campaign
from simulator.divergence import divergence, first_difference, kept_in, likely_cause, record_of
from simulator.history import History, Kind, Unseen
from simulator.plan import Do, Plan, Setting, Step, Wait
from simulator.repetition import Cause, cause_of, littered
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, event_record
from simulator.watch import Reach
from tests.simulator import unsteady
from tests.simulator.small import Quiet, drifting, quiet
from tests.simulator.unsteady import Drawing, Unsteady

ROOT = Path(__file__).parents[2]
PLAN = Plan(Setting(), (Step(Do("act", 0), 0.1),))


@pytest.fixture(autouse=True)
def _without_notes() -> Iterator[None]:
    unsteady.NOTES.unlink(missing_ok=True)
    yield
    unsteady.NOTES.unlink(missing_ok=True)


def told(system: System) -> str:
    """What is said of two runs of one plan, the first that differ: the order of eight things may well be the same."""
    one = simulate(system, PLAN, ()).history
    for number in range(20):
        other: list[History] = []
        littered(number, lambda other=other: other.append(simulate(system, PLAN, ()).history) or "")  # type: ignore[misc]
        if other[0].hash != one.hash:
            return str(divergence(system, PLAN, record_of(one), record_of(other[0])))
    raise AssertionError("all runs were equal")


@pytest.mark.parametrize(
    ("source", "cause", "function", "cure"),
    [
        (unsteady.by_the_clock, "the real clock", "time.monotonic", Reach.CLOCK),
        (unsteady.by_the_clock_of_a_loop, "the real clock", "time.monotonic", Reach.CLOCK),
        (unsteady.in_a_thread, "a thread, a file", "thread.start_new_thread", Reach.THREAD),
        (unsteady.entropy_by_an_own_name, "randomness that no world seeds", "os.urandom", Reach.ENTROPY),
        (unsteady.unseeded, "randomness that no world seeds", "random.Random", Reach.ENTROPY),
        (unsteady.counted_in_a_file, "a thread, a file", "open", Reach.MACHINE),
        (unsteady.from_another_process, "a thread, a file", "posixsubprocess.fork_exec", Reach.MACHINE),
        (unsteady.from_a_socket, "a thread, a file", "socket.socket", Reach.MACHINE),
        (unsteady.order_by_id, "the order of a set, or id()", "id", Reach.ADDRESS),
    ],
)
def test_a_call_that_leaves_the_world_is_named(
    source: Callable[[], object], cause: str, function: str, cure: Reach
) -> None:
    """What was called, the line of the system that did, what came of it, and what to do instead."""
    lines = told(Unsteady(source)).splitlines()
    assert lines[1] == "First differing event: index=3"
    assert lines[2].startswith("  once  observe seen on user:alice at 0.001 s with what=")
    assert lines[3].startswith("  then  observe seen on user:alice at 0.001 s with what=")
    assert lines[4].startswith(f"Likely cause: {cause}")
    assert any(line.startswith(f"  {function}() at tests/simulator/unsteady.py:") for line in lines), lines
    assert any(f" in {source.__name__}" in line for line in lines if line.startswith(f"  {function}()")), lines
    assert cure.value in lines
    assert any(line.startswith("What differs was recorded at tests/simulator/unsteady.py:") for line in lines)


def test_what_a_library_calls_is_told_with_its_name_and_is_what_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that a library does the clock is it: runs with a counter in its place are equal. The file is not."""
    (tmp_path / "timepiece.py").write_text(
        "import os\nfrom time import monotonic\ndef now():\n    os.stat('/')\n    return monotonic()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("simulator.watch.PACKAGES", (str(tmp_path),))
    now = importlib.import_module("timepiece").now
    text = told(Unsteady(lambda: now()))
    assert "Likely cause: the real clock" in text
    assert "  time.monotonic() at tests/simulator/test_divergence.py:" in text
    assert ", through timepiece.py\n" in text
    assert "os.stat" not in text


def test_repetitions_that_do_not_end_well_tell_nothing() -> None:
    """Neither that they are equal, nor that they are not."""
    assert cause_of(lambda: os._exit(1)) is Cause.UNKNOWN
    assert cause_of(lambda: os.kill(os.getpid(), signal.SIGKILL) or "") is Cause.UNKNOWN  # type: ignore[func-returns-value]


def test_what_depends_on_addresses_is_told_from_what_leaves_the_world() -> None:
    """Nothing is called to go through a set; where objects lie is changed instead, and nothing else."""
    text = told(Unsteady(unsteady.order_of_a_set))
    assert "Likely cause: the order of a set, or id()" in text
    assert "Called before that" not in text


def test_what_one_run_keeps_for_the_next_is_told_from_the_rest() -> None:
    """From one state of the process every run is the same: only after one another they are not."""
    text = told(drifting)
    assert "Likely cause: what one run leaves behind for the next" in text
    assert "Called before that" not in text


def test_what_no_profiler_sees_is_not_guessed() -> None:
    """That it comes from outside is known, and which it is, is not."""
    text = told(Unsteady(unsteady.unseeded_in_compiled_code))
    assert text.endswith("No call of such a thing was seen: where it is cannot be known.")


def test_a_divergence_that_does_not_come_again_has_no_cause_that_is_known() -> None:
    """All the repetitions are equal: whatever it was, it is over."""
    assert likely_cause(quiet, PLAN, 1) == "The cause cannot be known: the plan was repeated, and all runs were equal."


def test_what_is_called_after_the_difference_is_not_its_cause() -> None:
    """Else a harmless look at the clock at the end would be blamed for everything."""
    system = Unsteady(unsteady.by_the_clock)
    assert "time.monotonic()" in likely_cause(system, PLAN, 3)
    assert "time.monotonic()" not in likely_cause(system, PLAN, 2)


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (random.random, "the state of the random module"),
        (lambda: secrets.token_bytes(1), "the bytes drawn from os.urandom"),
    ],
)
def test_a_difference_in_randomness_alone_is_a_divergence(draw: Callable[[], object], what: str) -> None:
    """It would have made the next run another one, with the event that shows it far from the cause."""
    text = told(Drawing(draw))
    assert "No event shows it, but at index=" in text
    assert f"and not before, there is a difference in {what}.\nLikely cause: what one run leaves" in text


def a_history(*seen: object, unseen: Unseen | None = None) -> History:
    history = History(lambda: 1.5, lambda: unseen or Unseen())
    for each in seen:
        history.record(Kind.OBSERVE, "server", "seen", {"same": "s" * 400, "what": each})
    return history


def difference(one: History, other: History) -> tuple[int, str]:
    found = first_difference(record_of(one), record_of(other))
    assert found is not None
    return found.index, found.text


def test_both_sides_of_a_difference_are_told_and_what_differs_first() -> None:
    """Behind four hundred letters that are the same nobody would see it."""
    index, text = difference(a_history(1, 2), a_history(1, 3))
    assert index == 1
    once, then = text.splitlines()[1:]
    assert once.startswith("  once  observe seen on server at 1.5 s with what=2, same='sss")
    assert then.startswith("  then  observe seen on server at 1.5 s with what=3, same='sss")
    assert once.endswith(" ...")


def test_a_run_that_ends_before_the_other_is_a_difference() -> None:
    """At the event that only one of them has."""
    index, text = difference(a_history(1), a_history(1, 2))
    assert index == 1
    assert "\n  once  nothing: the run has ended\n  then  observe seen on server at 1.5 s with same='sss" in text


@pytest.mark.parametrize(
    ("unseen", "what"),
    [
        (Unseen(now_s=1e-9), "the exact time"),
        (Unseen(choices=1, turns=1), "the weather's choices and the number of turns that tasks had"),
    ],
)
def test_what_no_event_shows_is_named(unseen: Unseen, what: str) -> None:
    """After which event, and what it is."""
    index, text = difference(a_history(1, 2), a_history(1, 2, unseen=unseen))
    assert (index, text) == (
        0,
        f"No event shows it, but at index=0, observe seen on server at 1.5 s, and not before, "
        f"there is a difference in {what}.",
    )


def test_a_step_that_no_event_shows_is_a_difference() -> None:
    """A pause is nothing but time."""
    one, other = a_history(1), a_history(1)
    other.begin_step(Step(Wait(), 0.0))
    assert difference(one, other) == (
        1,
        "Their events are equal; what differs is a step, or what a trace does not keep.",
    )
    assert first_difference(record_of(one), record_of(a_history(1))) is None


def test_a_record_from_another_process_or_a_trace_can_be_compared() -> None:
    """Pickled it is the same; a trace keeps what can be seen."""
    here = simulate(quiet, PLAN, ()).history
    program = (
        "import pickle, sys; from tests.simulator.test_divergence import *; "
        "sys.stdout.buffer.write(pickle.dumps(record_of(simulate(quiet, PLAN, ()).history)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    assert pickle.loads(there) == record_of(here)

    trace = Trace(
        system="x:x",
        defects=(),
        seed=0,
        plan=PLAN,
        broken=Broken("p", "s", "e"),
        hash="0" * 32,
        simulated_s=0.0,
        story=(),
        events=tuple(map(event_record, here.events)),
    )
    equal = first_difference(kept_in(trace), record_of(here))
    assert equal is not None
    assert equal.text.startswith("Their events are equal")
    other = first_difference(kept_in(trace), record_of(simulate(Unsteady(lambda: 1), PLAN, ()).history))
    assert other is not None
    assert other.index == 2


class Counted(Quiet):
    """Counts its runs."""

    begun = 0

    async def serve(self) -> None:
        Counted.begun += 1
        await super().serve()


def test_every_run_is_run_twice_when_asked_and_else_one_in_fifty() -> None:
    """And the last: a campaign that found nothing ends with a run that was repeated."""

    def simulated(runs: int, *, doublecheck: bool) -> int:
        Counted.begun = 0
        Campaign(Counted(), budget=Budget(runs=runs, steps=2), seed=1, doublecheck=doublecheck).run()
        return Counted.begun - runs

    assert simulated(1, doublecheck=False) == 1
    assert simulated(REPEATED_IN_ONE_OF * RUNS_PER_BATCH, doublecheck=False) == 2
    assert simulated(REPEATED_IN_ONE_OF * RUNS_PER_BATCH + 2, doublecheck=False) == 3
    assert simulated(7, doublecheck=True) == 7


def test_a_divergence_ends_the_search_at_the_run_that_shows_it() -> None:
    """Not after hours of runs that prove nothing."""
    search = Campaign(unsteady.drawing, budget=Budget(steps=2), seed=1)
    with pytest.raises(DivergenceError, match="the state of the random module"):
        search.run()
    assert search.statistics.runs == 2
