"""Rendering: which page a result is shown on, and what that page needs."""

from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from simulator.errors import InputError
from simulator.load.quantity import Quantity, seconds_of
from simulator.load.sample import is_rate
from simulator.trace import Trace
from wavetank.pages.chart import charts_of
from wavetank.pages.space_time import diagram_of

__all__ = ["COMMANDS", "page_of_result", "page_of_trace"]

HOUR_S = 3600.0
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("wavetank", "pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


def page_of_trace(trace: Trace) -> str:
    """Return the page of a saved failure."""
    planted = f", with {', '.join(trace.defects)}" if trace.defects else ""
    return _rendered(
        "trace",
        title=trace.id,
        scaled="",
        subtitle=f"{trace.system}{planted}; {trace.plan.setting}; hash {trace.hash}",
        trace=trace,
        diagram=diagram_of(trace),
    )


def page_of_result(result: Mapping[str, Any]) -> str:
    """Return the page of what a command has written as JSON. Raises InputError for one that has no page."""
    command = str(result.get("command"))
    if command not in COMMANDS:
        raise InputError(f"there is no page for results of {command!r}. There are for: {', '.join(COMMANDS)}.")
    try:
        title, values = COMMANDS[command](result)
        commit = str(result["commit"] or "")[:12]
        of = f" of commit {commit}" if commit else ""
        subtitle = f"wavetank {command}{of}, {result['made_at']}"
        scale = result.get("scale")
        scaled = "" if scale in (None, 1) else f"SCALED by {scale:g}"
        return _rendered(command, title=title, subtitle=subtitle, scaled=scaled, result=result, **values)
    except (KeyError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        raise InputError(f"the result of {command} is damaged, or of another wavetank: {error!r}.") from error


def _load(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    load, target = result["load"], result["target"]
    by = f", by {result['workers']} workers" if result["workers"] > 1 else ""
    where = f"on {target}{by}" if target else "simulated"
    return f"Load of {result['system']}: {result['profile']}", {
        "who": f"{load['users']} users for {Quantity(seconds_of(load['duration']), 's')}, {where}",
        "late": Quantity(result["late_s"], "s"),
        "objectives": [(each, _told(each)) for each in result["objectives"]],
        "growths": [
            (each, *(Quantity(each[rate] * HOUR_S, "B") for rate in ("per_s", "at_least_per_s")))
            for each in result["growths"]
        ],
        "charts": charts_of(result["windows"]),
    }


def _told(objective: Mapping[str, Any]) -> str:
    """Return what an objective was held to: a value, or why there is none."""
    if objective["value"] is None:
        return "never" if objective["samples"] else str(objective["met"])
    measure = objective["measure"].split(" of ")[0]
    dimension = "%" if is_rate(measure) or measure == "cpu" else "B" if measure == "memory" else "s"
    return str(Quantity(objective["value"], dimension))


def _matrix(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    rows: dict[str, list[Any]] = {}
    for cell in result["cells"]:
        rows.setdefault(cell["component"], []).append(cell)
    kinds = list(dict.fromkeys(cell["kind"] for cell in result["cells"]))
    return f"Matrix of {result['system']}", {"rows": rows, "kinds": kinds}


def _gate(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    return f"Gate, {result['when']} deployment: {result['verdict']}", {}


def _chaos(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    return f"Experiments on {result['system']}", {}


def _e2e(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    return f"Journeys on {result['system']}", {}


def _contract(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    return f"Contract of {result['system']}", {}


def _coverage(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    kinds: dict[str, list[Any]] = {}
    for goal in result["goals"]:
        kinds.setdefault(goal["kind"], []).append(goal)
    return f"What was reached of {result['system']}: {result['percent']:.1f} %", {"kinds": kinds}


def _pipeline(result: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    outcome = "interrupted" if result["interrupted"] else "FAILED" if result["exit_code"] else "passed"
    return f"Pipeline {result['file']}: {outcome}", {}


COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, object]]]] = {
    "load": _load,
    "matrix": _matrix,
    "chaos": _chaos,
    "e2e": _e2e,
    "contract": _contract,
    "coverage": _coverage,
    "pipeline": _pipeline,
    "gate": _gate,
}


def _rendered(name: str, **values: object) -> str:
    return _TEMPLATES.get_template(f"{name}.html.jinja").render(**values)
