"""Recipes: plans that should reach a goal which a search did not, made of what the goal is about."""

from collections.abc import Iterator, Sequence

import msgspec

from simulator.fault import FAULT_KINDS, Fault
from simulator.goals import FAULT, ORDER, PATH, Goal
from simulator.load.arrivals import plan_of
from simulator.load.profile import Load
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait
from simulator.system import System
from simulator.user import USER, user_host

__all__ = ["Recipes"]

CRASH = "crash"
LASTS_S = 6.0
BEGINS_S = 4.0
TRAFFIC = Load(users=3, per_minute=40, duration=16)
MEET_S = 0.3


class Recipes:
    """Makes plans for goals. `known` are things that users did in other runs, which tell what they can do."""

    def __init__(self, system: System, seed: int, known: Sequence[Plan]) -> None:
        self._system = system
        self._seed = seed
        self._deeds: dict[str, Do] = {}
        for plan in known:
            for step in plan.steps:
                if isinstance(step.action, Do):
                    deed = msgspec.structs.replace(step.action, user=0)
                    self._deeds.setdefault(deed.operation, deed)

    def plans(self, goal: Goal) -> Iterator[Plan]:
        """Yield plans that may reach a goal, the most likely first; none for a kind that only a search can reach."""
        if goal.kind == FAULT:
            name, _, place = goal.name.partition(" at ")
            yield self._busy(Fault(name, _struck(place.split(" > ")), self._lasts_s(name)))
        elif goal.kind == PATH:
            yield self._busy()
            for (host,) in self._system.possible_faults().get(CRASH, ()):
                if host in goal.name.split(" > "):  # then work may have to go on where it did not begin
                    yield self._busy(Fault(CRASH, (host,), LASTS_S))
        elif goal.kind == ORDER:
            operation, _, suffering = goal.name.partition(" while ")
            yield from self._met(operation, suffering.removesuffix(" suffers"))

    def _busy(self, *faults: Fault) -> Plan:
        """Return users who are busy before, while and after something happens."""
        system = self._system
        if system.mix:
            timed = [(BEGINS_S, fault) for fault in faults]
            latency_s = system.latencies_s[0]
            return plan_of(TRAFFIC, system.mix, system.arrival, self._seed, latency_s=latency_s, faults=timed)
        once = [Step(deed, MEET_S) for deed in self._deeds.values()]
        struck = [Step(Strike(fault), MEET_S) for fault in faults]
        return Plan(self._setting(), (*once, *struck, *once, Step(Wait(), LASTS_S)))

    def _met(self, operation: str, host: str) -> Iterator[Plan]:
        """Yield users who do something while a host suffers in one way or another."""
        wanted = self._deeds.get(operation)
        if wanted is None:
            return
        for kind, places in self._system.possible_faults().items():
            for at in places:
                if at[-1] == host and self._lasts_s(kind):
                    before = [Step(deed, 2.0) for name, deed in self._deeds.items() if name == self._system.arrival]
                    struck = Step(Strike(Fault(kind, _struck(at), LASTS_S)), MEET_S)
                    yield Plan(self._setting(), (*before, struck, Step(wanted, LASTS_S)))

    def _setting(self) -> Setting:
        return Setting(users=1, latency_s=self._system.latencies_s[0], seed=self._seed)

    def _lasts_s(self, kind: str) -> float:
        return 0.0 if kind in FAULT_KINDS and FAULT_KINDS[kind].end is None else LASTS_S


def _struck(at: Sequence[str]) -> tuple[str, ...]:
    """Return places of a plan: of all users the first."""
    return tuple(user_host(0) if place == USER else place for place in at)
