"""A load in simulation: time passes whatever can be begun, and what was done can be done again."""

import pytest

from models import system as chat
from models.config import PlatformConfig
from models.system import deployed, system
from simulator.fault import Fault
from simulator.load.simulated import simulate_load
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait
from simulator.simulated_run import simulate


def test_time_passes_for_who_can_do_nothing() -> None:
    """Else with all users cut off the rest of a load would be over at once, and whatever heals would come too late."""
    asks = tuple(Step(Do("ask", 0, {"question": "and?", "thread": 1}), 1.0) for _ in range(10))
    loaded = simulate_load(deployed, Plan(Setting(), asks), 10.0, (), lambda _steps, _at_s: None)
    assert (loaded.not_begun, loaded.begun) == (10, 0)
    assert loaded.result.simulated_s >= 10
    assert [each.at_s for each in loaded.samples if each.measure == "error_rate"] == pytest.approx(
        [0.001 + number for number in range(10)]
    )
    assert [step.action for step in loaded.plan.steps] == [Wait()] * 10


def test_what_was_done_is_a_plan_that_makes_the_same_history() -> None:
    ask = Do("ask", 0, {"question": "and?", "thread": 1})
    steps = (Step(ask, 0.5), Step(Do("connect", 0), 0.5), Step(ask, 2.0))
    loaded = simulate_load(deployed, Plan(Setting(), steps), 3.0, (), lambda _steps, _at_s: None)
    assert simulate(deployed, loaded.plan, ()).history.hash == loaded.result.history.hash
    assert [number is not None for number in loaded.invoked] == [False, True, True]


def test_a_host_runs_the_next_release_from_its_next_start_on_and_then_the_former(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the rollback is tried with: without it, one release would be rolled back to itself."""
    started: list[int] = []
    serve = chat.serve

    async def watched(config: PlatformConfig, **more: object) -> None:
        if more["roles"] == ("agents",):
            started.append(config.runs_at_once)
        await serve(config, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(chat, "serve", watched)
    again = Step(Strike(Fault("terminate", ("agents",), 0.5)), 2.0)
    installed = Step(Strike(Fault("next-release", ("agents",), 3.0)), 0.0)
    assert not simulate(deployed, Plan(Setting(), (installed, again, again)), deployed.all_properties()).violated
    assert started == [8, 4, 4], "the second time it is still installed"
    started.clear()
    simulate(deployed, Plan(Setting(), (installed, again, Step(Wait(), 2.0), again)), ())
    assert started == [8, 4, 8]
    assert not any(each.troubles for each in system.hosts() if each.name == "agents"), "the search does not draw it"


def test_only_the_chosen_hosts_and_their_links_are_struck() -> None:
    struck = system.with_faults_at(["clickhouse"]).possible_faults()
    places = [at for found in struck.values() for at in found]
    assert places
    assert all("clickhouse" in at for at in places)
    assert not any(system.with_faults_at(()).possible_faults().values())
