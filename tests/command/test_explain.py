"""`wavetank explain`: a table, a sentence, JSON, and a refusal where there is nothing to explain."""

import json
import re
import signal
from pathlib import Path

import msgspec
import pytest

from simulator.plan import Do, Plan, Setting, Step
from simulator.trace import Broken, load_trace, write_trace
from tests.command.stage import SMALL, called, listing, refused, saved_armed, wavetank
from tests.simulator.small import Armed
from wavetank.progress import Line

PLAN = Plan(Setting(), (Step(Do("act", 0)), Step(Do("arm", 0, {"code": Armed.CODE})), Step(Do("act", 0), after_s=1.0)))
FEW = ("--runs", "12", "--steps", "4")

TABLE = """\
harmless-{hash}: harmless on tests.simulator.small:armed, 3 steps
12 runs from each prefix, with up to 4 random steps after it, seed 0

     failed    rate   95 % interval   # below it, = within  up to step
   0 of  12     0 %     0 % to  24 %   =====                   0.             none
   0 of  12     0 %     0 % to  24 %   =====                   1.    0.001 s  alice act
  11 of  12    92 %    65 % to  99 %   #############=======    2.    0.001 s  alice arm code=777777
  12 of  12   100 %    76 % to 100 %   ###############=====    3.    0.001 s  alice act

step 2 makes the difference: 0 % of the runs fail without it, 92 % with it
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A failure of which it is known which step is to blame."""
    return saved_armed(tmp_path / "trace.json", PLAN)


def changed(path: Path, **changes: object) -> None:
    write_trace(msgspec.structs.replace(load_trace(path), **changes), path)


def test_the_step_that_matters_is_named(trace: Path, tmp_path: Path) -> None:
    """The output is an interface; and the same in any process."""
    saved = load_trace(trace)
    ran = wavetank(tmp_path, "explain", "trace.json", *FEW, PYTHONHASHSEED="7")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == TABLE.format(hash=saved.hash[:8])
    assert called(tmp_path, "explain", "trace.json", *FEW) == (0, ran.stdout, "")
    assert listing(tmp_path) == ["trace.json"], "nothing is written"


def test_the_result_is_there_for_machines(trace: Path, tmp_path: Path) -> None:
    """All that the table says, without rounding."""
    saved = load_trace(trace)
    assert called(tmp_path, "explain", "trace.json", *FEW, "--json", "out.json")[0] == 0
    body = json.loads((tmp_path / "out.json").read_bytes())
    prefixes = body.pop("prefixes")
    assert body == {
        "id": saved.id,
        "system": saved.system,
        "defects": [],
        "property": "harmless",
        "site": "",
        "runs": 12,
        "steps": 4,
        "seed": 0,
        "exit_code": 0,
        "interrupted": False,
        "jump": 2,
    }
    assert [(each["steps"], each["last_step"], each["failed"], each["runs"], each["rate"]) for each in prefixes] == [
        (0, None, 0, 12, 0.0),
        (1, "0.001 s  alice act", 0, 12, 0.0),
        (2, "0.001 s  alice arm code=777777", 11, 12, 11 / 12),
        (3, "0.001 s  alice act", 12, 12, 1.0),
    ]
    assert prefixes[0]["interval"] == pytest.approx([0.0, 0.2425], abs=1e-4)


def test_where_no_step_is_seen_to_matter_that_is_said(trace: Path, tmp_path: Path) -> None:
    """Two runs show nothing, whatever they say."""
    code, out, _ = called(tmp_path, "explain", "trace.json", "--runs", "2", "--json", "out.json")
    assert code == 0
    assert "no step is seen to matter" in out
    assert "makes the difference" not in out
    assert json.loads((tmp_path / "out.json").read_bytes())["jump"] is None


def test_a_saved_failure_is_explained_by_its_name(tmp_path: Path) -> None:
    """As wavetank check prints it."""
    assert called(tmp_path, "check", f"{SMALL}:counting", "--seed", "1")[0] == 1
    code, out, _ = called(tmp_path, "explain", "few-large", *FEW)
    assert code == 0
    assert "few-large on tests.simulator.small:counting, 3 steps" in out


def test_a_failure_that_is_gone_is_not_explained(trace: Path, tmp_path: Path) -> None:
    """Before any time is spent on it; nor is another failure in its place."""
    changed(trace, plan=Plan(Setting(), PLAN.steps[:1]))
    assert "harmless holds: this failure is gone" in refused(tmp_path, "explain", "trace.json")
    changed(trace, plan=PLAN, broken=Broken(property="harmless", site="row", evidence=""))
    assert "site='' now, and was at site='row'" in refused(tmp_path, "explain", "trace.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"broken": Broken(property="harmles", site="", evidence="")}, "has no property 'harmles' any more"),
        ({"system": "nowhere:system"}, "no module named 'nowhere'"),
        ({"defects": ("old",)}, "no defect named 'old'"),
        ({"plan": Plan(Setting(), (Step(Do("fire", 0)),))}, "the system has no operation 'fire'"),
    ],
)
def test_a_foreign_trace_is_refused(trace: Path, tmp_path: Path, changes: dict[str, object], says: str) -> None:
    """In the sentences in which wavetank replay does it."""
    changed(trace, **changes)
    sentence = refused(tmp_path, "explain", "trace.json")
    assert says in sentence
    assert sentence == refused(tmp_path, "replay", "trace.json")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "no trace named 'nothing'"),
        (("trace.json", "--runs", "0"), "--runs"),
        (("trace.json", "--json", "no/where.json"), "there is no directory"),
        (("half.json",), "half.json is damaged or truncated"),
    ],
)
def test_a_wrong_call_is_one_sentence(trace: Path, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Before any run."""
    (tmp_path / "half.json").write_bytes(trace.read_bytes()[:300])
    assert says in refused(tmp_path, "explain", *arguments)


def test_an_interrupt_tells_what_is_known_so_far(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, on paper too."""

    def show(_line: Line, text: str) -> None:
        if text.startswith("50/"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Line, "show", show)
    code, out, err = called(tmp_path, "explain", "trace.json", "--runs", "1000", "--json", "out.json")
    assert (code, err) == (130, "")
    assert re.findall(r"of +(\d+) ", out) == ["20", "20", "10", "0"]
    assert "   0 of   0     0 %     0 % to 100 %   ====================    3." in out
    assert out.endswith("interrupted; the figures above are those of the runs that ended\n")
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["exit_code"], body["interrupted"]) == (130, True)
    assert [each["runs"] for each in body["prefixes"]] == [20, 20, 10, 0]


def test_how_far_it_is_goes_to_standard_error(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is for the result."""
    monkeypatch.setattr("wavetank.progress.LOG_EVERY_S", 0.0)
    code, out, err = called(tmp_path, "explain", "trace.json", "--runs", "2")
    assert code == 0
    assert [line.partition(",")[0] for line in err.splitlines()] == [f"{runs}/8 runs" for runs in range(1, 9)]
    assert err.endswith("8/8 runs, 0 s left\n")
    assert " left" not in out
