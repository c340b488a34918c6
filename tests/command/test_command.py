"""What all commands share: help with examples, exit codes, and no traceback for what is not our fault."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from models.defects import DEFECTS
from tests.command.stage import ROOT, SMALL, called, environment, listing, refused, wavetank
from wavetank.sub_commands import command

COMMANDS = [
    (),
    ("check",),
    ("campaigns",),
    ("replay",),
    ("shrink",),
    ("explain",),
    ("regress",),
    ("profiles",),
    ("defects",),
    ("serve",),
    ("serve-llm",),
    ("staging",),
    ("proxy",),
    ("target",),
    ("heal",),
    ("fidelity",),
    ("observe",),
    ("import",),
    ("load",),
    ("calibrate",),
    ("chaos",),
    ("contract",),
    ("matrix",),
    ("coverage",),
    ("e2e",),
    ("gate",),
    ("pipeline",),
    ("report",),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: " ".join(each) or "wavetank")
def test_help_says_what_how_and_by_example(arguments: tuple[str, ...]) -> None:
    """Exit code 0, a sentence, the options, and lines to copy; nothing wider than a terminal."""
    ran = CliRunner().invoke(command, [*arguments, "--help"], prog_name="wavetank")
    assert ran.exit_code == 0
    assert "Examples:" in ran.output
    assert " ".join(("  wavetank", *arguments)) in ran.output
    assert all(len(line) <= 100 for line in ran.output.splitlines())
    for name, option in _options(arguments):
        assert name in ran.output
        assert option.help, name


def _options(arguments: tuple[str, ...]) -> list[tuple[str, click.Option]]:
    found: click.Command | None = command
    for name in arguments:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None
    return [(each.opts[0], each) for each in found.params if isinstance(each, click.Option) and each.name != "version"]


def test_every_command_is_tested_here() -> None:
    """A new one needs examples too."""
    assert {each[0] for each in COMMANDS if each} == set(command.list_commands(click.Context(command)))


def test_the_exit_codes_are_in_the_help() -> None:
    """Where a script's author looks."""
    ran = CliRunner().invoke(command, ["--help"], prog_name="wavetank")
    lines = ran.output.partition("Exit codes")[2].splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["0", "1", "2", "3", "4", "130"]


def test_defects_lists_each_with_what_it_breaks() -> None:
    """One line each, first the name to give to --defect."""
    ran = CliRunner().invoke(command, ["defects"])
    lines = ran.output.splitlines()
    assert [line.split()[:2] for line in lines] == [[each.name, f"{each.breaks}:"] for each in DEFECTS]


def test_a_system_without_defects_says_so(tmp_path: Path) -> None:
    """An empty list on standard output, a sentence beside it."""
    code, out, err = called(tmp_path, "defects", f"{SMALL}:quiet")
    assert (code, out) == (0, "")
    assert "declares no defects" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chekc",), "No such command 'chekc'"),
        (("--nonsense",), "No such option"),
        (("replay",), "Missing argument"),
        (("defects", "nowhere:system"), "no module named 'nowhere'"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, and nothing is written."""
    assert says in refused(tmp_path, *arguments)
    assert listing(tmp_path) == []


def test_a_bug_of_ours_is_no_violation(tmp_path: Path) -> None:
    """Python's own exit code for a traceback is 1, which means something else here. Base exceptions and groups too."""
    (tmp_path / "odd.py").write_text(
        "from simulator import System\n"
        "class Odd(System):\n"
        "    def hosts(self): raise BaseExceptionGroup('several', [SystemExit(0)])\n"
        "system = Odd()\n"
    )
    code, _, err = called(tmp_path, "check", "odd:system", "--runs", "1")
    assert code == 2
    assert "this should not have happened" in err


def test_an_interrupt_while_everything_is_imported_is_one(tmp_path: Path) -> None:
    """The first second belongs to the command too. Python makes what is raised in `__set_name__` a RuntimeError."""
    (tmp_path / "trio.py").write_text(
        "import os, signal\n"
        "class Interrupts:\n"
        "    def __set_name__(self, owner, name): os.kill(os.getpid(), signal.SIGINT)\n"
        "class Owner:\n"
        "    interrupts = Interrupts()\n"
    )
    ran = wavetank(tmp_path, "check", PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "wavetank: interrupted.\n")


def test_a_broken_installation_is_no_violation(tmp_path: Path) -> None:
    """Exit code 1 would say that a promise is broken."""
    (tmp_path / "trio.py").write_text("raise ImportError('half of it is missing')\n")
    ran = wavetank(tmp_path, "check", PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    assert ran.returncode == 2
    assert "half of it is missing" in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("wavetank: wavetank is not installed as it should be")


def test_a_working_directory_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    """Somebody has removed it meanwhile; a violation it is not."""
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$0" -m wavetank check', sys.executable],
        cwd=gone,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "wavetank: there is no working directory any more: [Errno 2] No such file or directory. "
        "Change to one that exists.\n"
    )
