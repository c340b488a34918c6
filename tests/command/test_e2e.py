"""`wavetank e2e`: journeys come to their ends on the healthy platform, and each fails when its subject is broken."""

import json
from pathlib import Path

import pytest

from models.system import deployed
from simulator.journeys.journey import journeys_in
from tests.command.stage import BANK, called, refused

BREAKERS = {
    "first-chat": "work-not-announced",
    "long-conversation": "cache-without-user",
    "workflow-with-tools": "dependents-start-early",
    "reconnect": "resume-skips-missed",
    "two-devices": "sessions-never-pruned",
    "change-of-mind": "place-not-given-back",
    "logout-everywhere": "revocation-not-pushed",
    "intruder": "signature-not-checked",
}
BRIEF = ("--users", "3", "--duration", "12s", "--seed", "1")
OWN = """
title = "Saving"
[[legs]]
operation = "deposit"
arguments = {amount = 3}
[[legs]]
operation = "read"
result = "3"
"""


def test_every_journey_has_a_defect_that_it_finds() -> None:
    assert deployed.journeys is not None
    assert BREAKERS.keys() == journeys_in(deployed.journeys).keys()


def test_every_journey_comes_to_its_end_on_the_healthy_platform(tmp_path: Path) -> None:
    code, out, _ = called(tmp_path, "e2e", "--users", "8", "--duration", "20s", "--seed", "1", "--json", "out.json")
    assert code == 0, out
    told = json.loads((tmp_path / "out.json").read_bytes())
    assert told["journeys"].keys() == BREAKERS.keys()
    for each in told["journeys"].values():
        assert each["walked"] == each["done"] > 0
    assert "no promise is broken" in out


@pytest.mark.usefixtures("unconfirmed")
@pytest.mark.parametrize(("name", "defect"), BREAKERS.items())
def test_each_fails_when_its_subject_is_broken(tmp_path: Path, name: str, defect: str) -> None:
    code, out, _ = called(tmp_path, "e2e", name, *BRIEF, "--defect", defect)
    assert code == 1, out
    assert "VIOLATED" in out
    assert "is saved as" in out


@pytest.mark.usefixtures("unconfirmed")
def test_legs_that_go_wrong_are_named(tmp_path: Path) -> None:
    _, out, _ = called(tmp_path, "e2e", "intruder", *BRIEF, "--defect", "signature-not-checked")
    assert "leg 3, trespass: returned 'welcome', not 'unauthorised'" in out
    assert "and 6 more" in out or "more" in out


def test_a_journey_that_nobody_walked_fails(tmp_path: Path) -> None:
    """One user has no time for all of them."""
    code, out, _ = called(tmp_path, "e2e", "--users", "1", "--duration", "1s", "--seed", "1")
    assert code == 1
    assert "NOT WALKED" in out


def test_ones_own_journey_on_ones_own_system(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    code, out, _ = called(tmp_path, "e2e", "own.toml", "--system", BANK, "--users", "1", "--duration", "1s")
    assert code == 1
    assert "leg 2, read: returned 3, not '3'" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("first-chats",), "no journey named 'first-chats'"),
        (("none.toml",), "the journey cannot be read"),
        (("--system", BANK), "the system comes with no journeys"),
        (("--users", "0"), "0 is not in the range"),
        (("--target", "none.toml"), "the target cannot be read"),
        (("--target", "none.toml", "--defect", "answered-twice"), "--defect plants bugs in simulation"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    code, _, error = called(tmp_path, "e2e", *words)
    assert code == 2
    assert told in error


def test_a_journey_of_another_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    assert "no operation 'deposit'" in refused(tmp_path, "e2e", "own.toml")
