"""Many runs of one system: the same from the same seed, judged as promised, and ended as it should."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import hypothesis.stateful
import pytest
import trio

from simulator import (
    DivergenceError,
    InputError,
    Property,
    Reading,
    System,
    SystemFailedError,
    User,
    Violation,
    always,
    machine_for,
    operation,
)
from simulator.batch import Searched
from simulator.campaign import Budget, Campaign
from simulator.generation import draw_runs
from simulator.machine import Drawing
from simulator.plan import Do, Plan
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.statistics import Statistics
from tests.reader.my_system import system as bank
from tests.simulator.small import Quiet, counting, drifting, outcomes, quiet, unreached

ROOT = Path(__file__).parents[2]
J = TypeVar("J")
R = TypeVar("R")


def campaign(system: System, *, runs: int = 20, seed: int = 1, **options: object) -> Campaign:
    return Campaign(system, budget=Budget(runs=runs, steps=12), seed=seed, **options)  # type: ignore[arg-type]


def test_one_seed_gives_the_same_runs_again() -> None:
    """The seed is all that a report needs to keep of a campaign. Another gives others."""
    first, again, other = (campaign(counting, seed=seed).run() for seed in (4, 4, 5))
    assert first.failure is not None
    assert again.failure is not None
    assert other.failure is not None
    assert first.failure.found == again.failure.found != other.failure.found
    assert first.failure.result.history.hash == again.failure.result.history.hash
    assert first.statistics.runs == again.statistics.runs
    assert first.statistics.events == again.statistics.events


def test_the_lost_update_is_found_and_shrunk_to_its_three_steps() -> None:
    """Two deposits at once and a look: what a reader needs and nothing else."""
    found = Campaign(bank, budget=Budget(), seed=1).run()
    assert found.exit_code == 1
    assert found.failure is not None
    assert found.failure.broken.name == "no-deposit-is-lost"
    assert found.failure.reduction.complete
    plan = found.failure.plan
    deposit = Do("deposit", 0, {"amount": 1})
    assert [step.action for step in plan.steps] == [deposit, deposit, Do("read", 0)]
    assert all(step.weather == 0 for step in plan.steps)
    assert found.failure.violation.evidence == "alice read 1 after 2 were confirmed"
    assert simulate(bank, plan, ()).history.hash == found.failure.result.history.hash


def test_arguments_are_shrunk_with_the_steps() -> None:
    """Three numbers of five, and no words."""
    found = campaign(counting).run()
    assert found.failure is not None
    actions = [step.action for step in found.failure.plan.steps]
    assert [each.arguments for each in actions if isinstance(each, Do)] == [{"number": 5, "word": ""}] * 3


def test_a_campaign_without_a_violation_holds() -> None:
    """And says of how much."""
    held = campaign(quiet, runs=7).run()
    assert held.exit_code == 0
    assert held.statistics.runs == 7
    assert held.failure is None
    assert {tally.held for tally in held.statistics.tallies.values()} == {7}
    assert held.statistics.tallies["uncaught"].examined["act"] > 0


def test_a_sometimes_that_no_run_reached_fails() -> None:
    """A campaign that did not go where it should proves nothing."""
    done = campaign(unreached, runs=3).run()
    assert done.exit_code == 1
    assert [each.name for each in done.unreached()] == ["never"]
    assert done.failure is None


def test_a_campaign_that_examined_nothing_could_not_run() -> None:
    """No operation at all: exit code 2, not a pass."""

    class Idle(Quiet):
        act = None  # type: ignore[assignment]

    done = campaign(Idle(), runs=3).run()
    assert done.statistics.runs == 3
    assert {each.name for each in done.unknown()} == {"uncaught", "finishes"}
    assert done.exit_code == 2


def test_no_run_is_no_pass() -> None:
    """Before anything ran, nothing holds."""
    assert campaign(quiet).exit_code == 2


def test_only_the_chosen_properties_are_judged() -> None:
    """The outcomes system breaks one promise of two."""
    assert campaign(outcomes, properties=["uncaught"]).run().exit_code == 1
    assert list(campaign(counting, properties=["uncaught"]).run().statistics.tallies) == ["uncaught"]
    with pytest.raises(InputError, match="no property named 'x'"):
        campaign(quiet, properties=["x"])


def test_an_interrupt_keeps_the_figures_of_what_ran() -> None:
    """Exit code 130, and the runs that ended count."""

    def interrupt(statistics: Statistics) -> None:
        if statistics.runs == 3:
            raise KeyboardInterrupt

    done = campaign(quiet, on_run=interrupt).run()
    assert done.interrupted
    assert done.exit_code == 130
    assert done.statistics.runs == 3
    assert campaign(quiet, runs=2).run().exit_code == 0, "the next campaign in this process is not hindered"


class Racing:
    """Workers of which the last to begin is the first to end, or the other way round."""

    count = 4

    def __init__(self, *, backwards: bool) -> None:
        self.backwards = backwards

    def in_order(
        self,
        function: Callable[[J], R],
        jobs: Iterable[J],
        on_done: Callable[[R], None] = lambda _result: None,
        per_worker: int = 1,
    ) -> Iterator[tuple[J, R]]:
        done = [(job, function(job)) for job in jobs]
        for _job, result in done[::-1] if self.backwards else done:
            on_done(result)
        yield from done

    def rest(self) -> None: ...


@pytest.mark.parametrize("backwards", [False, True])
def test_what_broke_is_told_again_only_when_an_earlier_batch_broke_something(backwards: bool) -> None:
    """What one worker would have met first is what counts; the last that is told is that."""
    told: list[Plan] = []
    workers = Racing(backwards=backwards)
    done = campaign(
        counting, runs=100, workers=workers, on_violation=lambda _broken, _violation, plan: told.append(plan)
    ).run()
    alone = campaign(counting, runs=100).run()
    assert done.failure is not None
    assert alone.failure is not None
    assert told[-1] == done.failure.found == alone.failure.found
    assert len(told) == (4 if backwards else 1)


def test_an_interrupt_waits_until_a_batch_is_kept() -> None:
    """Half of it, or twice, would be damage."""
    kept: list[int] = []

    def keep(searched: Searched, _real_s: float) -> None:
        signal.raise_signal(signal.SIGINT)
        kept.append(searched.number)

    done = campaign(quiet, runs=60, on_batch=keep).run()
    assert done.interrupted
    assert kept == [0]


def test_an_interrupt_while_shrinking_keeps_the_failure() -> None:
    """It was found; it is saved as small as it became."""

    def interrupt(plan: Plan, _replays: int) -> None:
        if len(plan.steps) < 8:
            raise KeyboardInterrupt

    done = campaign(counting, on_reduce=interrupt).run()
    assert done.interrupted
    assert done.exit_code == 1
    assert done.failure is not None
    assert not done.failure.reduction.complete
    assert 3 <= len(done.failure.plan.steps) < 8


@pytest.mark.parametrize("moment_s", [number * 0.0041 for number in range(1, 25)])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_at_any_moment_after_the_discovery_keeps_the_failure(moment_s: float, times: int) -> None:
    """Also one in the middle of a world's beginning or end, and one while the smallest plan is run once more."""

    def interrupt(_number: int, _frame: object) -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    def discovered(_broken: Property, _violation: Violation, _plan: Plan) -> None:
        signal.setitimer(signal.ITIMER_REAL, moment_s)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        done = campaign(counting, on_violation=discovered).run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done.failure is not None
    assert done.exit_code == 1
    assert campaign(quiet, runs=2).run().exit_code == 0, "the next campaign in this process is not hindered"


def test_an_interrupt_with_the_discovery_itself_keeps_the_failure() -> None:
    """What is found is kept before anybody is told."""

    def with_the_run(statistics: Statistics) -> None:
        tally = statistics.tallies["few-large"]
        if tally.held + tally.unknown < statistics.runs:
            raise KeyboardInterrupt

    def with_the_news(_broken: Property, _violation: Violation, _plan: Plan) -> None:
        raise KeyboardInterrupt

    for done in (campaign(counting, on_run=with_the_run).run(), campaign(counting, on_violation=with_the_news).run()):
        assert done.interrupted
        assert done.exit_code == 1
        assert done.failure is not None
        assert done.failure.plan == done.failure.found


def test_a_run_that_cannot_be_repeated_is_a_divergence() -> None:
    """No evidence at all: the first event that differs is named."""
    told = r"index=\d+\n  once  observe seen on user:\w+ .* with count=\d+\n  then  observe seen on user:"
    with pytest.raises(DivergenceError, match=told):
        campaign(drifting).run()
    assert DivergenceError.exit_code == 3


def test_a_check_that_raises_ends_the_campaign_with_a_sentence() -> None:
    """Not in a traceback of Hypothesis."""

    class Raising(Quiet):
        properties = (Property("odd", quiet.all_properties()[0].expectation, lambda history: [][len(history.events)]),)

    with pytest.raises(SystemFailedError, match="'odd' could not judge a history: IndexError"):
        campaign(Raising()).run()


def test_a_check_that_raises_on_a_smaller_plan_does_not_lose_the_failure() -> None:
    """The reducer tries plans that no search would make."""

    def check(history: object) -> Violation | None:
        many = history.operations()  # type: ignore[attr-defined]
        return Violation(f"{len(many)} operations, the last {many[-1].name}") if many[3] else None

    class Fragile(Quiet):
        properties = (Property("fragile", quiet.all_properties()[0].expectation, check),)

    done = campaign(Fragile(), seed=3)
    done.budget = Budget(runs=1, steps=30)
    done.run()
    assert done.failure is not None
    assert len(done.failure.plan.steps) == 4


def test_a_campaign_can_run_while_an_exception_is_handled() -> None:
    """A run given up by Hypothesis is told by its own exception, not by somebody else's."""
    try:
        raise LookupError
    except LookupError:
        assert campaign(quiet, runs=2).run().statistics.runs == 2


def test_the_budget_of_time_ends_the_search() -> None:
    """After the run in which it is used up."""
    done = Campaign(quiet, budget=Budget(runs=None, max_time_s=1e-6), seed=0).run()
    assert done.statistics.runs == 1
    assert done.exit_code == 0


def test_a_heavy_operation_is_done_more_often() -> None:
    """`weight` is how much it is wanted, in runs in which none of both is off."""

    class Weighed(Quiet):
        @operation(weight=20)
        async def heavy(self, user: object) -> None: ...

    tally = campaign(Weighed(), runs=40).run().statistics.tallies["uncaught"].examined
    assert tally["heavy"] > 2 * tally["act"] > 0


def test_when_is_asked_before_an_operation_is_drawn() -> None:
    """No step is wasted on what makes no sense."""
    plans: list[Plan] = []

    def on_run(plan: Plan, result: Result, _frame: str) -> None:
        plans.append(plan)
        invoked = [each.name for each in result.history.operations()]
        assert invoked == [step.action.operation for step in plan.steps if isinstance(step.action, Do)]

    draw_runs(Drawing(outcomes, (), on_run), runs=10, steps=20, seed=1, number=0)
    assert any("only_then" in str(plan) for plan in plans)


def test_as_a_test_case_it_fails_with_the_steps() -> None:
    """For those who run plain unittest or pytest."""
    few = hypothesis.settings(max_examples=20, stateful_step_count=12)
    failing, lacking, passing = (machine_for(each).TestCase for each in (counting, unreached, quiet))
    failing.settings = lacking.settings = passing.settings = few
    with pytest.raises(AssertionError) as caught:
        failing().runTest()
    assert "few-large is violated: 3 large numbers\n1.    0.001 s  alice act number=5 word=''" in str(caught.value)
    assert "plan=Plan(" in str(caught.value)
    with pytest.raises(AssertionError, match="never reached in any run"):
        lacking().runTest()
    passing().runTest()


def test_another_process_and_hash_seed_search_the_same() -> None:
    """A seed in a report is worth something to a colleague."""
    script = (
        "from tests.simulator.small import counting as system\n"
        "from simulator.campaign import Budget, Campaign\n"
        "done = Campaign(system, budget=Budget(runs=20, steps=12), seed=1).run()\n"
        "print(done.statistics.runs, done.statistics.events, done.failure.result.history.hash)"
    )
    here = campaign(counting).run()
    assert here.failure is not None
    fresh = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    statistics = here.statistics
    assert fresh.stdout.split() == [str(statistics.runs), str(statistics.events), here.failure.result.history.hash]


class Misdirected(Quiet):
    """Its one operation asks a host that nobody runs."""

    @operation()
    async def act(self, user: User) -> None:
        await trio.open_tcp_stream("sever", 7000)


class Refused(Quiet):
    """Its one operation asks a port on which nobody listens."""

    @operation()
    async def act(self, user: User) -> None:
        await trio.open_tcp_stream("server", 7000)


class Forgetful(Quiet):
    """Its promise asks for an operation that the system does not have."""

    @always
    def kept(self, history: Reading) -> None:
        history.operations("act")
        history.operations("atc")


class Unsteady(Quiet):
    """Breaks no promise, and is not the same twice."""

    @operation()
    async def act(self, user: User) -> int:
        return time.perf_counter_ns()


def test_a_host_name_that_does_not_exist_is_a_mistake_and_no_lost_connection() -> None:
    """No fault takes a name away; taken for one, a typo would examine nothing and pass."""
    failure = campaign(Misdirected()).run().failure
    assert failure is not None
    assert "Name or service not known: sever" in failure.violation.evidence


def test_an_operation_that_never_succeeds_is_no_pass() -> None:
    """Hundreds of refused connections examine nothing, whatever the promises say of them."""
    ended = campaign(Refused()).run()
    assert ended.never_succeeded() == ["act"]
    assert ended.exit_code == 2


def test_a_promise_about_an_operation_that_does_not_exist_is_refused() -> None:
    """It would hold for ever."""
    with pytest.raises(InputError, match="'atc'"):
        campaign(Forgetful()).run()


def test_a_campaign_that_finds_nothing_repeats_its_last_run() -> None:
    """A system that is not deterministic finds out before its first failure cannot be replayed."""
    with pytest.raises(DivergenceError, match="First differing event"):
        campaign(Unsteady()).run()
