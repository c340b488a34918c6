"""One staging of the platform as it should be, for all tests on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.stage import staged


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which the platform as it should be is staged."""
    yield from staged(tmp_path_factory.mktemp("healthy"))
