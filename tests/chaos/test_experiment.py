"""An experiment says what is done when; what makes no sense is refused before anything is done."""

from pathlib import Path

import msgspec
import pytest

from models.system import deployed
from simulator.chaos.experiment import Action, Experiment, Pauses, Probe, Rollback, SteadyState, Traffic
from simulator.chaos.files import experiments_in, read_experiment
from simulator.chaos.plan import experiment_plan
from simulator.errors import InputError
from simulator.plan import Strike

STEADY = SteadyState((Probe("success_rate", "> 99%"),))
WHOLE = """
title = "ClickHouse crashes"
tags = ["service"]
[traffic]
users = 3
per_minute = 20
before = "10s"
after = "20s"
[[steady-state-hypothesis.probes]]
measure = "success_rate"
tolerance = "> 99%"
during = "> 90%"
[[method]]
name = "it crashes"
fault = "crash"
at = "clickhouse"
pauses = {before = 2, after = "5s"}
[[method]]
name = "the link is slow"
fault = "slow"
at = ["agents", "llm"]
for = "3s"
[[rollbacks]]
ends = "it crashes"
pauses = {before = 1}
"""


def experiment(*method: Action, rollbacks: tuple[Rollback, ...] = ()) -> Experiment:
    return Experiment(title="one", steady_state=STEADY, method=method, rollbacks=rollbacks, traffic=Traffic(before=10))


def times(made: Experiment) -> list[tuple[str, float, float]]:
    return [(each.action.name, each.at_s, each.ends_s) for each in made.struck()]


def test_what_lasts_ends_with_the_method() -> None:
    """Whether somebody wrote a rollback for it or not."""
    made = experiment(
        Action("a", "crash", "redis", pauses=Pauses(after=4)),
        Action("b", "crash", "llm", for_="2s", pauses=Pauses(before=1, after=6)),
    )
    assert times(made) == [("a", 10, 21), ("b", 15, 17)]
    assert (made.begins_s, made.over_s, made.lasts_s) == (10, 21, 51)


def test_a_rollback_comes_after_its_pause() -> None:
    made = experiment(
        Action("a", "crash", "redis", pauses=Pauses(after=4)),
        Action("b", "crash", "llm", pauses=Pauses(after=4)),
        rollbacks=(Rollback("b", Pauses(after=3)), Rollback("a", Pauses(before=2))),
    )
    assert times(made) == [("a", 10, 23), ("b", 14, 18)]


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(WHOLE)
    read = read_experiment(tmp_path / "one.toml", deployed)
    made = read.experiment
    made.check("one", deployed)
    assert not read.notes
    assert made.kind == "service"
    assert times(made) == [("it crashes", 12, 21), ("the link is slow", 17, 20)]
    assert [str(each) for each in (*made.tolerances(), *made.tolerances_during())] == ["> 99%", "> 90%"]
    plan = experiment_plan(made, deployed, 1, latency_s=0.001)
    begun, now_s = [], 0.0
    for step in plan.steps:
        if isinstance(step.action, Strike):
            begun.append((step.action.fault.kind, round(now_s, 6), step.action.fault.for_s))
        now_s += step.after_s
    assert begun == [("crash", 12, 9), ("slow", 17, 3)]
    assert now_s == pytest.approx(41)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('fault = "crash"', 'fault = "crush"', "no fault kind='crush'"),
        ('at = "clickhouse"', 'at = "clickhose"', "is at host='clickhose'"),
        ('at = ["agents", "llm"]', 'at = "llm"', "strikes 2 place(s)"),
        ('ends = "it crashes"', 'ends = "it crash"', "a rollback ends 'it crash'"),
        ('ends = "it crashes"', 'ends = "the link is slow"', "a rollback ends 'the link is slow'"),
        ('name = "the link is slow"', 'name = "it crashes"', "two actions are named 'it crashes'"),
        ('tolerance = "> 99%"', 'tolerance = "99%"', "the objective 'success_rate': '99%' is none"),
        ('before = "10s"', 'before = "soon"', "'soon' is not a duration"),
        ("users = 3", "users = 0", "users=0 is not between"),
        ('title = "ClickHouse crashes"', "", "missing required field `title`"),
        ('tags = ["service"]', 'recovery_time = "never"', "'never' is nothing that a recovery time"),
        ("[[steady-state-hypothesis.probes]]", "[[steady_state.probes]]", "unknown field `steady_state`"),
        ("[traffic]", "[traffic", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in WHOLE
    (tmp_path / "one.toml").write_text(WHOLE.replace(old, new))
    with pytest.raises(InputError) as refusal:
        read_experiment(tmp_path / "one.toml", deployed).experiment.check("one.toml", deployed)
    assert told in str(refusal.value).replace("Object missing", "missing").replace("Object contains ", "")


def test_what_would_do_nothing_or_show_nothing_is_refused() -> None:
    made = experiment(Action("a", "crash", "redis"))
    with pytest.raises(InputError, match="'a' would be over at once"):
        made.check("one", deployed)
    reset = Action("a", "reset", ("agents", "redis"))
    with pytest.raises(InputError, match="during a method that takes no time"):
        experiment(reset).check("one", deployed)
    experiment(msgspec.structs.replace(reset, pauses=Pauses(after=1))).check("one", deployed)
    with pytest.raises(InputError, match="the method is empty"):
        experiment().check("one", deployed)
    with pytest.raises(InputError, match="no probes"):
        Experiment(title="one", steady_state=SteadyState(()), method=made.method).check("one", deployed)


def test_the_platform_comes_with_six_of_each_kind_at_least() -> None:
    assert deployed.experiments is not None
    known = experiments_in(deployed.experiments, deployed)
    kinds = [each.kind for each in known.values()]
    assert kinds == sorted(kinds)
    assert {kind: kinds.count(kind) >= 6 for kind in kinds} == {"network": True, "service": True, "state": True}
    for name, each in known.items():
        each.check(name, deployed)
        assert each.description.endswith(".")
