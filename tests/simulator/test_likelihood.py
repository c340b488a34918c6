"""How likely a failure is after each step: figures that are known beforehand, and what chance may not do to them."""

from collections.abc import Sequence

import pytest

from simulator import InputError, System, Violation, always
from simulator.history import Reading
from simulator.likelihood import Likelihood, jump
from simulator.plan import Do, Plan, Setting, Step, Wait
from simulator.rate import Rate
from tests.simulator.small import Armed, Counting, Quiet, armed, counting

ACT = Step(Do("act", 0))
ARM = Step(Do("arm", 0, {"code": Armed.CODE}))
LARGE = Step(Do("act", 0, {"number": 9, "word": ""}))


def likelihood(
    system: System, steps: Sequence[Step], *, runs: int = 25, after: int = 3, seed: int = 0, **options: object
) -> Likelihood:
    broken = system.all_properties()[0]
    plan = Plan(Setting(), tuple(steps))
    site = str(options.pop("site", ""))
    return Likelihood(system, plan, broken, site, runs=runs, steps=after, seed=seed, **options)  # type: ignore[arg-type]


def test_the_step_that_matters_is_the_one_with_which_the_rate_jumps() -> None:
    """Before the code nothing fails; after it, whatever is done does."""
    rates = likelihood(armed, [ACT, ARM, ACT]).run().rates
    assert [rate.runs for rate in rates] == [25] * 4
    assert [rate.failed for rate in rates[:2]] == [0, 0]
    assert rates[2].failed > 20  # a run may only wait
    assert rates[3].failed == 25
    assert jump(rates) == 2


def test_each_rate_is_near_the_one_that_can_be_computed() -> None:
    """Two thirds of what is drawn are operations, half of them large: with two steps left, so many runs are lost."""

    class Even(Counting):
        users = (1, 1)

    done = likelihood(Even(), [LARGE, LARGE, LARGE], runs=100, after=2).run()
    shares = [rate.share for rate in done.rates]
    assert shares == sorted(shares)
    assert (shares[0], shares[3]) == (0.0, 1.0)  # two can never make three, and three always do
    assert 0 < shares[1] < shares[2] < 1
    # One more of two large ones: p * p, and 1 - (1 - p) * (1 - p), of one p.
    assert shares[1] ** 0.5 == pytest.approx(1 - (1 - shares[2]) ** 0.5, abs=0.1)


def test_one_seed_gives_the_same_rates_again() -> None:
    """Another gives others; and more runs go on where fewer ended."""
    one, again, other = (likelihood(counting, [LARGE], seed=seed, runs=20).run().rates for seed in (4, 4, 5))
    assert one == again != other
    more = likelihood(counting, [LARGE], seed=4, runs=21).run().rates
    assert [rate.failed - before.failed in (0, 1) for rate, before in zip(more, one, strict=True)] == [True, True]


def test_another_site_is_another_failure() -> None:
    """It is not counted."""

    class Elsewhere(Quiet):
        @always
        def idle(self, history: Reading) -> Violation | None:
            """Nothing is done."""
            return Violation("done", site="there") if history.operations("act") else None

    assert likelihood(Elsewhere(), [ACT], runs=3, site="there").run().rates[1] == Rate(3, 3)
    assert likelihood(Elsewhere(), [ACT], runs=3, site="here").run().rates[1] == Rate(0, 3)


def test_the_simplest_run_of_all_is_not_counted() -> None:
    """Hypothesis begins every search with it: among few runs it would be a rate of its own."""

    class Calm(Quiet):
        @always
        def stormy(self, history: Reading) -> str | None:
            """Never does one user the first operation, without a pause, from the beginning to the end."""
            done = history.operations("act")
            return "calm" if len(done) == 12 and done[-1].invoked.at_s == done[0].invoked.at_s else None

    assert likelihood(Calm(), [], runs=60, after=12).run().rates == [Rate(0, 60)]


def test_no_run_is_made_twice() -> None:
    """Neither in another round nor from another prefix: an interval counts independent runs."""
    drawn: list[str] = []

    class Told(Counting):
        @always
        def few_large(self, history: Reading) -> None:
            """Tell what was drawn."""
            drawn.append(str([each.arguments for each in history.operations()]))

    likelihood(Told(), [Step(Wait())], runs=45, after=15).run()
    simplest = 2 * 3  # one for each round of each prefix
    assert len(drawn) == 2 * 45 + simplest
    assert len(set(drawn)) == 2 * 45 + 1


def test_an_interrupt_keeps_what_is_known_of_every_prefix() -> None:
    """Rounds: after some time each prefix has had about as many runs as any other."""

    def interrupt(runs: int) -> None:
        if runs == 130:
            raise KeyboardInterrupt

    done = likelihood(armed, [ACT, ARM], runs=1000, on_run=interrupt).run()
    assert done.interrupted
    assert [rate.runs for rate in done.rates] == [50, 40, 40]
    assert not likelihood(armed, [], runs=1).run().interrupted


def test_a_system_of_which_no_run_can_be_made_is_refused() -> None:
    """As a campaign does, before anything is run."""

    class Misnamed(Quiet):
        fault_kinds = ("crush",)

    with pytest.raises(InputError, match="no fault kind 'crush'"):
        likelihood(Misnamed(), [ACT])


@pytest.mark.parametrize(
    ("rate", "low", "high"),
    [
        (Rate(0, 0), 0.0, 1.0),
        (Rate(0, 10), 0.0, 0.2775),
        (Rate(10, 10), 0.7225, 1.0),
        (Rate(1, 10), 0.0179, 0.4042),
        (Rate(50, 100), 0.4038, 0.5962),
        (Rate(81, 263), 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (Rate(15, 148), 0.0624, 0.1605),  # the same
        (Rate(1, 29), 0.0061, 0.1718),  # the same
    ],
)
def test_the_interval_is_wilsons(rate: Rate, low: float, high: float) -> None:
    """Published figures; it never leaves 0 to 1, and is never empty."""
    assert rate.interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("failed", "step"),
    [
        ([0], None),
        ([0, 0, 0], None),
        ([0, 2, 5, 10, 16, 22, 29, 36, 43, 50, 56], None),  # all of it, and no step is to blame
        ([0, 60], 1),
        ([60, 0], None),
        ([2, 20, 59], 2),
        ([0, 30, 30, 60], 1),
        ([60, 60, 0, 20], 3),
    ],
)
def test_the_largest_jump_that_is_no_accident(failed: list[int], step: int | None) -> None:
    """The first of equal ones; a fall is none."""
    assert jump([Rate(each, 60) for each in failed]) == step


def test_without_runs_no_step_is_to_blame() -> None:
    """An interrupt may come before any."""
    assert jump([Rate(0, 60), Rate()]) is jump([Rate(), Rate(60, 60)]) is None
