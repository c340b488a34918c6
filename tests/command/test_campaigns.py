"""`wavetank campaigns` and `check --resume`: a long campaign outlives its process, whatever ends that."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from simulator.journal import CAMPAIGNS, FILE, KEPT
from tests.command.stage import SMALL, called, environment, listing, normalised, refused

HARMFUL = "tests.simulator.harmful"
RARE = (f"{HARMFUL}:rare", "--runs", "200", "--steps", "12", "--seed")
FAILS, FAILS_LATE, HOLDS = "2", "4", "1"
"""Seeds with which it fails in the fourth batch, in the seventh, and in none of eight."""
LONG = "import simulator.journal; simulator.journal.BRIEF_S = 0.0; from wavetank.command import main; main()"
"""The command, to which every campaign is a long one."""


class Begin(Protocol):
    def __call__(self, *arguments: str) -> "subprocess.Popen[str]": ...


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begin a command; in the end it is killed with all its workers, in case it was not as it should."""
    running: list[subprocess.Popen[str]] = []

    def begun(*arguments: str) -> "subprocess.Popen[str]":
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", LONG, *arguments],
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        )
        return running[-1]

    yield begun
    for each in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.wait()
        assert each.stdout is not None
        each.stdout.close()


def wait_until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    until_s = time.perf_counter() + within_s
    while not condition():
        assert time.perf_counter() < until_s
        time.sleep(0.01)


def journal_in(directory: Path) -> Path:
    (path,) = directory.glob(f"{CAMPAIGNS}/*/{FILE}")
    return path


def lines_in(directory: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in directory.glob(f"{CAMPAIGNS}/*/{FILE}"))


def kill(running: "subprocess.Popen[str]", directory: Path) -> None:
    """Kill a campaign of which two batches are done."""
    wait_until(lambda: lines_in(directory) >= 3)
    running.kill()
    running.wait()


def result(directory: Path, *arguments: str) -> dict[str, Any]:
    """Check, and return the result without how long it took."""
    called(directory, "check", *arguments, "--json", "out.json")
    body: dict[str, Any] = json.loads((directory / "out.json").read_bytes())
    for timed in (body, body["failure"] or {}):
        for key in ("real_s", "search_s", "shrink_s"):
            timed.pop(key, None)
    return body


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every campaign is a long one."""
    monkeypatch.setattr("simulator.journal.BRIEF_S", 0.0)


@pytest.mark.parametrize(("before", "after", "seed"), [("1", "2", FAILS_LATE), ("2", "1", HOLDS)])
def test_a_campaign_that_was_killed_goes_on_as_if_it_was_not(
    tmp_path: Path, begin: Begin, seed: str, before: str, after: str
) -> None:
    """With other workers too: the same runs, failure and hash as a campaign in one go."""
    kill(begin("check", *RARE, seed, "--workers", before), tmp_path)
    code, out, _ = called(tmp_path, "campaigns")
    assert code == 0
    assert f"killed       {25 * (lines_in(tmp_path) - 1)} of 200 runs in " in out
    assert f"{HARMFUL}:rare, seed {seed}" in out
    whole = result(tmp_path, *RARE, seed, "--workers", "1")
    assert result(tmp_path, "--resume", "latest", "--workers", after) == whole
    assert whole["exit_code"] == (1 if seed == FAILS_LATE else 0)


def test_what_a_killed_campaign_came_to_is_told_as_check_would_have(tmp_path: Path, begin: Begin, long: None) -> None:
    """All that is known of the runs that ended, and how to go on; nothing is searched."""
    kill(begin("check", *RARE, HOLDS), tmp_path)
    runs = 25 * (lines_in(tmp_path) - 1)
    code, out, _ = called(tmp_path, "campaigns", "latest")
    assert code == 0
    assert f"profile default: 200 runs, up to 12 steps each\nseed    {HOLDS}\n" in out
    assert f"holds        always      never-777  held in {runs} of {runs} runs" in out
    assert f"go on with it: wavetank check --resume {journal_in(tmp_path).parent.name}\n" in out
    assert lines_in(tmp_path) == runs / 25 + 1


def test_a_campaign_that_ended_is_told_as_it_told_itself(tmp_path: Path, long: None) -> None:
    """With the failure as small as it became; and to go on with it makes no run, and finds the same."""
    code, out, _ = called(tmp_path, "check", *RARE, FAILS)
    assert code == 1
    assert called(tmp_path, "campaigns", "latest") == (0, out, "")
    assert "failed       83 of 200 runs in " in called(tmp_path, "campaigns")[1]
    before = lines_in(tmp_path)
    assert normalised(called(tmp_path, "check", "--resume", "latest")[1]).endswith(normalised(out).partition("\n\n")[2])
    assert lines_in(tmp_path) == before + 1, "how it ended, once more"


def test_a_failure_is_kept_before_it_is_shrunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a campaign that was brief, of which nothing else is kept."""
    seen: list[str] = []

    def shrink(*_arguments: object) -> None:
        seen.append(called(tmp_path, "campaigns", "latest")[1] if not seen else "")

    monkeypatch.setattr("wavetank.progress.Progress.reduced", shrink)
    assert called(tmp_path, "check", *RARE, FAILS)[0] == 1
    assert "VIOLATED     always      never-777" in seen[0]
    assert "NOT saved: the campaign has not shrunk it yet. This goes on:\n  wavetank check --resume 20" in seen[0]
    assert not (tmp_path / CAMPAIGNS).exists()


def test_an_interrupted_campaign_goes_on(tmp_path: Path, begin: Begin, long: None) -> None:
    """It says how."""
    running = begin("check", f"{HARMFUL}:slow", "--runs", "75", "--steps", "12", "--seed", "1")
    wait_until(lambda: lines_in(tmp_path) >= 2)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate()
    assert running.returncode == 130
    assert out.endswith(f"go on with it: wavetank check --resume {journal_in(tmp_path).parent.name}\n")
    assert "  interrupted  " in called(tmp_path, "campaigns")[1]
    assert result(tmp_path, "--resume", "20")["runs"] == 75


def test_half_a_last_line_is_cut_off(tmp_path: Path, long: None) -> None:
    """Wherever the process was killed; the batch is made again."""
    whole = result(tmp_path, *RARE, FAILS)
    path = journal_in(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in (1, len(lines[3]) // 2, len(lines[3]) - 1):
        path.write_bytes(b"".join(lines[:3]) + lines[3][:cut])
        assert result(tmp_path, "--resume", "latest") == whole
        assert path.read_bytes().splitlines()[3] != lines[3][:cut]


@pytest.mark.parametrize("line", [0, 2])
def test_damage_elsewhere_is_told_with_its_place(tmp_path: Path, long: None, line: int) -> None:
    """A flipped bit, a line that is missing: nothing is guessed, and the list shows the others."""
    called(tmp_path, "check", *RARE, FAILS)
    path = journal_in(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    flipped = lines[line][:60] + bytes([lines[line][60] ^ 1]) + lines[line][61:]
    for damaged in ([*lines[:line], flipped, *lines[line + 1 :]], [*lines[:line], *lines[line + 1 :]]):
        path.write_bytes(b"".join(damaged))
        for command in (("check", "--resume"), ("campaigns",)):
            assert f"{FILE} is damaged in line {line + 1}: " in refused(tmp_path, *command, "latest")
        assert "  damaged      " in called(tmp_path, "campaigns")[1]
        assert path.read_bytes() == b"".join(damaged)


def test_a_full_disk_is_warned_of_once_and_changes_nothing_else(
    tmp_path: Path, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two lines; what is written by then can still be read."""
    write, written = os.write, []

    def full(file: int, data: bytes) -> int:
        written.append(data)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr("simulator.journal.os.write", full)
    code, out, err = called(tmp_path, "check", *RARE, HOLDS)
    assert code == 0
    assert out.endswith("all properties hold\n")
    assert [line for line in err.splitlines() if line.startswith("wavetank: ")] == [
        "wavetank: the journal cannot be written, so this campaign cannot be continued if it is killed: "
        "[Errno 28] No space left on device. path=.wavetank/campaigns. Make room, or run elsewhere."
    ]
    assert len(written) == 3
    assert "killed       50 of 200 runs" in called(tmp_path, "campaigns")[1]


def test_a_place_that_cannot_be_written_is_warned_of_once(tmp_path: Path, long: None) -> None:
    """The campaign is what was asked for."""
    (tmp_path / ".wavetank").write_text("in the way")
    code, _, err = called(tmp_path, "check", *RARE, HOLDS)
    assert code == 0
    assert err.count("wavetank: the journal cannot be written") == 1
    assert "Move the file out of the way" in err


def test_only_the_latest_are_kept_and_those_that_run(tmp_path: Path, begin: Begin, long: None) -> None:
    """The directory does not grow without limit."""
    running = begin("check", f"{HARMFUL}:slow", "--until-interrupted")
    wait_until(lambda: lines_in(tmp_path) >= 2)
    first = journal_in(tmp_path)
    for _ in range(KEPT + 2):
        assert called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "1")[0] == 0
    assert first.exists()
    assert len(list(tmp_path.glob(f"{CAMPAIGNS}/*"))) == KEPT + 1
    assert "is still running. Wait for it" in refused(tmp_path, "check", "--resume", first.parent.name)
    assert called(tmp_path, "campaigns", first.parent.name)[1].endswith("it is still running\n")
    running.kill()
    running.wait()
    assert called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "1")[0] == 0
    assert not first.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "--resume", "x"), "no campaign named 'x'. Known: 20"),
        (("campaigns", "x"), "no campaign named 'x'. Known: 20"),
        (("check", "--resume", "latest", "--runs", "5"), "so --runs cannot be given beside it"),
        (("check", f"{SMALL}:quiet", "--resume", "latest"), "so system cannot be given beside it"),
        (("check", "--resume", "latest", "--profile", "pr"), "so --profile cannot be given beside it"),
    ],
)
def test_a_resumption_that_makes_no_sense_is_refused(
    tmp_path: Path, long: None, arguments: tuple[str, ...], says: str
) -> None:
    """It would be another campaign."""
    called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "1")
    assert says in refused(tmp_path, *arguments)


def test_nothing_is_kept_yet(tmp_path: Path) -> None:
    """And the list says so."""
    assert called(tmp_path, "campaigns") == (0, "none under .wavetank/campaigns\n", "")
    assert "None is under .wavetank/campaigns" in refused(tmp_path, "check", "--resume", "latest")
    assert listing(tmp_path) == []


def test_a_campaign_of_another_wavetank_is_not_continued(
    tmp_path: Path, long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seed would mean other runs."""
    called(tmp_path, "check", f"{SMALL}:quiet", "--runs", "1")
    monkeypatch.setattr("wavetank.check.VERSION", "9.9")
    assert "begun by wavetank 0.1.0, and this is 9.9" in refused(tmp_path, "check", "--resume", "latest")


def test_a_campaign_of_a_system_that_has_changed_is_not_continued(tmp_path: Path, begin: Begin, long: None) -> None:
    """Half of the runs would be of another one."""
    text = "from tests.simulator.small import Quiet\nclass Mine(Quiet):\n    {change}\nsystem = Mine()\n"
    (tmp_path / "changing.py").write_text(text.format(change="pass"))
    kill(begin("check", "changing:system", "--runs", "100000"), tmp_path)
    (tmp_path / "changing.py").write_text(text.format(change="async def settle(self, user): user.observe('settled')"))
    assert "the system has changed since" in refused(tmp_path, "check", "--resume", "latest")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(tmp_path: Path, begin: Begin, number: int) -> None:
    """Also in the middle of a run that takes an hour, and when nobody is left to tell them: none is orphaned."""
    running = begin("check", f"{HARMFUL}:endless", "--workers", "2")
    wait_until(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("begun-*")]
    assert all(map(_is_there, workers))
    running.send_signal(number)
    out, _ = running.communicate(timeout=20)
    assert running.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), out
    wait_until(lambda: not any(map(_is_there, workers)))


def _is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
