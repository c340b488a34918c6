"""The reducer, on predicates over plans: no system, no luck."""

import time
from collections.abc import Callable

import attrs
import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from simulator.candidates import FAR_S
from simulator.deviation import LATE_MAX_S, Delay, Hold
from simulator.fault import FAULT_KINDS, Fault
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait
from simulator.reducer import Reducer, Reduction, one_by_one
from simulator.user import user_host

PLENTY_S = 60.0


def reduce(plan: Plan, fails: Callable[[Plan], bool], budget_s: float = PLENTY_S) -> Reduction:
    return Reducer(one_by_one(fails), budget_s=budget_s).reduce(plan)


def do(name: str, user: int = 0, after_s: float = 0.2, weather: int = 9) -> Step:
    return Step(Do(name, user), after_s, weather)


def names(plan: Plan) -> list[str]:
    return [step.action.operation for step in plan.steps if isinstance(step.action, Do)]


def faults(plan: Plan) -> list[Fault]:
    return [step.action.fault for step in plan.steps if isinstance(step.action, Strike)]


def in_order(plan: Plan, *needed: str) -> bool:
    rest = iter(names(plan))
    return all(name in rest for name in needed)


NOISE = tuple(do(f"noise{index}", user=index % 3) for index in range(20))
STORM = Setting(users=3, latency_s=0.02, seed=77)


def test_irrelevant_steps_go() -> None:
    """Thirty steps tell a reader nothing."""
    plan = Plan(STORM, (*NOISE, do("cause", user=2), *NOISE))
    reduced = reduce(plan, lambda each: "cause" in names(each))
    assert reduced.plan == Plan(Setting(users=1), (Step(Do("cause", 0)),))
    assert reduced.complete


def test_what_is_far_away_or_unusual_is_so_only_where_it_matters() -> None:
    """Hosts come near, and there are as many as usual; who stays far away is still who it was."""
    far = {"redis": 0.02, "user:carol": 0.05, "user:bob": 0.02}
    setting = Setting(users=3, latencies=far, replicas={"gateways": 3, "agents": 2})
    plan = Plan(setting, (*NOISE, do("cause", user=2), *NOISE))

    def fails(each: Plan) -> bool:
        number = next((step.action.user for step in each.steps if names(Plan(each.setting, (step,))) == ["cause"]), 9)
        return user_host(number) in each.setting.latencies and "agents" in each.setting.replicas

    reduced = reduce(plan, fails).plan
    assert reduced.setting == Setting(users=1, latencies={"user:alice": 0.05}, replicas={"agents": 2})


def test_what_is_of_no_matter_goes_by_its_kind() -> None:
    """All faults, all that one user does, all of one operation: each at once, and their time passes all the same."""
    blow = Step(Strike(Fault("crash", ("redis",), 1.0)), 0.2)
    mixed = (do("noise"), blow, do("chat", user=1), Step(Wait(), 1.0))
    plan = Plan(Setting(users=2), (do("first"), *mixed * 8, do("second")))
    asked: list[Plan] = []

    def fails(each: Plan) -> bool:
        asked.append(each)
        return in_order(each, "first", "second") and sum(step.after_s for step in each.steps[:-1]) >= 10.0

    reduced = reduce(plan, fails)
    assert names(reduced.plan) == ["first", "second"]
    assert [len(each.steps) for each in asked].index(2) < 8, "not by halves"


def test_a_host_that_is_far_away_stands_for_a_storm() -> None:
    """What needs late messages from one place needs no storm: a reader knows what far away is."""
    plan = Plan(STORM, (*NOISE, do("cause", user=2), *NOISE))

    def fails(each: Plan) -> bool:
        is_stormy = any(step.weather for step in each.steps)
        return "cause" in names(each) and (is_stormy or each.setting.latencies.get("redis", 0.0) >= FAR_S)

    reduced = Reducer(one_by_one(fails), budget_s=PLENTY_S, hosts=("gateway", "redis")).reduce(plan).plan
    assert reduced == Plan(Setting(users=1, latencies={"redis": FAR_S}), (Step(Do("cause", 0)),))


def test_faults_follow_the_users_that_they_strike() -> None:
    """When others go, and they are renamed."""
    cut = Strike(Fault("partition", ("user:carol", "server"), 1.0))
    plan = Plan(Setting(users=3), (do("cause", user=2), Step(cut)))

    def fails(each: Plan) -> bool:
        users = {user_host(step.action.user) for step in each.steps if isinstance(step.action, Do)}
        return len(users) == 1 and any(fault.at[0] in users for fault in faults(each))

    reduced = reduce(plan, fails).plan
    assert reduced.setting.users == 1
    assert faults(reduced)[0].at == ("user:alice", "server")


def test_steps_that_need_each_other_stay() -> None:
    """Neither can be left out alone, however far apart they are."""
    plan = Plan(STORM, (do("first"), *NOISE, do("second"), *NOISE, do("third")))
    reduced = reduce(plan, lambda each: in_order(each, "first", "second", "third"))
    assert names(reduced.plan) == ["first", "second", "third"]


def test_the_time_of_what_goes_passes_all_the_same() -> None:
    """What must meet a moment still meets it when the steps between are gone."""
    plan = Plan(STORM, (do("early"), *NOISE, do("late")))

    def fails(each: Plan) -> bool:
        at_s, begun = 0.0, {}
        for step in each.steps:
            if isinstance(step.action, Do):
                begun[step.action.operation] = at_s
            at_s += step.after_s
        return "early" in begun and "late" in begun and begun["late"] - begun["early"] >= 3.9

    reduced = reduce(plan, fails).plan
    assert names(reduced) == ["early", "late"]
    assert reduced.steps[0].after_s >= 3.9
    assert reduced.steps[1].after_s == 0.0


def test_weather_is_calmed_where_it_does_not_matter() -> None:
    """What is left of it is what the failure needs."""
    plan = Plan(STORM, (do("a"), do("b"), do("c")))
    reduced = reduce(plan, lambda each: names(each) == ["a", "b", "c"] and each.steps[1].weather == 9).plan
    assert [step.weather for step in reduced.steps] == [0, 9, 0]


def test_pauses_and_faults_are_shortened_as_far_as_it_still_fails() -> None:
    """A reader asks why two seconds; there should be a reason."""
    struck = Step(Strike(Fault("partition", ("a", "b"), 6.0)), 3.0)
    plan = Plan(STORM, (struck, do("cause", after_s=3.0)))

    def fails(each: Plan) -> bool:
        return bool(faults(each)) and faults(each)[0].for_s >= 0.5 and each.steps[0].after_s >= 0.2

    reduced = reduce(plan, fails).plan
    assert [fault.for_s for fault in faults(reduced)] == [1.0]
    assert [step.after_s for step in reduced.steps] == [0.2]


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_that_must_be_is_kept(kind: str) -> None:
    """Or made plainer, when any at that place will do."""
    place = ("a", "b")[: FAULT_KINDS[kind].strikes]
    plan = Plan(STORM, (*NOISE, Step(Strike(Fault(kind, place, 2.0)), 1.0), *NOISE))
    exact = reduce(plan, lambda each: [fault.kind for fault in faults(each)] == [kind]).plan
    assert [fault.at for fault in faults(exact)] == [place]
    assert len(exact.steps) == 1
    plain = reduce(plan, lambda each: [fault.at for fault in faults(each)] == [place]).plan
    assert len(plain.steps) == 1
    assert faults(plain)[0].kind in (kind, "crash", "partition")


@pytest.mark.parametrize(("used", "left"), [((0, 2), 2), ((2,), 1), ((1, 2), 2), ((0,), 1)])
def test_users_who_do_nothing_go(used: tuple[int, ...], left: int) -> None:
    """The others are renamed; how many there are is kept."""
    plan = Plan(STORM, tuple(do("cause", user=user) for user in used))

    def fails(each: Plan) -> bool:
        acting = {step.action.user for step in each.steps if isinstance(step.action, Do)}
        return len(acting) == len(used) and max(acting) < each.setting.users

    assert reduce(plan, fails).plan.setting.users == left


def test_two_users_become_one_where_either_will_do() -> None:
    """Then the other need not connect: two steps less to read."""
    plan = Plan(STORM, (do("connect", 0), do("ask", 0), do("connect", 2), do("ask", 2)))

    def fails(each: Plan) -> bool:
        connected: list[int] = []
        for step in each.steps:
            if isinstance(step.action, Do) and step.action.operation == "connect":
                connected.append(step.action.user)
            elif isinstance(step.action, Do) and step.action.user not in connected:
                return False
        return names(each).count("ask") == 2

    reduced = reduce(plan, fails).plan
    assert names(reduced) == ["connect", "ask", "ask"]
    assert reduced.setting.users == 1


def test_users_who_must_keep_their_names_do() -> None:
    """The second of two may be the one that matters."""
    plan = Plan(STORM, (do("cause", user=1),))
    reduced = reduce(plan, lambda each: any(step.action == Do("cause", 1) for step in each.steps)).plan
    assert reduced.setting.users == 2


@pytest.mark.parametrize("budget_s", [0.0, 0.02])
def test_the_budget_ends_it_with_a_plan_that_fails(budget_s: float) -> None:
    """A slow system gets what was reached, and is told that it is not the end."""
    plan = Plan(STORM, (*NOISE, do("cause"), *NOISE))
    asked = []

    def fails(each: Plan) -> bool:
        end_s = time.perf_counter() + 0.005
        while time.perf_counter() < end_s:
            pass
        asked.append(each)
        return "cause" in names(each)

    reduced = reduce(plan, fails, budget_s)
    assert not reduced.complete
    assert "cause" in names(reduced.plan)
    assert reduced.replays == len(asked) <= budget_s / 0.005 + 1


def test_nothing_is_replayed_twice() -> None:
    """A replay is what shrinking costs."""
    asked: list[Plan] = []

    def fails(each: Plan) -> bool:
        asked.append(each)
        return in_order(each, "first", "second")

    reduce(Plan(STORM, (do("first"), *NOISE, do("second"))), fails)
    assert all(each not in asked[:index] for index, each in enumerate(asked))


def test_progress_is_told_of_each_smaller_plan() -> None:
    """An interrupt in the middle keeps the best one."""
    told: list[int] = []

    def interrupted(each: Plan) -> bool:
        if len(each.steps) < 5:
            raise KeyboardInterrupt
        return True

    reducer = Reducer(
        one_by_one(interrupted), budget_s=PLENTY_S, on_progress=lambda plan, _replays: told.append(len(plan.steps))
    )
    with pytest.raises(KeyboardInterrupt):
        reducer.reduce(Plan(STORM, NOISE))
    assert told[-1] == len(reducer.best.steps)
    assert told == sorted(told, reverse=True)


@attrs.frozen
class Need:
    """A made-up reason to fail: these steps, in this order, and whether a weather and a fault are part of it."""

    steps: tuple[str, ...]
    stormy: bool
    fault: bool
    users: int

    def __call__(self, plan: Plan) -> bool:
        acting = {step.action.user for step in plan.steps if isinstance(step.action, Do)}
        return (
            in_order(plan, *self.steps)
            and (not self.stormy or any(step.weather for step in plan.steps))
            and (not self.fault or bool(faults(plan)))
            and len(acting) >= self.users
        )


some_faults = st.builds(Fault, st.sampled_from(("crash", "freeze")), st.just(("x",)), st.sampled_from((0.5, 6.0)))
actions = st.one_of(
    st.builds(Do, st.sampled_from("abcd"), st.integers(0, 2)),
    st.builds(
        Strike, st.builds(Fault, st.sampled_from(("crash", "freeze")), st.just(("x",)), st.sampled_from((0.5, 6.0)))
    ),
    st.just(Wait()),
)
steps = st.builds(Step, actions, st.sampled_from((0.0, 0.05, 3.0)), st.sampled_from((0, 1, 2**32 - 1)))
plans = st.builds(Plan, st.just(STORM), st.lists(steps, max_size=25).map(tuple))
needs = st.builds(
    Need, st.lists(st.sampled_from("abcd"), max_size=3).map(tuple), st.booleans(), st.booleans(), st.integers(0, 2)
)


@hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)
@hypothesis.given(plan=plans, need=needs)
def test_the_result_fails_is_no_larger_and_loses_no_single_step(plan: Plan, need: Need) -> None:
    """Whatever the reason to fail is: minimal in its steps, and reduced again it stays as it is."""
    hypothesis.assume(need(plan))
    reduced = reduce(plan, need)
    assert need(reduced.plan)
    assert len(reduced.plan.steps) <= len(plan.steps)
    assert reduced.complete
    for index in range(len(reduced.plan.steps)):
        shorter = reduced.plan.steps[:index] + reduced.plan.steps[index + 1 :]
        assert not need(Plan(reduced.plan.setting, shorter))
    assert reduce(reduced.plan, need).plan == reduced.plan


def test_a_pause_is_not_shortened_to_a_matter_of_milliseconds() -> None:
    """A trace that fails by a hair in simulation does not fail on real services, whose every answer takes longer."""
    plan = Plan(Setting(latency_s=0.001), (do("cause", after_s=2.0, weather=0),))

    def fails(each: Plan) -> bool:
        return "cause" in names(each) and sum(step.after_s for step in each.steps) >= 15 * each.setting.latency_s

    shrunk = reduce(plan, fails).plan
    assert shrunk.steps[0].after_s == 0.2, "0.05 would do at this latency, and not at five times of it"


HOLDS = tuple(Hold("a", "b", nth, 0.0123) for nth in range(1, 200))
DELAYS = tuple(Delay("a 0.1", nth, "a 0.2", nth) for nth in range(1, 200))


def spelled(plan: Plan) -> Plan:
    """As if every storm were two hundred late messages and two hundred waits."""
    steps = (
        msgspec.structs.replace(step, weather=0, deviations=HOLDS + DELAYS) if step.weather else step
        for step in plan.steps
    )
    return Plan(plan.setting, tuple(steps))


def reduce_spelled(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    return Reducer(one_by_one(fails), budget_s=PLENTY_S, spell_out=spelled).reduce(plan).plan


def whatever_time(deviation: Hold | Delay) -> Hold | Delay:
    return msgspec.structs.replace(deviation, for_s=0.0) if isinstance(deviation, Hold) else deviation


def deviations(plan: Plan) -> set[Hold | Delay]:
    return {whatever_time(each) for step in plan.steps for each in step.deviations}


@pytest.mark.parametrize("needed", [{HOLDS[7]}, {DELAYS[150]}, {HOLDS[0], DELAYS[3]}, {DELAYS[20], DELAYS[160]}])
def test_a_storm_becomes_the_deviations_that_matter(needed: set[Hold | Delay]) -> None:
    """One of four hundred is the cause, and the reader wants to know which."""
    exact = set(map(whatever_time, needed))

    def fails(plan: Plan) -> bool:
        return "a" in names(plan) and (any(step.weather for step in plan.steps) or exact <= deviations(plan))

    reduced = reduce_spelled(Plan(STORM, (*NOISE, do("a"))), fails)
    assert names(reduced) == ["a"]
    assert deviations(reduced) == exact
    held_s = {each.for_s for step in reduced.steps for each in step.deviations if isinstance(each, Hold)}
    assert held_s <= {0.001, 0.02}


def test_no_message_becomes_later_than_a_storm_makes_it() -> None:
    """Two hundred messages, each a little late, are together later than a healthy system need bear of one."""

    def fails(plan: Plan) -> bool:
        late_s = sum(each.for_s for step in plan.steps for each in step.deviations if isinstance(each, Hold))
        return "a" in names(plan) and (any(step.weather for step in plan.steps) or late_s >= 0.25)

    reduced = reduce_spelled(Plan(STORM, (do("a"),)), fails)
    held_s = [each.for_s for step in reduced.steps for each in step.deviations if isinstance(each, Hold)]
    assert max(held_s) <= LATE_MAX_S
    assert sum(held_s) >= 0.25


def test_a_storm_of_which_too_much_matters_keeps_its_number() -> None:
    """Hundreds of deviations are no story."""

    def fails(plan: Plan) -> bool:
        return any(step.weather for step in plan.steps) or len(deviations(plan)) > 20

    reduced = reduce_spelled(Plan(STORM, (do("a"),)), fails)
    assert [(step.weather, step.deviations) for step in reduced.steps] == [(9, ())]


def test_a_late_message_is_preferred_to_a_delayed_task() -> None:
    """A proxy can hold a message of a real service; nobody can hold one of its tasks."""

    def fails(plan: Plan) -> bool:
        return any(step.weather for step in plan.steps) or bool(deviations(plan))

    (step,) = reduce_spelled(Plan(STORM, (do("a"),)), fails).steps
    assert [type(each) for each in step.deviations] == [Hold]


def test_two_delays_of_which_one_leads_to_the_other_become_one() -> None:
    """The task between them only passed the time."""
    through = (Delay("a 0.1", 5, "a 0.2", 6), Delay("a 0.2", 6, "a 0.3", 2))
    at_once = Delay("a 0.1", 5, "a 0.3", 2)
    plan = Plan(Setting(), (Step(Do("a", 0), 0.0, 0, through),))

    def fails(plan: Plan) -> bool:
        return set(through) <= deviations(plan) or at_once in deviations(plan)

    assert deviations(reduce_spelled(plan, fails)) == {at_once}


def test_a_storm_in_which_few_steps_fail_beats_many_steps_in_calm_weather() -> None:
    """What fails in calm weather only with ten steps may need but one in a storm: both ways are tried."""

    def fails(plan: Plan) -> bool:
        of_storm = any(each == HOLDS[3] for step in plan.steps for each in step.deviations)
        is_stormy = any(step.weather for step in plan.steps) or of_storm
        return names(plan).count("cause") >= (1 if is_stormy else 10)

    reduced = reduce_spelled(Plan(STORM, (*NOISE, *(do("cause") for _ in range(10)))), fails)
    assert names(reduced) == ["cause"]
    assert len(deviations(reduced)) == 1


def test_a_pause_is_told_rather_than_a_late_message() -> None:
    """Whoever reads a plan can wait; to hold a message takes a proxy."""

    def fails(plan: Plan) -> bool:
        late_s = sum(each.for_s for step in plan.steps for each in step.deviations if isinstance(each, Hold))
        return in_order(plan, "a", "b") and (
            any(step.weather for step in plan.steps) or plan.steps[0].after_s + late_s >= 0.15
        )

    (first, second) = reduce_spelled(Plan(Setting(), (do("a", after_s=0.0), do("b", after_s=0.0))), fails).steps
    assert (first.deviations, second.deviations) == ((), ())
    assert first.after_s >= 0.15


def test_a_trouble_of_a_service_is_replaced_by_a_crash_where_that_will_do() -> None:
    """Everybody knows what a crash is."""
    odd = Step(Strike(Fault("answers backwards", ("llm",), 6.0)), 0.2)
    assert [each.kind for each in faults(reduce(Plan(STORM, (odd,)), lambda plan: bool(faults(plan))).plan)] == [
        "crash"
    ]
    own = reduce(Plan(STORM, (odd,)), lambda plan: any(each.kind == "answers backwards" for each in faults(plan)))
    assert [each.kind for each in faults(own.plan)] == ["answers backwards"]
    link = Step(Strike(Fault("answers backwards", ("a", "llm"), 6.0)), 0.2)
    assert faults(reduce(Plan(STORM, (link,)), lambda plan: bool(faults(plan))).plan)[0].kind == "answers backwards"


def test_the_simplest_data_are_tried_before_the_steps() -> None:
    """Small data are quick to replay."""

    def simplest(plan: Plan) -> Plan:
        steps = (
            msgspec.structs.replace(step, action=msgspec.structs.replace(step.action, arguments={"size": 0}))
            for step in plan.steps
            if isinstance(step.action, Do)
        )
        return Plan(plan.setting, tuple(steps))

    def sizes(plan: Plan) -> list[tuple[str, object]]:
        actions = [step.action for step in plan.steps if isinstance(step.action, Do)]
        return [(each.operation, each.arguments["size"]) for each in actions]

    asked: list[Plan] = []

    def fails(plan: Plan) -> bool:
        asked.append(plan)
        return in_order(plan, "a", "b") and ("b", 9) in sizes(plan)

    plan = Plan(Setting(), tuple(Step(Do(name, 0, {"size": 9})) for name in "axb"))
    reduced = Reducer(one_by_one(fails), budget_s=PLENTY_S, simplest=simplest).reduce(plan).plan
    assert sizes(reduced) == [("a", 0), ("b", 9)]
    assert asked[0] == simplest(plan)
