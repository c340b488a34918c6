"""Cells of the matrix: each kind of test of each component, run for real, in simulation or on a target."""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain

import attrs
import click

from simulator.campaign import Budget, Campaign
from simulator.chaos.experiment import Experiment
from simulator.chaos.files import experiments_in
from simulator.chaos.plan import experiment_plan
from simulator.chaos.result import ExperimentResult, Status, SteadyBefore, experiment_result
from simulator.component import Component
from simulator.journeys.journey import journeys_in
from simulator.journeys.walk import Walked, judge_walks, walks_of
from simulator.load.arrivals import plan_of
from simulator.load.measured import LIVE_ONLY, Judged, LoadResult, Met, judge_objectives
from simulator.load.objective import parse_objective
from simulator.load.profile import Load
from simulator.load.quantity import Quantity
from simulator.system import System
from wavetank.driving import Driven, driven

__all__ = ["KINDS", "Cell", "State", "Workbench"]

STEPS = 20
SHRINK_S = 0.0
LOAD = Load(users=10, per_minute=20, duration="20s")
JOURNEYS_S = 10.0


class State(enum.Enum):
    """What a cell comes to."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"  # it was run, and could not be judged
    EMPTY = "empty"  # there is nothing to run


@attrs.frozen
class Cell:
    """One kind of test of one component: what was run, what it came to, and why."""

    component: str
    kind: str
    state: State
    ran: str
    why: str = ""


class Workbench:
    """Runs the tests of cells: what several of them need is run once."""

    def __init__(self, simulated: System, driving: Driven, seed: int, runs: int, struck: Sequence[str] = ()) -> None:
        self._struck = struck
        self._simulated = simulated
        self._driving = driving
        self._seed = seed
        self._runs = runs
        self._outcomes: dict[str, ExperimentResult] = {}

    def cell(self, name: str, kind: str) -> Cell:
        """Run one cell. Raises KeyboardInterrupt, by which it comes to nothing."""
        component = self._simulated.components[name]
        click.echo(f"{name}, {kind} ...", err=True)
        state, ran, why = KINDS[kind](self, component)
        return Cell(name, kind, state, ran, why)

    def unit(self, component: Component) -> tuple[State, str, str]:
        """Judge the component's promises in runs of few users in which nothing goes wrong."""
        alone = self._simulated.with_faults_at(())
        return self._searched(alone, component.promises, "calm simulated runs")

    def integration(self, component: Component) -> tuple[State, str, str]:
        """Judge its promises in runs in which its hosts, or others that were asked for, and their links are struck."""
        hosts = self._struck or component.hosts
        promises = (*component.promises, *component.under_faults)
        struck = self._simulated.with_faults_at(hosts)
        return self._searched(struck, promises, f"simulated runs with faults at {', '.join(hosts)}")

    def end_to_end(self, component: Component) -> tuple[State, str, str]:
        """Let users walk its journeys."""
        if not component.journeys:
            return State.EMPTY, "no journey", "none needs it"
        walked = [each for each in self._walked if each.walk.journey in component.journeys]
        ran = f"journeys {', '.join(component.journeys)}{self._where}: {len(walked)} walked"
        wrong = [f"{each.walk.journey}: {each.wrong}" for each in walked if each.wrong]
        wrong += _broken(component, self._journeys_result)
        if wrong:
            return State.FAILS, ran, wrong[0]
        missing = {*component.journeys} - {each.walk.journey for each in walked}
        if missing:
            return State.EMPTY, ran, f"not walked: {', '.join(sorted(missing))}"
        return State.HOLDS, ran, ""

    def performance(self, component: Component) -> tuple[State, str, str]:
        """Hold what it decides to its objectives."""
        if not component.objectives:
            return State.EMPTY, "no load", "it has no objectives"
        objectives = [parse_objective(*each) for each in component.objectives.items()]
        unmeasurable = () if self._driving.is_live else LIVE_ONLY
        judged = judge_objectives(objectives, self._load_result.measured.tallies, unmeasurable)
        ran = f"load of {LOAD}{self._where}: {', '.join(component.objectives)}"
        wrong = [_missed(each) for each in judged if each.met not in (Met.MET, Met.LIVE_ONLY)]
        wrong += _broken(component, self._load_result)
        if wrong:
            return State.FAILS, ran, wrong[0]
        return State.HOLDS, ran, ""

    def chaos(self, component: Component) -> tuple[State, str, str]:
        """Do the experiments that strike its hosts."""
        mine = {
            name: each
            for name, each in self._experiments.items()
            if any(place in component.hosts for struck in each.struck() for place in struck.fault.at)
        }
        outcomes = {name: self._outcome(name, each) for name, each in mine.items()}
        done = {name: each for name, each in outcomes.items() if each is not None}
        ran = f"experiments {', '.join(done)}{self._where}"
        failed = [name for name, each in done.items() if each.status is not Status.HELD]
        if failed:
            first = done[failed[0]]
            broken = "".join(f", broke {each}" for each in first.loaded.result.violated)
            return State.FAILS, ran, f"{failed[0]}: {first.status.value}{broken}"
        return (
            (State.HOLDS, ran, "") if done else (State.EMPTY, ran, "no experiment strikes it, or none can be done here")
        )

    # What several cells need

    @cached_property
    def _journeys_result(self) -> LoadResult:
        return self._journeys[0]

    @cached_property
    def _walked(self) -> Sequence[Walked]:
        return self._journeys[1]

    @cached_property
    def _journeys(self) -> tuple[LoadResult, Sequence[Walked]]:
        named = chain.from_iterable(each.journeys for each in self._simulated.components.values())
        known = journeys_in(self._simulated.journeys) if self._simulated.journeys is not None else {}
        chosen = {name: known[name] for name in dict.fromkeys(named)}
        driving = self._driving
        plan, walks = walks_of(chosen, len(chosen), JOURNEYS_S, self._seed, latency_s=driving.latency_s)
        loaded = _whole(driven(driving, plan, JOURNEYS_S, "journeys"))
        return loaded, judge_walks(chosen, walks, loaded)

    @cached_property
    def _load_result(self) -> LoadResult:
        system, driving = self._driving.system, self._driving
        plan = plan_of(LOAD, system.mix, system.arrival, self._seed, latency_s=driving.latency_s)
        return _whole(driven(driving, plan, LOAD.duration_s, "load", is_heavy=True))

    @cached_property
    def _experiments(self) -> Mapping[str, Experiment]:
        directory = self._simulated.experiments
        return experiments_in(directory, self._simulated) if directory is not None else {}

    def _outcome(self, name: str, experiment: Experiment) -> ExperimentResult | None:
        """Do an experiment, once; None if it cannot be done here."""
        plan = experiment_plan(experiment, self._driving.system, self._seed, latency_s=self._driving.latency_s)
        if name not in self._outcomes and not self._driving.why_not(plan):
            before = SteadyBefore(experiment)
            loaded = _whole(driven(self._driving, plan, experiment.lasts_s, name, before))
            self._outcomes[name] = experiment_result(experiment, loaded, before.phase)
        return self._outcomes.get(name)

    def _searched(self, system: System, promises: Sequence[str], what: str) -> tuple[State, str, str]:
        budget = Budget(self._runs, STEPS, shrink_s=SHRINK_S)
        campaign = Campaign(system, budget=budget, seed=self._seed, properties=promises).run()
        ran = f"{campaign.statistics.runs} {what}: {', '.join(promises)}"
        if campaign.failure is not None:
            return State.FAILS, ran, f"{campaign.failure.broken.name}: {campaign.failure.violation.evidence}"
        if campaign.interrupted:
            raise KeyboardInterrupt
        unknown = campaign.unknown()
        if unknown:
            missing = campaign.statistics.tallies[unknown[0].name].missing
            return State.UNKNOWN, ran, f"{', '.join(each.name for each in unknown)}: {missing}"
        return State.HOLDS, ran, ""

    @property
    def _where(self) -> str:
        return f" on {self._driving.target_file}" if self._driving.is_live else ", simulated"


def _whole(loaded: LoadResult) -> LoadResult:
    """Return what was driven to its end. Raises KeyboardInterrupt for what was interrupted: it decides no cell."""
    if loaded.is_interrupted:
        raise KeyboardInterrupt
    return loaded


def _broken(component: Component, loaded: LoadResult) -> Iterator[str]:
    for name in (*component.promises, *component.under_faults):
        violation = loaded.result.verdicts[name].violation
        if violation is not None:
            yield f"{name}: {violation.evidence}"


def _missed(judged: Judged) -> str:
    value = f"is {Quantity(judged.value, judged.objective.bound.dimension)}" if judged.samples else "has no samples"
    return f"{judged.objective.measure} {judged.objective}: {value}"


Runner = Callable[[Workbench, Component], tuple[State, str, str]]
KINDS: Mapping[str, Runner] = {
    "unit": Workbench.unit,
    "integration": Workbench.integration,
    "end-to-end": Workbench.end_to_end,
    "performance": Workbench.performance,
    "chaos": Workbench.chaos,
}
"""The kinds of tests, and what runs each."""
