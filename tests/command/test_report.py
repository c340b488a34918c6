"""`wavetank report`: one file per result, which needs nothing else, shows all of it, and works in a real browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from models.system import system as chat
from tests.command.stage import called, refused
from wavetank import saving

TRACES = Path(__file__).parents[1] / "traces"
EXPERIMENTS = Path(__file__).parents[2] / "models" / "experiments"
SEED = ("--seed", "1")
BRIEFLY = 'traffic = {users = 3, before = "6s", after = "10s"}\n'
FEW = ("--profile", "peak", "--users", "3", "--duration", "20s")


class Elements(HTMLParser):
    """Counts elements, and keeps what attributes refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One result of each kind that has a page: of the least that has something of everything that is shown."""
    directory = tmp_path_factory.mktemp("report")
    shutil.copy(TRACES / "drain-read-then-delete.json", directory / "trace.json")
    for name in ("llm-crashes", "commits-lost"):
        (directory / f"{name}.toml").write_text(BRIEFLY + (EXPERIMENTS / f"{name}.toml").read_text())
    commands = {
        "load": FEW,
        "matrix": ("--component", "LLM", "--kind", "unit", "--kind", "end-to-end", "--runs", "2"),
        "chaos": ("llm-crashes.toml", "commits-lost.toml", "--defect", "ack-before-store"),
        "e2e": ("first-chat", "--duration", "10s", "--users", "1"),
        "contract": ("--defect", "ack-with-more-fields"),
        "coverage": ("--critical-only", "--runs", "1", "--fail-under", "0"),
    }
    journeys = {"workflow-with-tools": chat.contract_journeys()["workflow-with-tools"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "_confirm", lambda _path: None)  # tests/command/conftest.py says why
        patch.setattr(type(chat), "contract_journeys", lambda _self: journeys)
        for command, words in commands.items():
            code, out, _ = called(directory, command, *words, *SEED, "--json", f"{command}.json")
            assert code in (0, 1), out
    (directory / "pipeline.yaml").write_text("stages: [{performance: {load_profile: peak, users: 3, duration: 20s}}]")
    called(directory, "pipeline", "run", *SEED, "--json", "pipeline.json")
    called(directory, "gate", "pre", "--json", "gate.json")
    for name in NAMES:
        assert called(directory, "report", f"{name}.json", "-o", f"{name}.html")[0] == 0
    return directory


NAMES = ("trace", "load", "matrix", "chaos", "e2e", "contract", "coverage", "pipeline", "gate")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_needs_nothing_else(results: Path, name: str) -> None:
    page = (results / f"{name}.html").read_text()
    elements = Elements(page)
    assert elements.references == []
    assert "http" not in re.sub(r"<title>.*?</title>|<td>.*?</td>", "", page)
    assert len(page) < 1_000_000
    assert "prefers-color-scheme: dark" in page
    assert '<html lang="en">' in page
    assert elements.counts["h1"] == 1


def test_a_failure_is_a_diagram_with_a_column_per_host(results: Path) -> None:
    page = (results / "trace.html").read_text()
    elements = Elements(page)
    for host in ("user:alice", "gateway-a", "agents", "redis", "clickhouse"):
        assert f">{host}</text>" in page
    assert elements.counts["circle"] > 50
    assert elements.counts["polyline"] >= 1
    assert 'class="span fault"' in page
    assert 'class="span operation ok"' in page
    assert 'type="range"' in page
    assert "is violated:" in page
    assert elements.counts["li"] == len(json.loads((results / "trace.json").read_bytes())["story"])


def test_a_load_shows_percentiles_over_time(results: Path) -> None:
    page = (results / "load.html").read_text()
    names = ("connect", "told", "ws_latency", "simple_agent", "complex_agent", "clickhouse_query")
    assert page.count("<h3>") == sum(page.count(f"<h3>{name}") for name in names)
    assert page.count('class="line p99"') == page.count("<h3>") > 2
    assert "no promise is broken" in page
    assert "p(99) &lt; 100ms" in page


def page_of(directory: Path, results: Path, name: str, **changes: object) -> str:
    """Return the page of a result of which some things are otherwise."""
    (directory / f"{name}.json").write_text(json.dumps(json.loads((results / f"{name}.json").read_bytes()) | changes))
    code, _, err = called(directory, "report", f"{name}.json")
    assert code == 0, err
    return (directory / f"{name}.html").read_text()


def test_a_load_says_who_did_what_and_where(tmp_path: Path, results: Path) -> None:
    page = (results / "load.html").read_text()
    assert "3 users for 20s, simulated:" in page
    assert "interrupted" not in page
    assert "LEAK" not in page
    assert "<td>only live</td>" in page
    page = page_of(tmp_path, results, "load", target="target.toml", workers=4, not_begun=17)
    assert "3 users for 20s, on target.toml, by 4 workers:" in page
    assert "17 could not be begun" in page


def test_a_chart_does_without_colour(results: Path) -> None:
    """Its lines are dashed, each in its way, and a table says what they show."""
    page = (results / "load.html").read_text()
    dashes = dict(re.findall(r"\.(p\d\d) \{ stroke: [^;]*;(?: stroke-dasharray: ([^;]*);)? \}", page))
    assert len(set(dashes.values())) == len(dashes) == 3
    windows = json.loads((results / "load.json").read_bytes())["windows"]
    drawn = {name: parts for name, parts in windows.items() if len(parts) > 1}
    for name, parts in drawn.items():
        rows = page.partition(f"<summary>{name} as a table</summary>")[2].partition("</table>")[0]
        assert rows.count("<tr>") == 1 + len(parts)
    assert "<td>12ms</td>" in page


@pytest.mark.parametrize("latency_s", [None, 0.0])
def test_a_measure_that_cannot_be_drawn_does_not_hide_the_others(
    tmp_path: Path, results: Path, latency_s: float | None
) -> None:
    """Of one nothing may have come to an end, and another may take no time: neither is on a logarithmic scale."""
    windows = json.loads((results / "load.json").read_bytes())["windows"]
    figures = dict.fromkeys(("p50", "p90", "p99"), latency_s)
    page = page_of(tmp_path, results, "load", windows={**windows, "lost": [{"at_s": 0.5, "samples": 3, **figures}] * 2})
    drawn = (results / "load.html").read_text().count("<polyline")
    assert page.count("no samples to draw") == 1
    assert page.count("<polyline") == drawn > 0
    assert page.count("<td>never</td>") == (6 if latency_s is None else 0)


def test_a_load_that_was_interrupted_or_leaks_says_so(tmp_path: Path, results: Path) -> None:
    leak = {"host": "gateway-a", "per_s": 2048, "at_least_per_s": 1024, "is_leak": True}
    none = {"host": "agents", "per_s": 1, "at_least_per_s": -1, "is_leak": False}
    page = page_of(tmp_path, results, "load", interrupted=True, growths=[leak, none])
    assert "<strong>interrupted</strong>" in page
    assert "<td>gateway-a</td><td>7.031MiB</td><td>3.516MiB</td>" in page
    assert page.count("LEAK") == 1
    assert "<td>agents</td><td>3.516KiB</td><td>-3.516KiB</td><td>no leak</td>" in page


def test_a_matrix_and_a_gate_show_every_item(results: Path) -> None:
    assert "✓ holds" in (results / "matrix.html").read_text()
    gate = (results / "gate.html").read_text()
    assert "BLOCK" in gate
    assert gate.count("<tr>") == 9
    chaos = (results / "chaos.html").read_text()
    assert "broke durability" in chaos
    assert "The LLM is down" in chaos


def test_other_results_show_what_was_wrong_and_what_is_missing(results: Path) -> None:
    """Each of a run in which something is."""
    assert "first-chat" in (results / "e2e.html").read_text()
    contract = (results / "contract.html").read_text()
    assert "agents" in contract
    assert "broken: contract" in contract
    coverage = (results / "coverage.html").read_text()
    goals = json.loads((results / "coverage.json").read_bytes())["goals"]
    assert coverage.count("<br>") == sum(not each["reached"] for each in goals) > 0
    assert "Pipeline pipeline.yaml: passed" in (results / "pipeline.html").read_text()


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_page_says_that_durations_were_scaled(tmp_path: Path, results: Path, name: str) -> None:
    """What was shown in a hundredth of the time is not taken for what was shown in all of it."""
    assert '<strong class="scaled">SCALED by 0.01</strong>' in page_of(tmp_path, results, name, scale=0.01)
    for scale in (None, 1.0):
        assert "SCALED" not in page_of(tmp_path, results, name, scale=scale)


def test_what_was_said_by_a_system_is_no_markup(tmp_path: Path, results: Path) -> None:
    body = json.loads((results / "matrix.json").read_bytes())
    body["cells"][0]["why"] = "<script>alert(1)</script>"
    (tmp_path / "matrix.json").write_text(json.dumps(body))
    assert called(tmp_path, "report", "matrix.json")[0] == 0
    page = (tmp_path / "matrix.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_has_no_page_is_refused(tmp_path: Path, results: Path) -> None:
    (tmp_path / "other.json").write_text('{"command": "calibrate", "commit": null}')
    assert "there is no page for results of 'calibrate'" in refused(tmp_path, "report", "other.json")
    (tmp_path / "other.json").write_text('{"command": "load", "commit": null}')
    assert "the result of load is damaged" in refused(tmp_path, "report", "other.json")
    sentence = refused(results, "report", "trace.html")
    assert "is no trace that wavetank check saved, and no result (--json) of load, matrix, chaos" in sentence
    (tmp_path / "other.json").write_text("[]")
    assert "no result (--json) of load" in refused(tmp_path, "report", "other.json")
    refused(tmp_path, "report", "nothing-there")


def rendered(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page from the disk in a real browser without a screen."""
    browser = shutil.which("chromium")
    assert browser is not None, "scripts/services installs it"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=2000"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [browser, *words, profile, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


MOVED = """
const notes = [], press = key => when.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
function note() {
  const [box, line] = [told, latest].map(each => each.getBoundingClientRect());
  notes.push({
    said: when.getAttribute("aria-valuetext"), shown: at.textContent,
    dots: dots.filter(dot => !dot.classList.contains("later")).length,
    latest: latest.textContent, before: before.textContent.split("\\n").length,
    seen: line.top >= box.top && line.top < box.bottom - 10,
  });
}
for (const value of [when.max, when.min, (heights[40] + heights[41]) / 2]) {
  when.value = value;
  when.dispatchEvent(new Event("input"));
  note();
}
for (const key of ["ArrowRight", "ArrowLeft", "ArrowLeft"]) { press(key); note(); }
dots[11].dispatchEvent(new Event("click"));
note();
document.body.dataset.told = JSON.stringify(notes);
"""
"""To the end, to the beginning, between two events, by keys to those beside it, and by a click on the twelfth."""


@pytest.mark.parametrize("width", [1000, 500])
def test_the_slider_moves_through_time_in_a_real_browser(results: Path, tmp_path: Path, width: int) -> None:
    """It says the time, and which event was the last one; this can be seen in the box, and comes after five others."""
    page = tmp_path / "trace.html"
    page.write_text((results / "trace.html").read_text().replace("</script>", f"{MOVED}</script>"))
    dom = rendered(page, "--dump-dom", f"--window-size={width},900").stdout
    body = re.search(r'data-told="([^"]*)"', dom)
    assert body is not None
    told = json.loads(unescape(body[1]))
    events = dom.count("<circle")
    times_s = [float(at_s) for at_s in re.findall(r'<circle [^>]*data-at="([^"]*)"', dom)]
    counts = [events, 0, 41, 42, 41, 40, 12]
    assert [each["dots"] for each in told] == counts
    assert all(each["said"] == each["shown"] for each in told)
    assert told[1]["said"] == "0.000 s, before anything"
    for place, count in enumerate(counts):
        time, _, event = told[place]["said"].partition(" s, ")
        if count:
            assert event == f"event {count} of {events}"
            assert told[place]["latest"].startswith(f"{times_s[count - 1]:.3f} s ")
            assert told[place]["before"] == 5
            assert told[place]["seen"]
        if place == 2:
            assert times_s[40] < float(time) < times_s[41]
        elif count:
            assert time == f"{times_s[count - 1]:.3f}"


@pytest.mark.parametrize("name", NAMES)
def test_every_page_is_drawn_by_a_real_browser(results: Path, tmp_path: Path, name: str) -> None:
    picture = tmp_path / f"{name}.png"
    page = tmp_path / f"{name}.html"
    page.write_bytes((results / f"{name}.html").read_bytes())
    ran = rendered(page, f"--screenshot={picture}", "--window-size=1280,900")
    assert picture.stat().st_size > 8_000
    assert "Uncaught" not in ran.stderr


PHONE = """<!doctype html><body><script>
const widths = {}, pages = %s;
for (const [name, page] of Object.entries(pages)) {
  const frame = document.createElement("iframe");
  frame.width = 380;
  frame.srcdoc = page;
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    const unnamed = [...root.querySelectorAll(".scroll")].filter(each => each.tabIndex || !each.ariaLabel);
    const bare = [...root.querySelectorAll("table, svg[role=img]")].filter(each => !each.closest(".scroll"));
    widths[name] = [root.scrollWidth > root.clientWidth, unnamed.length, bare.length];
    document.body.dataset.widths = JSON.stringify(widths);
  };
  document.body.append(frame);
}
</script>"""


def test_no_page_is_wider_than_a_phone(results: Path, tmp_path: Path) -> None:
    """What is wider can be scrolled by itself, with the keyboard, too, and has a name for those who do not see it."""
    pages = json.dumps({name: (results / f"{name}.html").read_text() for name in NAMES})
    page = tmp_path / "phone.html"
    page.write_text(PHONE % pages.replace("</", "<\\/"))
    widths = re.search(r'data-widths="([^"]*)"', rendered(page, "--dump-dom").stdout)
    assert widths is not None
    assert json.loads(unescape(widths[1])) == {name: [False, 0, 0] for name in NAMES}
