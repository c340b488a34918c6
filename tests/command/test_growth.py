"""How behaviours grew, as numbers and as a graph."""

import json
from pathlib import Path

from simulator.statistics import Statistics
from tests.command.stage import SMALL, called
from wavetank.growth import growth, growth_lines


def statistics(runs: int, *first_runs: int) -> Statistics:
    made = Statistics.of(())
    made.runs, made.first_run = runs, {str(number): run for number, run in enumerate(first_runs)}
    return made


def test_each_column_is_as_high_as_what_was_known_by_then() -> None:
    """The last one is all of it; more runs than columns share one."""
    assert list(growth_lines(statistics(8, 1, 1, 3, 8))) == [
        "\n4 behaviours, the last new one in run 8 of 8:",
        "         █",
        "    ██████",
        "  ████████",
        "  ████████",
    ]
    many = list(growth_lines(statistics(6000, *range(1, 6001, 10))))
    assert [len(line) for line in many[1:]] == [62, 62, 62, 62]
    assert many[1].endswith(" ▁▁▂▂▃▃▄▄▅▅▆▆▇█")
    assert list(growth_lines(statistics(3))) == []


def test_the_numbers_are_those_of_the_runs_that_showed_something_new() -> None:
    """Enough to draw it anew."""
    assert growth(statistics(8, 1, 1, 3, 8)) == [(1, 2), (3, 3), (8, 4)]


def test_it_is_told_where_it_says_something(tmp_path: Path) -> None:
    """With --until-flat, and of many runs; in the result for machines always."""
    few = called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "5", "--seed", "1", "--json", "out.json")
    assert "behaviours, the last new one" not in few[1]
    told = json.loads((tmp_path / "out.json").read_bytes())["behaviours"]
    assert (told["is_flat"], told["count"], told["last_new_run"]) == (
        False,
        told["growth"][-1][1],
        told["growth"][-1][0],
    )
    flat = called(tmp_path, "check", f"{SMALL}:quiet", "--until-flat", "--steps", "3", "--seed", "1")
    assert "profile default: until nothing new comes, up to 3 steps each" in flat[1]
    assert "behaviours, the last new one in run " in flat[1]
