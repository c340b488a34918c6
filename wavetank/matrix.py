"""`wavetank matrix`: every component of a system by every kind of test."""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from simulator.errors import InputError, known_names
from simulator.system import System, load_system
from wavetank.arguments import DEPLOYED_SYSTEM, SEED_MAX, defect_option
from wavetank.cells import KINDS, Cell, State, Workbench
from wavetank.children import INTERRUPTED
from wavetank.driving import Driven, target_option
from wavetank.junit import Case, as_junit
from wavetank.provenance import provenance
from wavetank.results import as_json, check_writable, result_options, write_results

__all__ = ["matrix"]

MARKS = {State.HOLDS: "✓", State.FAILS: "✗", State.UNKNOWN: "?", State.EMPTY: "-"}
PROBLEMS = {State.HOLDS: "", State.FAILS: "failure", State.UNKNOWN: "error", State.EMPTY: "failure"}
RUNS = 15

EPILOG = """
\b
Examples:
  wavetank matrix                              every cell, simulated
  wavetank matrix --component Redis            one row
  wavetank matrix --component Redis --kind chaos --kind unit
  wavetank matrix --target target.toml         journeys, load and experiments on real services

\b
unit: the component's promises in calm runs. integration: the same with its hosts and links
struck. end-to-end: users' journeys. performance: objectives under load. chaos: experiments that
strike it. A cell holds, fails, is unknown (run, and not judged) or empty (nothing to run). Exit
codes: 1 a cell fails or is empty, 2 one is unknown.
"""


@click.command(epilog=EPILOG)
@click.argument("system_name", default=DEPLOYED_SYSTEM, metavar="[SYSTEM]")
@click.option("--component", "components", multiple=True, metavar="NAME", help="Only this row.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([*KINDS]), help="Only this column.")
@click.option("--struck", multiple=True, metavar="HOST", help="Integration: with faults here, not at its own hosts.")
@click.option(
    "--runs", type=click.IntRange(1), default=RUNS, show_default=True, help="Of each unit and integration cell."
)
@click.option("--seed", type=click.IntRange(0, SEED_MAX), help="Repeat all that is drawn  [drawn and printed]")
@defect_option
@target_option
@result_options
def matrix(
    system_name: str,
    components: tuple[str, ...],
    kinds: tuple[str, ...],
    struck: tuple[str, ...],
    runs: int,
    seed: int | None,
    defects: tuple[str, ...],
    target_file: Path | None,
    yes_really: bool,
    json_file: Path | None,
    junit_file: Path | None,
) -> int:
    """Run every kind of test of every component of SYSTEM (module:object)."""
    check_writable(json_file, junit_file)
    system = load_system(system_name).with_defects(defects)
    rows = _rows(system_name, system, components)
    for host in struck:
        if host not in system.host_names():
            raise InputError(f"the system has no host={host!r} to strike. {known_names(system.host_names())}")
    seed = random.SystemRandom().randint(0, SEED_MAX) if seed is None else seed
    driving = Driven.of(system_name, system, target_file, confirmed=yes_really)
    click.echo(driving.headed(seed))
    begun_s = time.perf_counter()
    bench = Workbench(system, driving, seed, runs, struck)
    cells, is_interrupted = _run(bench, [(name, kind) for name in rows for kind in kinds or KINDS])
    click.echo("\n".join(_lines(cells)))
    code = _exit_code(cells)
    if is_interrupted:
        click.echo("interrupted; the cells are those that were run by then")
        code = code or INTERRUPTED
    body = {
        **provenance("matrix", system_name),
        **driving.told(),
        "seed": seed,
        "exit_code": code,
        "interrupted": is_interrupted,
        "components": [*system.components],
        "cells": [
            {"component": each.component, "kind": each.kind, "state": each.state, "ran": each.ran, "why": each.why}
            for each in cells
        ],
    }
    cases = [Case(each.component, each.kind, PROBLEMS[each.state], each.why, each.ran) for each in cells]
    written = write_results(
        json_file,
        as_json(body),
        junit_file,
        as_junit(f"matrix of {system_name}", cases, time.perf_counter() - begun_s),
    )
    return code if code or written else 2


def _run(bench: Workbench, places: Sequence[tuple[str, str]]) -> tuple[list[Cell], bool]:
    """Run cells, and say whether that was interrupted."""
    cells: list[Cell] = []
    try:
        for name, kind in places:
            cells.append(bench.cell(name, kind))
    except KeyboardInterrupt:
        return cells, True
    return cells, False


def _rows(system_name: str, system: System, components: Sequence[str]) -> list[str]:
    if not system.components:
        raise InputError(f"{system_name} names no components. Set System.components.")
    for name in components:
        if name not in system.components:
            raise InputError(f"no component named {name!r}. {known_names(system.components, meant=name)}")
    return list(components or system.components)


def _exit_code(cells: Sequence[Cell]) -> int:
    states = [each.state for each in cells]
    if State.FAILS in states or State.EMPTY in states:
        return 1
    return 2 if State.UNKNOWN in states else 0


def _lines(cells: Sequence[Cell]) -> Iterator[str]:
    rows, columns = list(dict.fromkeys(each.component for each in cells)), list(dict.fromkeys(c.kind for c in cells))
    states = {(each.component, each.kind): each.state for each in cells}
    width = max(map(len, rows), default=0)
    yield ""
    yield f"{'':{width}}  " + "  ".join(columns)
    for row in rows:
        marks = (f"{MARKS[states[row, column]] if (row, column) in states else '':{len(column)}}" for column in columns)
        yield f"{row:{width}}  " + "  ".join(marks).rstrip()
    yield ""
    for each in cells:
        yield f"{MARKS[each.state]} {each.component}, {each.kind}: {each.state.value}; {each.ran}"
        if each.why:
            yield f"    {each.why}"
