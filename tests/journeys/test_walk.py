"""Walks are a plan: every leg at its time, every journey by everybody before one comes again."""

from itertools import pairwise
from pathlib import Path

import pytest

from models.system import deployed
from simulator.errors import InputError
from simulator.journeys.journey import Journey, Leg, journeys_in, read_journey
from simulator.journeys.walk import judge_walks, walks_of
from simulator.load.simulated import simulate_load
from simulator.plan import Do
from tests.simulator.small import armed

SHORT = Journey(
    "short", (Leg("connect"), Leg("ask", {"question": "{number}?", "thread": 1}, "2s"), Leg("leave", {"clean": True}))
)
LONG = Journey("long", (Leg("connect"), Leg("stall", {"for_s": 0.5}), Leg("leave", {"clean": False}, 3)))


def test_each_leg_is_a_step_at_its_time() -> None:
    plan, walks = walks_of({"short": SHORT, "long": LONG}, 2, 20.0, 1, latency_s=0.001)
    times, now_s = [], 0.0
    for step in plan.steps:
        times.append(now_s)
        now_s += step.after_s
    for walk in walks:
        legs = {"short": SHORT, "long": LONG}[walk.journey].legs
        begun = [times[place] for place in walk.steps]
        assert begun[0] == pytest.approx(walk.begins_s)
        pauses = [later - now for now, later in pairwise(begun)]
        assert pauses == pytest.approx([leg.pause_s for leg in legs[:-1]])
        for place, leg in zip(walk.steps, legs, strict=True):
            action = plan.steps[place].action
            assert isinstance(action, Do)
            assert (action.operation, action.user) == (leg.operation, walk.user)
    assert max(each.begins_s for each in walks) < 20


def test_every_journey_is_walked_before_one_is_walked_again() -> None:
    """And the n-th user begins with the n-th, so that with as many users all are walked however short the time."""
    journeys = dict.fromkeys(("a", "b", "c"), SHORT)
    _, walks = walks_of(journeys, 3, 60.0, 7, latency_s=0.001)
    for user in range(3):
        mine = [each.journey for each in walks if each.user == user]
        assert len(mine) > 6
        for number in range(0, len(mine) - 3, 3):
            assert sorted(mine[number : number + 3]) == ["a", "b", "c"]
    assert [each.journey for each in sorted(walks, key=lambda each: each.begins_s)[:3]] == ["a", "b", "c"]


def test_texts_are_numbered_by_journey() -> None:
    plan, _ = walks_of({"short": SHORT}, 1, 20.0, 1, latency_s=0.001)
    asked = [
        step.action.arguments["question"]
        for step in plan.steps
        if isinstance(step.action, Do) and step.action.operation == "ask"
    ]
    assert asked[:3] == ["0?", "1?", "2?"]


@pytest.mark.parametrize(
    ("leg", "told"),
    [
        (Leg("ask", {"question": "and?", "thread": 1}), ""),
        (Leg("ask", {"question": "and?", "thread": 1}, result="bob-7"), "leg 2, ask: returned 'alice-1', not 'bob-7'"),
        (Leg("ask", {"question": "and?", "thread": 1}, expect="refused"), "leg 2, ask: was not refused"),
        (Leg("connect"), "leg 2, connect: could not be done"),
        (Leg("send_malformed", {"text": "{"}, result="bad_request"), ""),
        (Leg("cancel", expect="any"), "leg 2, cancel: could not be done"),
    ],
)
def test_what_came_of_each_leg_is_told(leg: Leg, told: str) -> None:
    journeys = {"one": Journey("one", (Leg("connect"), leg))}
    plan, walks = walks_of(journeys, 1, 1.0, 1, latency_s=0.001)
    loaded = simulate_load(deployed, plan, 5.0, deployed.all_properties(), lambda _steps, _at_s: None)
    (walked,) = judge_walks(journeys, walks, loaded)
    assert walked.wrong == told


def test_the_platforms_journeys_are_such_as_its_users_can_walk() -> None:
    assert deployed.journeys is not None
    journeys = journeys_in(deployed.journeys)
    assert len(journeys) >= 6
    for name, each in journeys.items():
        each.check(name, deployed)
        assert each.legs[0].operation == "connect"
        assert each.legs[-1].operation == "leave"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('title = "a"\nlegs = []', "the journey has no legs"),
        ('title = "a"\n[[legs]]\noperation = "fly"', "no operation 'fly'"),
        ('title = "a"\n[[legs]]\noperation = "act"\narguments = {how = 1}', "cannot be done with arguments=how"),
        ('title = "a"\n[[legs]]\noperation = "act"\npause = "soon"', "'soon' is not a duration"),
        ('title = "a"\n[[legs]]\noperation = "act"\nexpect = "luck"', "is no journey"),
        ('[[legs]]\noperation = "act"', "is no journey"),
        ("title =", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=told):
        read_journey(tmp_path / "a.toml").check("a", armed)
