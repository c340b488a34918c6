"""What a gate demands: the items of its checklists, each with what is wrong by the results of a command."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from simulator.errors import InputError
from simulator.load.sample import is_rate
from simulator.yaml_file import parse_yaml
from wavetank.evidence import (
    ChaosResult,
    CoverageResult,
    E2eResult,
    Journal,
    LoadResult,
    MatrixResult,
    ObserveResult,
)

__all__ = ["POST", "PRE", "Item", "Rules", "read_rules"]

OF_LEAKS = ("resources", "finishes")
"""Promises of which a leak breaks one, or keeps it from being judged."""


@attrs.frozen
class Item:
    """One item of a checklist: the command whose results it needs, and how these are read: nothing wrong, or what is.

    `aside` says what does not block, but should be known.
    """

    name: str
    command: str
    wrong: Callable[[Any], Iterable[str]]
    live: bool = False
    aside: Callable[[Any], Iterable[str]] = lambda _result: ()


def _cells(kind: str) -> Callable[[MatrixResult], Iterator[str]]:
    def wrong(result: MatrixResult) -> Iterator[str]:
        mine = [each for each in result.cells if each.kind == kind]
        done = [each.component for each in mine]
        if not result.components:
            yield "the system has no components"
        for each in mine:
            if each.state != "holds":
                yield f"{each.component} {each.state}: {each.why or each.ran}"
        yield from (f"no {kind} cell of {name}" for name in result.components if name not in done)

    return wrong


def _journeys(result: E2eResult) -> Iterator[str]:
    yield from (f"{name}: {each.wrong[0].what}" for name, each in result.journeys.items() if each.wrong)
    yield from _broken(result.violated)
    if not result.journeys:
        yield "no journey was walked"
    for name in dict.fromkeys([*result.known_journeys, *result.journeys]):
        if name not in result.journeys or not result.journeys[name].walked:
            yield f"{name} was not walked"


def _broken(names: Iterable[str]) -> Iterator[str]:
    yield from (f"broke {name}" for name in names)


def _objectives(keep: Callable[[str], bool] = lambda _measure: True) -> Callable[[LoadResult], Iterator[str]]:
    def wrong(result: LoadResult) -> Iterator[str]:
        mine = [each for each in result.objectives if keep(each.measure)]
        held = [each.measure for each in mine]
        for each in mine:
            if each.met != "met" and (each.met != "only live" or result.target is not None):
                yield f"{each.measure} {each.objective} is {each.met}"
        yield from _broken(result.violated)
        if not any(each.met == "met" for each in mine):
            yield "no such objective is met"
        yield from (f"no objective of {name}" for name in result.known_objectives if keep(name) and name not in held)

    return wrong


def _leaks(result: LoadResult) -> Iterator[str]:
    yield from (f"the memory of {each.host} grows" for each in result.growths if each.is_leak)
    if not result.known_promises:
        yield "no promise was judged"
    for name in result.known_promises:
        outcome = result.verdicts.get(name, "not judged")
        if outcome == "not judged" or (name in OF_LEAKS and outcome != "holds"):
            yield f"{name} is {outcome}"


def _unjudged(result: LoadResult) -> Iterator[str]:
    if result.growths_unjudged:
        yield f"watched for too short a time: the memory of {', '.join(result.growths_unjudged)}"


def _breakers(result: CoverageResult) -> Iterator[str]:
    """Every move of every breaker must have been seen at one of the hosts that have it."""
    seen: dict[tuple[str, str], bool] = {}
    for each in result.goals:
        if each.kind == "transition" and each.name.startswith("breaker of "):
            place, _, move = each.name.partition(": ")
            breaker = place.removeprefix("breaker of ").partition(" at ")[0]
            seen[breaker, move] = seen.get((breaker, move), False) or each.reached
    if not seen:
        yield "no breaker was found"
    yield from (
        f"the breaker of {breaker} was never seen to go {move}" for (breaker, move), was in seen.items() if not was
    )
    yield from result.broken


def _experiments(result: ChaosResult) -> Iterator[str]:
    """All that the system comes with must have been done, where that can be, and have held."""
    yield from _not_held(result.journals)
    if not result.journals:
        yield "no experiment was done"
    for name in result.known_experiments:
        if name not in result.journals and (name not in result.not_done or result.target is None):
            yield f"{name} was not done"


def _not_held(journals: Mapping[str, Journal]) -> Iterator[str]:
    for name, each in journals.items():
        if each.wavetank.outcome != "held":
            yield ", ".join((f"{name} {each.wavetank.outcome}", *_broken(each.wavetank.violated)))


def _not_done(result: ChaosResult) -> Iterator[str]:
    if result.not_done:
        yield f"cannot be done there: {', '.join(result.not_done)}"


def _rollback(result: ChaosResult) -> Iterator[str]:
    """The experiment in which versions change back and forth must have been done, and held."""
    journals = {name: each for name, each in result.journals.items() if "rollback" in each.experiment.tags}
    if not journals:
        yield "no experiment with the tag rollback was done"
    yield from _not_held(journals)


def _critical(result: ObserveResult) -> Iterator[str]:
    """Nothing that hosts logged may be an error, or break a promise; and there must have been something."""
    if not result.events:
        yield "nothing was logged"
    if not any(each.outcome == "holds" for each in result.properties):
        yield "no promise could be judged"
    if result.errors is None:
        yield "errors were not looked for, since no target was observed"
    yield from result.errors or ()
    yield from _broken(each.name for each in result.properties if each.outcome == "violated")


def _is_latency(measure: str) -> bool:
    return not is_rate(measure) and measure not in ("memory", "cpu")


PRE = (
    Item("unit", "matrix", _cells("unit")),
    Item("integration", "matrix", _cells("integration")),
    Item("end-to-end", "e2e", _journeys),
    Item("objectives", "load", _objectives()),
    Item("no leaks", "load", _leaks, aside=_unjudged),
    Item("breakers tested", "coverage", _breakers),
    Item("chaos", "chaos", _experiments, aside=_not_done),
    Item("rollback validated", "chaos", _rollback),
)
POST = (
    Item("smoke in staging", "e2e", _journeys, live=True),
    Item("error rate", "load", _objectives(lambda measure: measure in ("error_rate", "success_rate")), live=True),
    Item("response times", "load", _objectives(_is_latency), live=True),
    Item("no critical errors in logs", "observe", _critical, live=True),
)


@attrs.frozen
class Rules:
    """Alerts that a file of Prometheus configures."""

    file: Path
    alerts: tuple[Mapping[str, object], ...]

    def wrong(self, result: LoadResult) -> Iterator[str]:
        """Yield the objectives for which there is no alert: none that names their measure."""
        measures = [each.measure for each in result.objectives]
        told = [yaml.safe_dump(each) for each in self.alerts]
        lacking = [measure for measure in measures if not any(measure in each for each in told)]
        if lacking or not measures:
            yield f"no alert names {', '.join(lacking) or 'anything: there are no objectives'}"

    def aside(self, _result: LoadResult) -> Iterator[str]:
        """Yield how many there are."""
        yield f"{len(self.alerts)} alerts in {self.file}"


def read_rules(file: Path) -> Rules:
    """Read a file of Prometheus rules. Raises InputError."""
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
        rules = [rule for group in content["groups"] for rule in group["rules"] if "alert" in rule and rule.get("expr")]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} holds no Prometheus rules: {error!r}.") from error
    return Rules(file, tuple(rules))
