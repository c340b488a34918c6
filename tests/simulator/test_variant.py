"""The nearest passing variant: what a failure needs, and where it begins."""

from simulator.deviation import Delay, Hold
from simulator.fault import Fault
from simulator.history import History, Kind
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.property import Outcome, Verdict, Violation
from simulator.run import Result
from simulator.variant import nearest_passing
from wavetank.report import _variant_lines

HOLD = Hold("gateway", "redis", 2, 0.05, "XREAD")
DELAY = Delay("gateway 0.1", 3, "gateway 0.2", 1, "serve", "watch")
FAULT = Step(Strike(Fault("crash", ("redis",), 1.0)), 0.2)
ASK = Step(Do("ask", 0), 0.2)


def told(*names: str) -> History:
    history = History(lambda: 1.5)
    history.record(Kind.INVOKE, "user:alice", "ask", {}, 1)
    for name in names:
        history.record(Kind.OBSERVE, "redis", name, {"key": "k"})
    return history


def result(*names: str, passes: bool) -> Result:
    verdict = Verdict(Outcome.HOLDS if passes else Outcome.VIOLATED, {}, None if passes else Violation("broken"))
    return Result(told(*names), {"p": verdict}, 1.5)


def test_a_deviation_is_what_it_passes_without() -> None:
    """The story in one line: it passes, unless this message is late."""
    plan = Plan(Setting(), (FAULT, Step(Do("ask", 0), 0.2, 0, (HOLD,))))
    variant = nearest_passing(plan, told("read", "lost"), lambda each: result("read", "kept", passes=True))
    assert variant is not None
    assert variant.plan == Plan(Setting(), (FAULT, Step(Do("ask", 0), 0.2)))
    assert variant.without == "unless the 2nd message from gateway to redis (XREAD) is 0.05 s late"
    assert variant.failing == "   1.500 s  redis lost key='k'"
    assert variant.passing == "   1.500 s  redis kept key='k'"


def test_what_breaks_a_promise_all_the_same_is_no_variant() -> None:
    """The next is tried: here without the fault, since without the one of two waits it still fails."""
    plan = Plan(Setting(), (ASK, FAULT, Step(Do("ask", 0), 0.2, 0, (DELAY,))))

    def run(each: Plan) -> Result:
        return result("read", passes=FAULT not in each.steps)

    variant = nearest_passing(plan, told("read", "lost"), run)
    assert variant is not None
    assert variant.without == "without step 2"
    assert FAULT not in variant.plan.steps
    assert (variant.failing, variant.passing) == ("   1.500 s  redis lost key='k'", "nothing more")


def test_a_storm_is_calmed() -> None:
    """When it could not be spelled out, its number is all there is to leave out."""
    variant = nearest_passing(
        Plan(Setting(), (Step(Do("ask", 0), 0.2, 7),)), told(), lambda each: result(passes=not each.steps[0].weather)
    )
    assert variant is not None
    assert variant.without == "in calm weather at step 1"


def test_a_host_far_away_comes_near() -> None:
    """That a failure needs a slow link is what a reader wants to know first."""
    plan = Plan(Setting(latencies={"redis": 0.05, "agents": 0.02}), (FAULT, ASK))
    variant = nearest_passing(plan, told(), lambda each: result(passes="agents" not in each.setting.latencies))
    assert variant is not None
    assert variant.without == "unless agents is 20 ms away"
    assert variant.plan == Plan(Setting(latencies={"redis": 0.05}), (FAULT, ASK))


def test_of_operations_alone_there_is_none() -> None:
    """That nothing fails when nothing is done tells nobody anything."""
    assert nearest_passing(Plan(Setting(), (ASK, ASK)), told(), lambda _each: result(passes=True)) is None


def parted(failing: tuple[str, ...], passing: tuple[str, ...]) -> tuple[str, str]:
    plan = Plan(Setting(), (FAULT, ASK))
    variant = nearest_passing(plan, told(*failing), lambda _plan: result(*passing, passes=True))
    assert variant is not None
    return variant.failing.split()[3], variant.passing.split()[3]


def test_the_two_part_at_what_happens_in_only_one_of_them() -> None:
    """Not where the same things came in another order; how often something happens counts."""
    assert parted(("read", "write", "lost"), ("write", "read", "kept")) == ("lost", "kept")
    assert parted(("read", "read", "lost"), ("lost", "read", "kept")) == ("read", "kept")


def test_where_only_the_order_differs_that_is_told() -> None:
    """It is all that there is."""
    assert parted(("read", "write", "sent"), ("read", "sent", "write")) == ("write", "sent")


def test_where_nothing_else_differs_that_is_told() -> None:
    """Whether something is demanded may depend on the fault alone."""
    variant = nearest_passing(Plan(Setting(), (FAULT, ASK)), told("read"), lambda _plan: result("read", passes=True))
    assert variant is not None
    assert list(_variant_lines(variant)) == [
        "\nthe same passes without step 1, and the same happens in it: only this makes it a failure"
    ]
