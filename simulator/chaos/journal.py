"""The journal of an experiment, in the Chaos Toolkit's form (chaostoolkit.org/reference/api/journal)."""

import platform
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import version
from math import isfinite
from typing import Any

import msgspec

from simulator.chaos.experiment import ANY, Experiment, Probe, Struck
from simulator.chaos.result import ExperimentResult, Phase, Status, struck_in
from simulator.history import Event
from simulator.load.measured import Met

__all__ = ["journal_of"]

STATUSES = {
    Status.HELD: "completed",
    Status.DEVIATED: "failed",
    Status.FAILED: "failed",
    Status.INTERRUPTED: "interrupted",
}


def journal_of(outcome: ExperimentResult, begun_at: datetime, seed: int, trace: str) -> dict[str, Any]:
    """Return the journal. What the Toolkit has no word for is under `wavetank`.

    Times are real ones; in simulation the beginning is real, and time goes on as it does there.
    """
    experiment, result = outcome.experiment, outcome.loaded.result

    def at(seconds: float) -> str:
        return (begun_at + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    probes = list(experiment.steady_state.probes)
    held = [each for each in probes if each.during != ANY]
    actions = list(_done(experiment, struck_in(result.history)))
    return {
        "chaoslib-version": f"wavetank {version('wavetank')}",
        "platform": platform.platform(),
        "node": platform.node(),
        "experiment": msgspec.to_builtins(experiment),
        "start": at(0.0),
        "end": at(result.simulated_s),
        "duration": result.simulated_s,
        "status": STATUSES[outcome.status],
        "deviated": outcome.status is Status.DEVIATED,
        "steady_states": {
            "before": _steady(outcome.before, probes, at),
            "during": [_steady(outcome.during, held, at)] if outcome.during is not None else [],
            "after": _steady(outcome.after, probes, at),
        },
        "run": [_activity(each, at(begun_s)) for each, begun_s, _ in actions],
        "rollbacks": [
            _activity(each, at(ended_s), "the end of: ") for each, _, ended_s in actions if ended_s is not None
        ],
        "wavetank": {
            "outcome": outcome.status.value,
            "recovery_s": outcome.recovery_s if isfinite(outcome.recovery_s) else None,
            "recovery_time": experiment.recovery_time,
            "violated": result.violated,
            "seed": seed,
            "trace": trace,
        },
    }


def _steady(phase: Phase | None, probes: list[Probe], at: Callable[[float], str]) -> dict[str, Any]:
    """Return what probes showed of a phase; nothing for one that there was not."""
    if phase is None:
        return {}
    runs = [
        {
            "activity": {"type": "probe", **msgspec.to_builtins(probe)},
            "start": at(phase.from_s),
            "end": at(phase.until_s),
            "duration": phase.until_s - phase.from_s,
            "status": "failed" if judged.met is Met.NO_SAMPLES else "succeeded",
            "output": judged.value if isfinite(judged.value) else None,
            "tolerance_met": judged.met is Met.MET,
        }
        for probe, judged in zip(probes, phase.judged, strict=True)
    ]
    return {"steady_state_met": phase.is_met, "probes": runs}


def _done(experiment: Experiment, struck: list[Event]) -> Iterator[tuple[Struck, float, float | None]]:
    """Yield what was done, when it began, and when it was undone, if it had to be."""
    left = list(struck)

    def take(each: Struck, phase: str) -> float | None:
        for event in left:
            same = (event.name, event.data["at"]) == (each.fault.kind, [*each.fault.at])
            if same and event.data["phase"] == phase:
                left.remove(event)
                return event.at_s
        return None

    for each in experiment.struck():
        begun_s = take(each, "begin")
        if begun_s is not None:
            yield each, begun_s, take(each, "end")


def _activity(struck: Struck, at: str, prefix: str = "") -> dict[str, Any]:
    provider = {"type": "wavetank", "fault": struck.fault.kind, "at": [*struck.fault.at]}
    return {
        "activity": {"type": "action", "name": f"{prefix}{struck.action.name}", "provider": provider},
        "start": at,
        "end": at,
        "duration": 0.0,
        "status": "succeeded",
        "output": None,
    }
