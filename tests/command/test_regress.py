"""`wavetank regress`, and a corpus that comes before a search: what has become of each failure, in a word."""

import json
import re
import shutil
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from simulator.trace import load_trace
from tests.command.stage import BANK, ROOT, SMALL, called, edited, listing, refused, wavetank
from tests.simulator.small import drifting

COUNTING = f"{SMALL}:counting"
ONE_ACT = {"setting": {"users": 1}, "steps": [{"action": {"action": "do", "operation": "act", "user": 0}}]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of one failure, as it was saved: three large numbers."""
    directory = tmp_path_factory.mktemp("saved")
    assert called(directory, "check", COUNTING, "--seed", "1")[0] == 1
    (path,) = directory.glob(".wavetank/failures/*/trace.json")
    return path


def kept(saved: Path, directory: Path, name: str = "one", **changes: object) -> Path:
    """Keep the trace in a corpus, as if it had been saved with these changes."""
    path = directory / "regressions" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(saved, path)
    edited(path, changes)
    return path


def broken(**changes: str) -> dict[str, str]:
    return {"property": "few-large", "site": "", "evidence": "3 large numbers"} | changes


@pytest.mark.parametrize(
    ("changes", "word", "says", "code"),
    [
        ({}, "STILL FAILING", "few-large: 3 large numbers (the same history)", 1),
        ({"hash": "0" * 32}, "STILL FAILING", "few-large: 3 large numbers (another history)", 1),
        ({"defects": ["gone"], "plan": ONE_ACT, "system": f"{SMALL}:quiet"}, "DOES NOT FIT", "found with gone: ", 2),
        (
            {"broken": broken(property="finishes")},
            "BREAKS ANOTHER",
            "finishes: few-large is violated: 3 large numbers",
            1,
        ),
        ({"broken": broken(site="row")}, "BREAKS ANOTHER", "violated at another site ('', not 'row'): 3 large", 1),
        ({"plan": {"setting": {}, "steps": []}}, "FIXED", "few-large: not judged: nothing to examine happened", 0),
        ({"system": BANK}, "DOES NOT FIT", "no property named 'few-large'", 2),
        ({"system": "gone:system"}, "DOES NOT FIT", "no module named 'gone'", 2),
        (
            {"broken": broken(property="uncaught"), "system": f"{SMALL}:quiet"},
            "DOES NOT FIT",
            "operation 'act' cannot be done with arguments=number, word",
            2,
        ),
        (
            {"broken": broken(property="nothing"), "system": f"{SMALL}:drifting", "plan": ONE_ACT},
            "DIVERGED",
            "First differing event: index=",
            3,
        ),
        ({"version": 2}, "DAMAGED", "Upgrade wavetank", 2),
    ],
)
def test_each_trace_gets_the_word_that_it_is(
    saved: Path, tmp_path: Path, changes: dict[str, object], word: str, says: str, code: int
) -> None:
    """And the exit code that a script reads."""
    drifting.seen.clear()
    kept(saved, tmp_path, **changes)
    before = listing(tmp_path)
    ended, out, err = called(tmp_path, "regress")
    assert (ended, err) == (code, "")
    told, _, summed = out.partition("\n\n")
    assert told.startswith(f"{word:14}  regressions/one.json  ")
    assert says in told
    assert summed.startswith(f"1 of 1 regressions: 1 {word.lower()}")
    assert ("wavetank replay regressions/one.json" in out) == (word == "STILL FAILING")
    assert listing(tmp_path) == before, "nothing is written"


def test_a_fixed_failure_is_one_that_breaks_no_promise(saved: Path, tmp_path: Path) -> None:
    """Two large numbers are no failure; that the promise was judged needs no words."""
    plan = json.loads(saved.read_bytes())["plan"]
    kept(saved, tmp_path, plan=plan | {"steps": plan["steps"][:2]}, defects=["one", "two"])
    code, out, _ = called(tmp_path, "regress")
    assert (code, out) == (
        0,
        "FIXED           regressions/one.json  few-large, found with one, two\n\n1 of 1 regressions: 1 fixed\n",
    )


def test_the_others_run_whatever_one_is(saved: Path, tmp_path: Path) -> None:
    """In the order of their names, below directories too; the worst decides, for machines and for scripts."""
    kept(saved, tmp_path, "a", plan={"setting": {}, "steps": []})
    kept(saved, tmp_path, "c")
    (tmp_path / "regressions" / "b").mkdir()
    (tmp_path / "regressions" / "b" / "half.json").write_bytes(saved.read_bytes()[:300])
    code, out, _ = called(tmp_path, "regress", "--json", "out.json", "--junit", "out.xml")
    assert code == 1
    assert "3 of 3 regressions: 1 fixed, 1 still failing, 1 damaged (1 of the fixed not judged)\n" in out
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["exit_code"], body["interrupted"]) == (1, False)
    told = [(each["file"], each["standing"], each["property"]) for each in body["regressions"]]
    assert told == [
        ("regressions/a.json", "fixed", "few-large"),
        ("regressions/b/half.json", "damaged", None),
        ("regressions/c.json", "still failing", "few-large"),
    ]
    assert body["regressions"][2]["hash"] == body["regressions"][2]["hash_saved"] == load_trace(saved).hash
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    (problem,) = suite.iter("failure")
    assert problem.get("message") == "3 large numbers (the same history)"
    assert str(problem.text).splitlines() == list(load_trace(saved).story)


def test_planted_bugs_are_those_of_the_command_line(tmp_path: Path) -> None:
    """Not those that the trace was found with: what is asked is whether the system as it is now breaks."""
    trace = str(ROOT / "tests" / "traces" / "cache-without-user.json")
    code, out, _ = called(tmp_path, "regress", trace)
    assert code == 0
    assert "isolation, found with cache-without-user\n" in out
    code, out, _ = called(tmp_path, "regress", trace, "--defect", "cache-without-user")
    assert code == 1
    assert out.startswith("STILL FAILING ")


def test_a_system_that_has_moved_is_named(saved: Path, tmp_path: Path) -> None:
    """A trace names the module that it was found in."""
    path = kept(saved, tmp_path, system="gone:system")
    assert called(tmp_path, "regress", str(path), "--system", COUNTING)[0] == 1
    assert "no module named 'nowhere'" in refused(tmp_path, "regress", str(path), "--system", "nowhere:system")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "regressions does not exist. Name a trace"),
        (("empty",), "empty holds no trace."),
        (("empty", "gone.json"), "empty holds no trace."),
        (("gone.json",), "cp .wavetank/failures/ID/trace.json regressions/ID.json"),
        (("empty", "--json", "nowhere/out.json"), "Make it first"),
    ],
)
def test_a_corpus_of_nothing_is_no_pass(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """A name that is misspelt would pass for ever."""
    (tmp_path / "empty").mkdir()
    assert says in refused(tmp_path, "regress", *arguments)
    assert listing(tmp_path) == ["empty"]


@pytest.mark.parametrize("fails_first", [False, True])
def test_an_interrupt_tells_what_is_known_by_then(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_first: bool
) -> None:
    """Exit code 130; 1 when one had failed by then."""
    import wavetank.corpus as told

    calls = []

    def interrupted(path: Path, system_of: object) -> object:
        calls.append(path)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return replayed(path, system_of)  # type: ignore[arg-type]

    replayed = told.replay_regression
    monkeypatch.setattr(told, "replay_regression", interrupted)
    kept(saved, tmp_path, "a", **({} if fails_first else {"plan": {"setting": {}, "steps": []}}))
    kept(saved, tmp_path, "b")
    kept(saved, tmp_path, "c")
    code, out, _ = called(tmp_path, "regress", "--json", "out.json")
    assert code == (1 if fails_first else 130)
    assert "1 of 3 regressions: " in out
    assert "interrupted, 2 not replayed" in out
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["interrupted"], len(body["regressions"])) == (True, 1)


def test_a_search_comes_after_what_is_known(saved: Path, tmp_path: Path) -> None:
    """Nothing is searched while one fails, and all are shown; the results for machines say so too."""
    kept(saved, tmp_path, "a")
    kept(saved, tmp_path, "b", plan={"setting": {}, "steps": []})
    arguments = ("check", COUNTING, "--regressions", "regressions", "--json", "out.json", "--junit", "out.xml")
    code, out, _ = called(tmp_path, *arguments)
    assert code == 1
    assert "STILL FAILING   regressions/a.json" in out
    assert "FIXED           regressions/b.json" in out
    assert out.endswith("nothing was searched: what is known comes first\n")
    assert [each["standing"] for each in json.loads((tmp_path / "out.json").read_bytes())["regressions"]] == [
        "still failing",
        "fixed",
    ]
    (tmp_path / "regressions" / "a.json").unlink()
    code, out, _ = called(tmp_path, *arguments, "--seed", "1")
    assert code == 1
    assert "1 of 1 regressions: 1 fixed" in out
    assert "few-large is violated" in out
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert body["regressions"][0]["file"] == "regressions/b.json"
    assert body["failure"]["property"] == "few-large"
    names = [each.get("name") for each in ElementTree.parse(tmp_path / "out.xml").getroot()]
    assert names == ["regressions/b.json", "few-large", "uncaught", "finishes"]


def test_a_corpus_is_replayed_on_the_system_that_is_checked(saved: Path, tmp_path: Path) -> None:
    """With the planted bugs that are switched on, whatever the traces name."""
    kept(saved, tmp_path, system="gone:system", defects=["gone"])
    code, out, _ = called(tmp_path, "check", COUNTING, "--regressions", "regressions")
    assert code == 1
    assert out.splitlines()[4].startswith("STILL FAILING ")
    assert "does not exist" in refused(tmp_path, "check", COUNTING, "--regressions", "regresions")


def test_a_failure_is_found_kept_mended_and_stays_so(tmp_path: Path) -> None:
    """The way of a failure through continuous integration, as the README has it."""
    source = (ROOT / "tests/reader/my_system.py").read_text(encoding="utf-8")
    (tmp_path / "my_system.py").write_text(source)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    (told,) = re.findall(r"```text\n(FIXED.*?)```", readme, re.DOTALL)
    (tmp_path / "wavetank.toml").write_text(settings)
    assert wavetank(tmp_path, "check", "--profile", "pr").returncode == 1
    (path,) = tmp_path.glob(".wavetank/failures/*/trace.json")
    (tmp_path / "regressions").mkdir()
    shutil.copy(path, tmp_path / "regressions" / f"{path.parent.name}.json")
    known = wavetank(tmp_path, "check", "--profile", "pr")
    assert known.returncode == 1
    assert "STILL FAILING   regressions/no-deposit-is-lost-" in known.stdout
    assert 'failures="1"' in (tmp_path / "wavetank.xml").read_text()
    mended = source.replace("balance = self.balance\n", "self.balance += int(amount)\n").replace(
        "self.balance = balance + int(amount)", "pass"
    )
    (tmp_path / "my_system.py").write_text(mended)
    passed = wavetank(tmp_path, "check", "--profile", "pr", "--runs", "50")
    assert passed.returncode == 0, passed.stdout
    assert told in passed.stdout
    assert passed.stdout.endswith("all properties hold\n")
