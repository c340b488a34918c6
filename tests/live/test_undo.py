"""The undo journal: what a replay that was killed has left done is known, and undone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.deed import Deed
from simulator.live.deployment import Deployment
from simulator.live.target import ByCommand, Target, described
from simulator.live.undo import JOURNALS, UndoJournal, leftovers_of
from tests.live.stage import environment, wavetank

CRASH, RESTART = Deed("crash", ("a",)), Deed("restart", ("a",))
HOLD, RELEASE = Deed("hold", ("a", "b")), Deed("release", ("a", "b"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def writing(place: Path, *actions: tuple[str, str]) -> Target:
    """A target whose commands append to a file what they do."""

    def say(word: str) -> tuple[str, ...]:
        return ("/bin/sh", "-c", f"echo '{word}' >> {place}")

    return Target({}, tuple(ByCommand(do, at, say(f"{do}-{at}"), say(f"undo-{do}-{at}")) for do, at in actions))


def test_what_is_undone_leaves_no_journal(here: Path) -> None:
    """A directory full of old journals would be read by nobody."""
    target = writing(here / "did", ("crash", "a"), ("hold", "a->b"))
    deployment = Deployment(target, UndoJournal(described(target)))
    deployment.do(CRASH)
    deployment.do(HOLD)
    deployment.do(RELEASE)
    (journal,) = JOURNALS.iterdir()
    deployment.heal()
    deployment.close()
    assert (here / "did").read_text().split() == ["crash-a", "hold-a->b", "undo-hold-a->b", "undo-crash-a"]
    assert not journal.exists()


LEAVING = """
import os, signal, sys
from pathlib import Path
from simulator.live.deed import Deed
from simulator.live.deployment import Deployment
from simulator.live.target import described, target_of
from simulator.live.undo import UndoJournal
target = target_of(sys.stdin.read(), Path("target.toml"))
deployment = Deployment(target, UndoJournal(described(target)))
for deed in (Deed("crash", ("a",)), Deed("hold", ("a", "b")), Deed("release", ("a", "b")), Deed("freeze", ("b",))):
    deployment.do(deed)
print("done", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave(target: Target) -> None:
    """Have a process do things to a target and be killed before it undoes them all."""
    ran = subprocess.run(
        [sys.executable, "-c", LEAVING],
        input=described(target),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout == "done\n", ran.stderr


def test_a_replay_that_was_killed_is_undone_by_heal_the_last_first(here: Path) -> None:
    """In the order in which one would by hand; what was undone already is not undone again."""
    leave(writing(here / "did", ("crash", "a"), ("hold", "a->b"), ("freeze", "b")))
    (here / "did").unlink()
    healed = wavetank("heal", cwd=here)
    assert healed.stdout.splitlines() == ["undone: thaw b", "undone: restart a", "1 killed replays undone"]
    assert (here / "did").read_text().split() == ["undo-freeze-b", "undo-crash-a"]
    again = wavetank("heal", cwd=here)
    assert (again.returncode, again.stdout) == (0, f"nothing was left to undo in {JOURNALS}\n")


def test_what_cannot_be_undone_is_said_and_kept_for_the_next_time(here: Path) -> None:
    """And does not keep the rest from being undone."""
    target = writing(here / "did", ("crash", "a"), ("hold", "a->b"))
    failing = ByCommand("freeze", "b", ("true",), ("/bin/sh", "-c", "test -e repaired"))
    leave(Target({}, (*target.means, failing)))
    healed = wavetank("heal", cwd=here)
    assert healed.returncode == 2
    assert "the target's command '/bin/sh' ended with 1. If the target is gone for good" in healed.stderr
    assert (here / "did").read_text().split()[-1] == "undo-crash-a"
    (here / "repaired").touch()
    assert wavetank("heal", cwd=here).returncode == 0


def test_a_replay_that_still_goes_on_is_not_healed_under_its_feet(here: Path) -> None:
    """It would go on without its faults, and tell that nothing is reproduced."""
    target = writing(here / "did", ("crash", "a"))
    deployment = Deployment(target, UndoJournal(described(target)))
    deployment.do(CRASH)
    healed = wavetank("heal", cwd=here)
    assert healed.returncode == 2
    assert f"undo/{os.getpid()}-" in healed.stderr
    deployment.heal()
    deployment.close()


@pytest.mark.parametrize("content", [b"", b'{"target": "'])
def test_a_replay_killed_before_it_did_anything_has_left_nothing(here: Path, content: bytes) -> None:
    """What is not noted whole was not done."""
    JOURNALS.mkdir(parents=True)
    (JOURNALS / "1.jsonl").write_bytes(content)
    assert wavetank("heal", cwd=here).returncode == 0
    assert list(JOURNALS.iterdir()) == []


def test_a_damaged_journal_is_not_guessed_at(here: Path) -> None:
    """Somebody has to look; what is readable stays."""
    JOURNALS.mkdir(parents=True)
    (JOURNALS / "1.jsonl").write_bytes(b'{"target": ""}\n{"mea\n')
    with pytest.raises(InputError, match=r"1.jsonl is damaged: .* Undo by hand what its readable lines say"):
        with leftovers_of(JOURNALS / "1.jsonl"):
            pass


def test_nothing_is_done_that_cannot_be_noted(here: Path) -> None:
    """A full disk comes before the fault, not after it."""
    JOURNALS.parent.mkdir()
    JOURNALS.write_text("in the way")
    with pytest.raises(EnvironmentFailedError, match="what is done cannot be noted"):
        UndoJournal("")


def test_one_that_goes_on_does_not_keep_others_from_being_healed(here: Path) -> None:
    """Whoever comes first in the list of files is chance."""
    living = UndoJournal(described(writing(here / "did", ("crash", "a"))))
    leave(writing(here / "did", ("crash", "a"), ("hold", "a->b"), ("freeze", "b")))
    (here / "did").unlink()
    healed = wavetank("heal", cwd=here)
    assert healed.returncode == 2
    assert "still goes on. Interrupt it; it undoes what it did." in healed.stderr
    assert (here / "did").read_text().split() == ["undo-freeze-b", "undo-crash-a"]
    living.close(is_clean=True)
    assert list(JOURNALS.iterdir()) == []
