"""What is drawn: how many steps, and which faults at which places."""

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from simulator import Host, System, Trouble
from simulator.campaign import Budget, Campaign
from simulator.machine import FAULTS_PER_RUN_MAX, machine_class
from simulator.plan import Plan, Strike
from simulator.run import Result
from tests.simulator.small import Quiet, quiet


class Plans:
    """All plans that a campaign runs, without stopping at a failure."""

    def __init__(self, system: System, *, runs: int = 150, steps: int = 20) -> None:
        self.plans: list[Plan] = []
        campaign = Campaign(system, budget=Budget(runs=runs, steps=steps), seed=3)
        campaign._search_once(machine_class(system, (), self._keep), runs, 0)

    def _keep(self, plan: Plan, _result: Result) -> None:
        self.plans.append(plan)

    def pairs(self) -> list[set[tuple[str, tuple[str, ...]]]]:
        """Per run, which kinds struck which places."""
        strikes = [[step.action.fault for step in plan.steps if isinstance(step.action, Strike)] for plan in self.plans]
        return [{(fault.kind, fault.at) for fault in faults} for faults in strikes]


class Busy(Quiet):
    """A service with many troubles, between hosts without any."""

    users = (1, 1)
    fault_kinds = None
    troubles: ClassVar[int] = 20

    def hosts(self) -> Iterator[Host]:
        def nothing() -> None: ...

        yield Host("front", self.serve, needs=("llm",), open_to_users=True, on_terminate=nothing)
        yield Host("llm", self.serve, troubles=tuple(Trouble(f"t{n}", nothing, nothing) for n in range(self.troubles)))


def test_a_run_takes_as_many_steps_as_it_is_allowed() -> None:
    """`--steps 7` says 7, whatever Hypothesis counts as one."""
    for steps in (1, 7):
        assert {len(plan.steps) for plan in Plans(quiet, runs=5, steps=steps).plans} == {steps}


def test_every_place_is_struck_about_as_often_however_many_troubles_a_service_has() -> None:
    """Else the search would look at one service only."""
    places = Counter(frozenset(at) for pairs in Plans(Busy(), runs=100).pairs() for _, at in pairs)
    assert set(places) == {
        *map(frozenset, [("front",), ("llm",), ("front", "llm"), ("user:alice", "front")]),
    }
    assert max(places.values()) < 2 * min(places.values())


def test_a_run_has_few_kinds_of_faults_and_a_campaign_has_all() -> None:
    """Few that strike again and again reach deep; no kind and no direction may be out of reach."""
    found = Plans(type("Few", (Busy,), {"troubles": 2})(), runs=200, steps=15).pairs()
    assert 3 <= max(map(len, found)) <= FAULTS_PER_RUN_MAX
    kinds = {pair for pairs in found for pair in pairs}
    assert {("t0", ("llm",)), ("t1", ("llm",)), ("terminate", ("front",)), ("crash", ("llm",))} <= kinds
    assert {("hold", ("llm", "front")), ("slow", ("front", "llm")), ("partition", ("front", "llm"))} <= kinds
    assert {("hold", ("front", "user:alice")), ("reset", ("user:alice", "front"))} <= kinds
    assert not {("terminate", ("llm",)), ("partition", ("llm", "front")), ("t0", ("front",))} & kinds


def test_a_host_that_the_faults_strike_is_left_broken_now_and_then() -> None:
    """Mostly everything is healed at once, as most is learnt by that; of a system of one host nothing would be."""

    def left_of(system: System, runs: int) -> Counter[tuple[str, ...]]:
        return Counter(plan.setting.left_broken for plan in Plans(system, runs=runs).plans)

    both = left_of(Busy(), 200)
    assert set(both) == {(), ("front",), ("llm",)}
    assert 20 < 200 - both[()] < 100
    assert set(left_of(type("Troubled", (Busy,), {"fault_kinds": ("t0", "t1")})(), 50)) == {(), ("llm",)}
    assert set(left_of(type("Alone", (Quiet,), {"fault_kinds": None})(), 50)) == {()}


def test_the_hosts_are_listed_once_per_run() -> None:
    """Making services costs; a machine asks for what is possible once."""

    class Listed(Busy):
        count = 0

        def hosts(self) -> Iterator[Host]:
            Listed.count += 1
            return super().hosts()

    Plans(Listed(), runs=20)
    assert Listed.count < 20 + 5
