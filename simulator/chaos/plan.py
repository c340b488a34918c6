"""The plan of an experiment: what users do, with the faults of the method in between."""

from simulator.chaos.experiment import Experiment
from simulator.load.arrivals import plan_of
from simulator.plan import Plan
from simulator.system import System

__all__ = ["experiment_plan"]


def experiment_plan(experiment: Experiment, system: System, seed: int, *, latency_s: float) -> Plan:
    """Return what is done to a system. Raises InputError."""
    faults = [(each.at_s, each.fault) for each in experiment.struck()]
    plan = plan_of(experiment.load(), system.mix, system.arrival, seed, latency_s=latency_s, faults=faults)
    system.check_plan(plan)
    return plan
