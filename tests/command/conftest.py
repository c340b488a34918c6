"""What the tests of commands share."""

from pathlib import Path

import pytest

from wavetank import saving


@pytest.fixture
def unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save failures without having a fresh process repeat them, which takes as long as to find them."""

    def confirm(_path: Path) -> None:
        pass

    monkeypatch.setattr(saving, "_confirm", confirm)
