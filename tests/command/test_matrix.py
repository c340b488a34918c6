"""`wavetank matrix`: every cell holds on the healthy platform, and fails when its component is broken or not there."""

import json
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import attrs
import pytest

from models.system import DeployedChatSystem, deployed
from simulator.campaign import Campaign
from tests.command.stage import BANK, called, interrupted, refused
from wavetank.cells import KINDS

SEED = ("--seed", "1")
GONE = {
    "ClickHouse": "clickhouse",
    "WebSocket": "gateways",
    "Agents": "agents",
    "Redis": "redis",
    "Auth": "redis",
    "PostgreSQL": "postgres",
    "LLM": "llm",
}
"""By component, what is not there."""
SEARCHED = [
    ("ClickHouse", "unit", "refusals-count-as-failures"),
    ("ClickHouse", "integration", "half-open-stampede"),
    ("WebSocket", "unit", "ack-with-more-fields"),
    ("WebSocket", "integration", "resume-off-by-one"),
    ("Agents", "unit", "dependents-start-early"),
    ("Agents", "integration", "failed-dependency-ignored"),
    ("Redis", "unit", "sessions-never-pruned"),
    ("Redis", "integration", "cache-is-mandatory"),
    ("Auth", "unit", "signature-not-checked"),
    ("Auth", "integration", "claimed-user-believed"),
    ("PostgreSQL", "unit", "resume-off-by-one"),
    ("PostgreSQL", "integration", "ack-before-store"),
    ("LLM", "unit", "cache-without-user"),
    ("LLM", "integration", "llm-outage-waited-out"),
]
"""Cells that search, and a defect that each finds."""


def states(file: Path) -> dict[tuple[str, str], str]:
    return {(each["component"], each["kind"]): each["state"] for each in json.loads(file.read_bytes())["cells"]}


@pytest.fixture
def few_experiments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the platform's experiments two that strike every component between them; all of them are tried elsewhere."""
    assert deployed.experiments is not None
    directory = tmp_path / "experiments"
    directory.mkdir()
    for name in ("everything-slow", "gateway-replaced"):
        (directory / f"{name}.toml").write_bytes((deployed.experiments / f"{name}.toml").read_bytes())
    monkeypatch.setattr(DeployedChatSystem, "experiments", directory)


def test_ctrl_c_ends_it_with_the_cells_by_then(tmp_path: Path) -> None:
    """And not with the next cell: there are dozens."""
    words = ("matrix", "--kind", "end-to-end", "--seed", "1", "--json", "out.json")
    code, out = interrupted(tmp_path, *words, at=r"journeys: \d+ of 10 s")
    assert code == 130, out
    assert "interrupted; the cells are those that were run by then" in out
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert (told["interrupted"], told["exit_code"], told["cells"]) == (True, 130, [])


def test_a_search_that_was_interrupted_decides_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it begin the next one."""
    made: list[object] = []

    class Interrupted(Campaign):
        def run(self) -> Self:
            made.append(self)
            super().run()
            self.interrupted = True
            return self

    monkeypatch.setattr("wavetank.cells.Campaign", Interrupted)
    code, out, _ = called(tmp_path, "matrix", "--kind", "unit", "--runs", "1", *SEED)
    assert code == 130, out
    assert len(made) == 1


@pytest.mark.usefixtures("few_experiments")
def test_every_cell_runs_something_and_holds(tmp_path: Path) -> None:
    """Of one row: all seven take minutes."""
    rows = ("LLM",)
    words = [word for name in rows for word in ("--component", name)]
    results = ("--json", "out.json", "--junit", "out.xml")
    code, out, _ = called(tmp_path, "matrix", *words, *SEED, "--runs", "12", *results)
    made = states(tmp_path / "out.json")
    assert made.keys() == {(name, kind) for name in rows for kind in KINDS}
    assert set(made.values()) == {"holds"}, out
    assert code == 0
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "0", "0")


@pytest.mark.parametrize(("component", "kind", "defect"), SEARCHED)
def test_a_cell_that_searches_fails_by_a_defect(tmp_path: Path, component: str, kind: str, defect: str) -> None:
    words = ("--component", component, "--kind", kind, "--defect", defect, "--runs", "40", "--json", "out.json")
    code, out, _ = called(tmp_path, "matrix", *SEED, *words)
    assert code == 1, out
    assert states(tmp_path / "out.json") == {(component, kind): "fails"}


def test_other_services_may_be_struck_than_a_components_own(tmp_path: Path) -> None:
    """As a pipeline says it: the LLM's promises, while another service is struck."""
    words = ("--component", "LLM", "--kind", "integration", "--struck", "redis", "--runs", "2", "--json", "out.json")
    assert called(tmp_path, "matrix", *SEED, *words)[0] in (0, 2)  # in so few runs not all can be judged
    (cell,) = json.loads((tmp_path / "out.json").read_bytes())["cells"]
    assert cell["ran"] == "2 simulated runs with faults at redis: isolation, degradation"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # clients that connect when all ends
@pytest.mark.parametrize(("component", "gone"), GONE.items())
@pytest.mark.usefixtures("few_experiments")
def test_other_cells_fail_when_their_component_is_not_there(tmp_path: Path, component: str, gone: str) -> None:
    kinds = [kind for kind in KINDS if kind not in ("unit", "integration")]
    words = [word for kind in kinds for word in ("--kind", kind)]
    system = f"tests.command.broken:{gone}"
    code, out, _ = called(tmp_path, "matrix", system, "--component", component, *words, *SEED, "--json", "out.json")
    assert code == 1
    assert states(tmp_path / "out.json") == {(component, kind): "fails" for kind in kinds}, out


def test_what_cannot_be_run_is_told_at_once(tmp_path: Path) -> None:
    assert "no component named 'Clickhouse'" in refused(tmp_path, "matrix", "--component", "Clickhouse")
    assert "the system has no host='mysql' to strike. Known: " in refused(tmp_path, "matrix", "--struck", "mysql")
    assert "names no components" in refused(tmp_path, "matrix", BANK)
    assert "'weather' is not one of" in refused(tmp_path, "matrix", "--kind", "weather")


def test_a_cell_of_which_nothing_is_measured_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {"Nothing": attrs.evolve(deployed.components["Redis"], hosts=(), objectives={}, journeys=())}
    monkeypatch.setattr(type(deployed), "components", empty)
    words = ("--kind", "end-to-end", "--kind", "performance", "--kind", "chaos", "--json", "out.json")
    code, _, _ = called(tmp_path, "matrix", *SEED, *words)
    assert code == 1
    assert set(states(tmp_path / "out.json").values()) == {"empty"}
