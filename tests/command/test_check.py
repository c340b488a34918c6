"""`wavetank check`: what it prints, what it leaves, and how it ends."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from simulator.campaign import RUNS_DEFAULT
from simulator.trace import load_trace
from simulator.whole_file import write_whole
from tests.command.stage import (
    BANK,
    ROOT,
    SMALL,
    UNSTEADY,
    called,
    environment,
    listing,
    normalised,
    on_a_terminal,
    refused,
    wavetank,
)
from tests.simulator.small import drifting
from wavetank.check import check

FAILURE = """\
system  tests.reader.my_system:system
profile default: {runs} runs, up to 30 steps each
seed    1

VIOLATED     always      no-deposit-is-lost  held in 2 of 3 runs, examined 55 deposit, 10 read
holds        always      uncaught            held in 3 of 3 runs, examined 55 deposit, 10 read
holds        eventually  finishes            held in 3 of 3 runs, examined 55 deposit, 10 read

3 runs, 90 steps, 183 events: 160 simulated s in R real s (N to 1)

no-deposit-is-lost is violated: Whoever reads sees at least what was confirmed before.
evidence: alice read 1 after 2 were confirmed
found with 2 users, latency 20 ms, random numbers of seed 2068; faults: none; often: deposit, read

30 steps shrunk to 3 by {replays} replays in R s. 1 user, latency 1 ms:
  1.    0.001 s  alice deposit amount=1
  2.    0.001 s  alice deposit amount=1
  3.    0.051 s  alice read
  4.    0.051 s  everything is healed; then the system has 60 s to come to rest

saved as {id}, hash {hash}. Replay it
  in simulation:  wavetank replay {id}
"""


def test_a_failure_is_told_in_full_and_saved(tmp_path: Path) -> None:
    """The output is an interface: seed, figures, evidence, story, and the commands that repeat it."""
    ran = wavetank(tmp_path, "check", BANK, "--seed", "1", "--json", "out.json", "--junit", "out.xml")
    assert ran.returncode == 1
    body = json.loads((tmp_path / "out.json").read_bytes())
    failure = body["failure"]
    assert normalised(ran.stdout) == FAILURE.format(runs=RUNS_DEFAULT, **failure)
    told = ran.stderr.splitlines()[-1]  # another worker may have found something before
    assert told == "no-deposit-is-lost is violated: alice read 45 after 64 were confirmed. Shrinking 30 steps ..."
    saved = load_trace(tmp_path / ".wavetank" / "failures" / failure["id"] / "trace.json")
    assert (saved.id, saved.hash, list(saved.story)) == (failure["id"], failure["hash"], failure["story"])
    assert {key: body[key] for key in ("system", "seed", "exit_code", "interrupted", "runs", "steps")} == {
        "system": BANK,
        "seed": 1,
        "exit_code": 1,
        "interrupted": False,
        "runs": 3,
        "steps": 90,
    }
    assert [(each["name"], each["state"]) for each in body["properties"]] == [
        ("no-deposit-is-lost", "violated"),
        ("uncaught", "holds"),
        ("finishes", "holds"),
    ]
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    (problem,) = suite.iter("failure")
    assert problem.get("message") == failure["evidence"]
    assert failure["id"] in str(problem.text)
    assert "seed 1" in str(problem.text)


def test_a_second_run_on_top_of_the_first_says_the_same(tmp_path: Path) -> None:
    """Nothing that the first left behind is read, doubled or in the way."""
    first, second = (wavetank(tmp_path, "check", f"{SMALL}:counting", "--seed", "1") for _ in range(2))
    assert (first.returncode, second.returncode) == (1, 1)
    assert normalised(first.stdout) == normalised(second.stdout)
    assert len([name for name in listing(tmp_path) if name.endswith("trace.json")]) == 1


@pytest.mark.parametrize("name", ["quiet", "wordy"])
def test_a_passing_run_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """Not even Hypothesis's own directory, whatever is drawn."""
    ran = wavetank(tmp_path, "check", f"{SMALL}:{name}", "--runs", "3")
    assert ran.returncode == 0, ran
    assert ran.stdout.endswith("all properties hold\n")
    assert listing(tmp_path) == []


def test_a_system_is_checked_from_its_own_directory(tmp_path: Path) -> None:
    """Where the module is, and where the failure is then kept."""
    (tmp_path / "mine.py").write_text((ROOT / "tests/reader/my_system.py").read_text(encoding="utf-8"))
    assert wavetank(tmp_path, "check", "mine:system", "--seed", "1").returncode == 1
    assert wavetank(tmp_path, "replay", "no-deposit").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((f"{SMALL}:unreached", "--runs", "3"), 1, "never reached: never. Allow more runs"),
        ((f"{SMALL}:drifting", "--runs", "9"), 3, "Likely cause: what one run leaves behind"),
        ((f"{UNSTEADY}:by_the_clock_of_the_machine", "--runs", "1"), 3, "\n  time.monotonic() at "),
        (
            (f"{UNSTEADY}:drawing", "--doublecheck", "--workers", "1"),
            3,
            "a difference in the state of the random module",
        ),
        ((f"{SMALL}:quiet", "--doublecheck", "--runs", "3"), 0, "all properties hold"),
        ((f"{SMALL}:quiet", "--max-time", "1ms", "--workers", "1"), 0, "1 runs"),
    ],
)
def test_every_end_has_its_exit_code(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """A script reads nothing else."""
    drifting.seen.clear()
    ended, out, err = called(tmp_path, "check", *arguments, "--seed", "1")
    assert ended == code, (out, err)
    assert says in out + err
    assert "Traceback" not in err


def test_what_was_never_judged_is_no_pass(tmp_path: Path) -> None:
    """Exit code 2, and the reason, on paper too."""
    (tmp_path / "idle.py").write_text(
        "from simulator import System\nclass Idle(System):\n    def hosts(self): return ()\nsystem = Idle()\n"
    )
    code, out, _ = called(tmp_path, "check", "idle:system", "--runs", "2", "--junit", "out.xml")
    assert code == 2
    assert "not judged: uncaught, because nothing to examine happened." in out
    assert ElementTree.parse(tmp_path / "out.xml").getroot().get("errors") == "2"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("no_such_module:system",), "no module named 'no_such_module'"),
        (("nonsense",), "module:object"),
        ((f"{SMALL}:nothing",), "has no 'nothing'"),
        ((f"{SMALL}:twins",), "two properties are named 'twin'"),
        ((f"{SMALL}:quiet", "--property", "isolatoin"), "Known: uncaught, finishes"),
        (("--defect", "ack-before-stroe"), "Did you mean 'ack-before-store'"),
        (("--defect", "no such thing 1234"), "wavetank defects lists them all."),
        (("--property", "isolatoin"), "Did you mean 'isolation'? wavetank check --runs 1 lists them all."),
        ((f"{SMALL}:quiet", "--runs", "0"), "--runs"),
        ((f"{SMALL}:quiet", "--runs", "many"), "--runs"),
        ((f"{SMALL}:quiet", "--seed", "-1"), "--seed"),
        ((f"{SMALL}:quiet", "--max-time", "soon"), "Write 90, 500ms, 2m or 1h"),
        ((f"{SMALL}:quiet", "--max-time", "-5s"), "is not a duration"),
        ((f"{SMALL}:quiet", "--max-time", "nan"), "is not a duration"),
        ((f"{SMALL}:quiet", "--jsn", "x"), "--jsn"),
        ((f"{SMALL}:quiet", "--json", "same", "--junit", "same"), "--json and --junit name the same file same"),
        ((f"{SMALL}:quiet", "--json", "nowhere/out.json"), "nowhere. Make it first"),
        ((f"{SMALL}:quiet", "--junit", "nowhere/out.xml"), "Make it first"),
        ((f"{SMALL}:quiet", "--json", "."), "directory"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """It names the input and the cure; nothing is begun, nothing is written."""
    assert says in refused(tmp_path, "check", *arguments)
    assert listing(tmp_path) == []


def test_evidence_that_no_terminal_likes_is_still_reported(tmp_path: Path) -> None:
    """Control characters cannot be in XML at all; a terminal may know no umlauts."""
    ran = wavetank(
        tmp_path,
        "check",
        f"{SMALL}:awkward",
        "--runs",
        "3",
        "--junit",
        "out.xml",
        "--json",
        "out.json",
        PYTHONIOENCODING="ascii",
    )
    assert ran.returncode == 1, ran
    (problem,) = ElementTree.parse(tmp_path / "out.xml").getroot().iter("failure")
    assert problem.get("message") == "a\\x00b \\x1b[31m ü <&>"
    assert json.loads((tmp_path / "out.json").read_bytes())["failure"]["evidence"] == "a\x00b \x1b[31m ü <&>"


def test_a_failure_that_cannot_be_saved_is_still_told(tmp_path: Path) -> None:
    """The story and the seed are all that is left of it then."""
    (tmp_path / ".wavetank").write_text("in the way")
    ran = wavetank(tmp_path, "check", f"{SMALL}:counting", "--seed", "1")
    assert ran.returncode == 1
    assert "NOT saved: the trace could not be saved" in ran.stdout
    assert f"wavetank check {SMALL}:counting --seed 1\n" in ran.stdout
    assert "Replay it" not in ran.stdout
    assert "few-large is violated" in ran.stdout
    assert "seed    1" in ran.stdout
    assert (tmp_path / ".wavetank").read_text() == "in the way"


def test_what_finds_an_unsaved_failure_again_is_the_whole_command(tmp_path: Path) -> None:
    """With other steps, runs or properties the same seed makes another search."""
    (tmp_path / ".wavetank").write_text("in the way")
    limits = ("--max-time", "90", "--runs", "50", "--steps", "25", "--property", "few-large")
    code, out, _ = called(tmp_path, "check", f"{SMALL}:counting", *limits, "--seed", "1")
    assert code == 1
    assert f"  wavetank check {SMALL}:counting {' '.join(limits)} --seed 1\n" in out


def test_a_result_that_cannot_be_written_does_not_lose_the_trace(tmp_path: Path) -> None:
    """/dev/full: a place that looks writable and is not. The other result is written, and the violation is told."""
    device = "/dev/full"
    ran = wavetank(tmp_path, "check", f"{SMALL}:counting", "--seed", "1", "--json", device, "--junit", "out.xml")
    assert ran.returncode == 1
    assert "the result could not be saved: [Errno 28] No space left on device" in ran.stderr
    assert "path=/dev/full. Make room" in ran.stderr
    assert (tmp_path / "out.xml").read_text().startswith("<?xml")
    assert Path(device).is_char_device(), "a device is written to, not replaced"
    assert wavetank(tmp_path, "check", f"{SMALL}:quiet", "--runs", "3", "--json", device).returncode == 2
    assert "Traceback" not in ran.stderr
    assert len([name for name in listing(tmp_path) if name.endswith("trace.json")]) == 1


def test_a_result_goes_to_where_a_link_leads(tmp_path: Path) -> None:
    """/dev/stdout is one, to a file when output is redirected: replaced by a file, it would be lost to everybody."""
    (tmp_path / "out.json").write_text("an older result")
    (tmp_path / "link").symlink_to("out.json")
    assert called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "2", "--json", "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "out.json").read_bytes())["exit_code"] == 0


def test_what_a_link_leads_to_but_has_no_name_is_written_to(tmp_path: Path) -> None:
    """Output that goes to a file which was deleted meanwhile, as /dev/stdout shows it: the link is not replaced."""
    with (tmp_path / "gone").open("w+b") as gone:
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{gone.fileno()}")
        (tmp_path / "gone").unlink()
        write_whole(tmp_path / "link", b"a result", "the result")
        gone.seek(0)
        assert gone.read() == b"a result"
    assert listing(tmp_path) == ["link"]


def test_a_device_is_written_to_in_a_directory_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As whoever is not root finds /dev; a file there is refused before the search, with the directory's name."""
    monkeypatch.setattr("wavetank.results.os.access", lambda path, _mode: not Path(path).is_dir())
    assert called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "2", "--json", "/dev/null")[0] == 0
    sentence = refused(tmp_path, "check", f"{SMALL}:quiet", "--json", "a.json")
    assert f"a.json cannot be written: the directory {tmp_path} is read-only" in sentence


@pytest.mark.parametrize("arguments", [("check", f"{SMALL}:quiet", "--runs", "2"), ("defects",), ("--help",)])
@pytest.mark.parametrize("place", ["closed", "full"])
def test_output_that_nobody_can_read_is_neither_pass_nor_violation(
    tmp_path: Path, arguments: tuple[str, ...], place: str
) -> None:
    """`wavetank check | head -1` must not look like a broken promise, nor end in a traceback."""
    if place == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, out = os.pipe()
        os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "wavetank", *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(out)
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


def test_an_interrupt_ends_it_with_the_figures_so_far(tmp_path: Path) -> None:
    """Exit code 130, partial figures on standard output, no traceback, nothing left behind."""
    running, terminal = on_a_terminal(tmp_path, "check", f"{SMALL}:quiet", "--runs", "1000000", "--json", "out.json")
    said = b""
    while b" runs, " not in said:
        said += os.read(terminal, 1024)
    running.send_signal(signal.SIGINT)
    said += _rest(terminal)
    out, _ = running.communicate()
    assert running.returncode == 130
    assert "interrupted; the figures above are those of the runs that ended" in out
    assert "holds        always      uncaught" in out
    assert "all properties hold" not in out
    assert b"Traceback" not in said
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["interrupted"], body["exit_code"], body["failure"]) == (True, 130, None)
    assert body["runs"] > 0
    assert listing(tmp_path) == ["out.json"]


def _rest(terminal: int) -> bytes:
    """Read what is left until the other side is closed, which a terminal reports as an error."""
    said = b""
    while True:
        try:
            more = os.read(terminal, 1024)
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - the end of a terminal
            return said
        if not more:
            return said
        said += more


def test_a_failure_that_no_fresh_process_repeats_is_a_divergence_and_says_why(tmp_path: Path) -> None:
    """A set of strings is in one order for as long as a process lives; its saved failure is in no other."""
    ran = wavetank(tmp_path, "check", f"{UNSTEADY}:misordered", "--seed", "1", "--workers", "1", PYTHONHASHSEED="7")
    assert ran.returncode == 3
    lines = ran.stderr.splitlines()
    assert "a fresh process does not repeat it exactly. exit=3. wavetank: the replay has hash=" in lines[1]
    assert lines[2].startswith("First differing event: index=")
    assert lines[3].startswith("  once  observe seen on user:")
    assert lines[4].startswith("  then  observe seen on user:")
    assert lines[5].startswith("Likely cause: the order of a set of strings, or hash()")


def test_an_interrupt_while_the_saved_trace_is_confirmed_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is saved already; what was found is told, and that no fresh process has repeated it."""

    def interrupted(*_arguments: object, **options: object) -> None:
        assert options["start_new_session"], "a Ctrl-C would reach the other process, too, and look like a divergence"
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wavetank.saving.subprocess.run", interrupted)
    ran = CliRunner().invoke(check, [f"{SMALL}:counting", "--seed", "1"], standalone_mode=False)
    assert ran.return_value == 1
    assert "saved as few-large-" in ran.stdout
    assert "interrupted before a fresh process could repeat the failure" in ran.stderr
    assert len([name for name in listing(tmp_path) if name.endswith("trace.json")]) == 1
