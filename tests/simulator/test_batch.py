"""Batches: what each is, whoever makes it, and how later ones go on from what earlier ones reached."""

import pickle

import attrs
import hypothesis.strategies as st
import pytest

from simulator import Reading, User, operation, sometimes
from simulator.batch import Batch, Searched, search
from simulator.beginnings import RARE, STEPS_MAX, Beginnings
from simulator.campaign import RUNS_PER_BATCH, Budget, Campaign
from simulator.plan import Do, Plan, Setting, Step
from simulator.statistics import Statistics
from simulator.workers import Alone
from tests.simulator.small import Quiet, counting, quiet


class Deep(Quiet):
    """Its state, from 0 up, is how many right digits were said in a row, at most three."""

    @operation(digit=st.integers(0, 6))
    async def say(self, user: User, digit: int) -> None: ...

    @sometimes
    def three(self, history: Reading) -> bool:
        """Three digits in a row were right."""
        said = [each.arguments["digit"] for each in history.operations("say")]
        return any(said[at : at + 3] == [5, 5, 5] for at in range(len(said)))


deep = Deep()


def batch(system: Quiet = quiet, **more: object) -> Batch:
    names = tuple(each.name for each in system.all_properties())
    return attrs.evolve(Batch(system, names, seed=1, number=0, runs=10, steps=8), **more)


def says(*digits: int) -> Plan:
    return Plan(Setting(), tuple(Step(Do("say", 0, {"digit": digit}), 0.01) for digit in digits))


def test_a_batch_is_the_same_again_and_another_number_is_another() -> None:
    """That is what lets it be made anywhere, and again."""
    plans: list[list[Plan]] = []
    for number in (3, 3, 4):
        made: list[Plan] = []
        search(batch(number=number), lambda plan, _result, _frame, made=made: made.append(plan))  # type: ignore[misc]
        plans.append(made)
    assert plans[0] == plans[1] != plans[2]
    assert len(plans[0]) == 10


def test_a_batch_ends_at_its_first_failure() -> None:
    """With what must be the same when it is run again."""
    searched = search(batch(counting))
    assert searched.found is not None
    assert searched.last is None
    assert searched.found.violations[0][0] == "few-large"
    assert searched.statistics.runs < 10
    assert search(batch()).found is None


def test_a_batch_ends_when_its_time_is_up() -> None:
    """As the clock on the wall says, also where that clock is another machine's."""
    assert search(batch(until_s=0.0)).statistics.runs == 1


def test_a_state_that_few_runs_reached_is_sent_back_with_its_plan() -> None:
    """Of those that many runs reach, no more need be known."""
    begun = (says(5, 5, 5),)
    searched = search(batch(deep, runs=8, number=1, beginnings=begun))
    assert searched.statistics.tallies["three"].held in (1, 2)
    assert searched.reached["three"].steps[:3] == begun[0].steps
    many = search(batch(deep, runs=40, beginnings=begun))
    assert many.statistics.tallies["three"].held > 5
    assert many.reached == {}


def test_a_run_in_three_begins_with_a_beginning() -> None:
    """The others find what is new."""
    begun = [0]

    def count(plan: Plan, _result: object, _frame: str) -> None:
        begun[0] += plan.steps[:3] == says(5, 5, 5).steps

    search(batch(deep, runs=90, beginnings=(says(5, 5, 5),)), count)
    assert 15 < begun[0] < 50


def statistics(held: int, runs: int) -> Statistics:
    counted = Statistics.of(["three"])
    counted.runs, counted.tallies["three"].held = runs, held
    return counted


def test_a_beginning_is_as_short_as_it_can_be() -> None:
    """What follows the state that was reached is cut off; what is not rare, or too far away, is none."""
    beginnings = Beginnings(deep)
    beginnings.note({"three": says(1, 5, 5, 5, 2, 3)})
    beginnings.shorten(statistics(held=1, runs=100), Alone())
    assert beginnings.plans() == (says(1, 5, 5, 5),)

    common, far = Beginnings(deep), Beginnings(deep)
    common.note({"three": says(5, 5, 5)})
    common.shorten(statistics(held=int(RARE * 100), runs=100), Alone())
    far.note({"three": says(*[1] * STEPS_MAX, 5, 5, 5)})
    far.shorten(statistics(held=1, runs=100), Alone())
    assert common.plans() == far.plans() == ()


def test_a_campaign_goes_on_from_what_it_reached_once() -> None:
    """Three right digits in a row are met by one run in a hundred; after that by one in ten."""
    seed, batches, steps = 5, 6, 15  # with which the first that is reached is not too far away
    done = Campaign(deep, budget=Budget(runs=batches * RUNS_PER_BATCH, steps=steps), seed=seed).run()
    held: list[int] = []
    for number in range(batches):
        names = tuple(each.name for each in done.properties)
        held.append(search(Batch(deep, names, seed, number, RUNS_PER_BATCH, steps)).statistics.tallies["three"].held)
    assert 0 < sum(held) < 10, "as many as would have reached it without"
    assert done.statistics.tallies["three"].held > 4 * sum(held)


@pytest.mark.parametrize("system", [quiet, counting])
def test_what_is_sent_between_processes_is_plain(system: Quiet) -> None:
    """A worker may be on another machine."""
    searched = search(batch(system))
    again: Searched = pickle.loads(pickle.dumps(searched))
    assert again == searched
