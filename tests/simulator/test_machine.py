"""What is drawn: how many steps, and which faults at which places."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

from simulator import Host, System, Trouble, User, operation
from simulator.deviation import Delay, Hold
from simulator.frame import FAULTS_PER_RUN_MAX
from simulator.generation import draw_runs
from simulator.machine import Drawing
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.run import Result
from simulator.simulated_run import simulate
from tests.simulator.racing import system as racing
from tests.simulator.small import Quiet, quiet


class Plans:
    """All plans that a campaign runs, without stopping at a failure."""

    def __init__(
        self, system: System, *, runs: int = 150, steps: int = 20, prefixes: Sequence[Plan | None] = (None,)
    ) -> None:
        self.plans: list[Plan] = []
        self.hashes: list[str] = []
        self.frames: list[str] = []
        draw_runs(Drawing(system, (), self._keep, prefixes), runs=runs, steps=steps, seed=3, number=0)

    def _keep(self, plan: Plan, result: Result, frame: str) -> None:
        self.plans.append(plan)
        self.hashes.append(result.history.hash)
        self.frames.append(frame)

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


ACT = Do("act", 1)
PREFIX = Plan(
    Setting(users=2, latency_s=0.003, seed=11),
    (
        Step(ACT, after_s=0.7, weather=23),
        Step(ACT, deviations=(Hold("user:bob", "server", 2, 0.5), Delay("server:0.0", 2, "server:0.1", 3))),
    ),
)
"""Its latency and its pause are none that are drawn."""


def test_a_run_begins_with_the_prefix_as_it_is() -> None:
    """In its setting and its weather; the steps that are drawn come after it, and are as many as ever."""
    drawn = Plans(racing, runs=8, steps=3, prefixes=[PREFIX])
    assert all(plan.setting == PREFIX.setting for plan in drawn.plans)
    assert [plan.steps[:2] for plan in drawn.plans] == [PREFIX.steps] * 8
    assert {len(plan.steps) for plan in drawn.plans} == {5}
    assert len({str(plan.steps[2:]) for plan in drawn.plans}) == 8


def test_a_run_with_a_prefix_is_repeated_by_its_plan_alone() -> None:
    """To the same hash: nothing is done but what the plan says."""
    drawn = Plans(racing, runs=4, steps=2, prefixes=[PREFIX])
    assert [simulate(racing, plan, ()).history.hash for plan in drawn.plans] == drawn.hashes


def test_which_prefix_a_run_begins_with_is_drawn() -> None:
    """Or none, and then its setting is drawn too."""
    plans = Plans(racing, runs=60, steps=1, prefixes=[None, PREFIX, Plan(Setting(seed=12), ())]).plans
    begun = Counter((repr(plan.setting), len(plan.steps)) for plan in plans)
    assert begun[repr(PREFIX.setting), 3] >= 8
    assert begun[repr(Setting(seed=12)), 1] >= 8
    assert len(begun) > 8, "the others are in settings of their own"


def test_faults_strike_the_users_of_the_prefix() -> None:
    """Users that are not there have no links."""
    plans = Plans(Busy(), runs=40, steps=10, prefixes=[Plan(Setting(users=3), ())])
    struck = {end for pairs in plans.pairs() for _, at in pairs for end in at if end.startswith("user:")}
    assert struck == {"user:alice", "user:bob", "user:carol"}


class Roomy(Busy):
    """A system of one or two fronts."""

    users = (1, 2)
    latencies_s = (0.001, 0.002, 0.02)
    replicas: ClassVar[dict[str, tuple[int, ...]]] = {"fronts": (1, 2)}

    def hosts(self) -> Iterator[Host]:
        """As many fronts as there are."""
        yield from super().hosts()
        for number in range(1, self.count_of("fronts")):
            yield Host(f"front-{number}", self.serve, needs=("llm",), open_to_users=True)


def test_how_many_hosts_there_are_and_how_far_away_they_are_is_drawn() -> None:
    """Whatever there is can be struck, and is as far away as it is said to be; mostly all are near."""
    plans = Plans(Roomy(), runs=300, steps=6)
    settings = [plan.setting for plan in plans.plans]
    assert settings[0] == Setting(), "the first run is the simplest"
    assert {str(setting.replicas) for setting in settings} == {"{}", "{'fronts': 2}"}
    assert 150 < sum(not setting.latencies for setting in settings) < 270
    assert {host for setting in settings for host in setting.latencies} == {
        *("front", "front-1", "llm"),
        *("user:alice", "user:bob"),
    }
    struck = [{end for _, at in pairs for end in at} for pairs in plans.pairs()]
    assert all(setting.replicas for setting, ends in zip(settings, struck, strict=True) if "front-1" in ends)
    assert any("front-1" in ends for ends in struck)


def test_an_operation_that_is_off_is_done_by_who_can_do_nothing_else() -> None:
    """So a run without some operations goes deeper into the others, and no run stands still."""

    class Stairs(Quiet):
        fault_kinds = ()

        @operation(when=lambda user: "up" not in user.memory)
        async def climb(self, user: User) -> None:
            user.memory["up"] = True

        @operation(when=lambda user: "up" in user.memory)
        async def look(self, user: User) -> None: ...

        @operation(when=lambda user: "up" in user.memory)
        async def act(self, user: User) -> None: ...

    done = Plans(Stairs(), runs=300, steps=6)
    seen: dict[str, list[set[str]]] = {}
    for plan, frame in zip(done.plans, done.frames, strict=True):
        off = frame.partition("off: ")[2]
        seen.setdefault(off, []).append({step.action.operation for step in plan.steps if isinstance(step.action, Do)})
    assert not any("look" in names for names in seen["look"])
    assert any("look" in names for names in seen["climb"]), "who has to climb first climbs"
    assert any("look" in names for names in seen["act, climb, look"])
    assert len(seen[""]) > 100, "mostly nothing is off"


def test_a_frame_says_all_that_was_drawn() -> None:
    """So that a failure is reported with what it was found with."""
    frames = Plans(Roomy(), runs=200, steps=1).frames
    assert frames[0] == "1 user, latency 1 ms; faults: none"
    assert any(re.match(r"\d users?, latency . ms, 20 ms from and to \S+[,;]", frame) for frame in frames)
    assert any("fronts: 2" in frame and "often: act" in frame for frame in frames)
    assert any("slow user:alice->front" in frame and "seldom: a fault" in frame for frame in frames)
    (begun,) = set(Plans(racing, runs=1, steps=1, prefixes=[PREFIX]).frames)
    assert begun.startswith(
        "2 users, latency 3 ms, random numbers of seed 11; goes on from 2 given steps; faults: none"
    )


def test_a_setting_is_told_whole_and_by_the_names_that_hosts_have() -> None:
    """Whoever looks for a host looks for it as it is written."""
    setting = Setting(
        users=2, latency_s=0.0002, seed=7, left_broken=("DB",), latencies={"Front": 0.02}, replicas={"fronts": 2}
    )
    told = "2 users, latency 0.2 ms, 20 ms from and to Front, fronts: 2, DB left broken, random numbers of seed 7"
    assert str(setting) == told
