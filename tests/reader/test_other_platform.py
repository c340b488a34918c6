"""The example of docs/other-platforms.md: what the page shows is what tests/live/test_adapter.py runs."""

import re
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "other_platform"
PAGE = Path(__file__).parents[2] / "docs" / "other-platforms.md"


@pytest.mark.parametrize(("language", "file"), [("python", "hall_adapter.py"), ("toml", "target.toml")])
def test_the_page_shows_the_tested_files(language: str, file: str) -> None:
    """Whoever copies them has what works."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block == (EXAMPLE / file).read_text(encoding="utf-8")
