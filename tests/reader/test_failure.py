"""The failure that the README shows in full is the one that its command finds, word for word."""

import re
from pathlib import Path

import pytest

from models.system import system
from simulator.campaign import Budget, Campaign
from wavetank import report
from wavetank.arguments import DEFAULT_SYSTEM
from wavetank.saving import Saved, trace_of

README = Path(__file__).parents[2] / "README.md"
SEED = 15
COMMAND = f"wavetank check --defect drain-read-then-delete --seed {SEED}"
DEFECTS = ("drain-read-then-delete",)
ELIDED = re.compile(r"\.\.\. (\d+) more states that must be reached \.\.\.")
PLENTY_S = 600.0
"""To shrink, on any machine: what is compared does not depend on its speed."""


def test_the_readme_shows_the_failure_that_its_command_finds(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures, evidence, steps and hash. Only real seconds differ, and most of the states are left out."""
    readme = README.read_text(encoding="utf-8")
    assert COMMAND in readme
    (block,) = (each for each in re.findall(r"```text\n(.*?)```", readme, re.DOTALL) if each.startswith("system"))
    budget = Budget()
    report.print_header(DEFAULT_SYSTEM, budget, SEED, DEFECTS)
    campaign = Campaign(system.with_defects(DEFECTS), budget=Budget(shrink_s=PLENTY_S), seed=SEED).run()
    assert campaign.failure is not None
    trace = trace_of(DEFAULT_SYSTEM, SEED, campaign.system, campaign.failure)
    print("\n".join(report.result_lines(campaign, trace, Saved(trace.id))))
    printed, shown = timeless(capsys.readouterr().out), timeless(block)
    before, elided, after = ELIDED.split(shown)
    assert printed.startswith(before)
    assert printed.endswith(after)
    assert printed[len(before) : -len(after)].count("\n") == int(elided) - 1


def timeless(text: str) -> str:
    """Mask what a faster machine prints otherwise."""
    text = re.sub(r"in [\d.]+ real s \(\d+ to 1\)", "in N real s", text)
    return re.sub(r"replays in [\d.]+ s", "replays in N s", text)
