"""docs/targets.md: what it shows is a good target, and what it lists is all there is."""

import re
import typing
from pathlib import Path

from models.system import system as chat
from simulator.live.target import AnyMeans, target_of
from simulator.live.validation import problems_of
from tests.command.stage import ROOT
from wavetank.live import EXIT_CODES

PAGE = ROOT / "docs" / "targets.md"


def test_what_is_shown_is_a_good_target() -> None:
    """Whoever copies it and puts in their own addresses is served."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    target = target_of("\n".join(blocks), Path("target.toml"))
    assert list(problems_of(target, chat)) == []
    target.check_allowed(confirmed=True)
    assert target.scale_of(chat.patience) > 1.0


def test_every_means_and_every_verdict_is_listed() -> None:
    """What is not on the page is not found."""
    page = PAGE.read_text(encoding="utf-8")
    for means in typing.get_args(AnyMeans):
        assert f"| `{means.__struct_config__.tag}` |" in page
    for code in EXIT_CODES.values():
        assert f"| {code} |" in page
