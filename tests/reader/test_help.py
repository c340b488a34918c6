"""What `--help` shows as files of one's own can be used as it is shown."""

import json
import textwrap
from pathlib import Path

import pytest

from tests.command.stage import called
from wavetank.chaos import EPILOG as CHAOS
from wavetank.e2e import EPILOG as E2E
from wavetank.load import EPILOG as LOAD
from wavetank.pipeline import EPILOG as PIPELINE


def shown(epilog: str, title: str) -> str:
    """Return the file that follows a title in what a command says of itself."""
    return textwrap.dedent(epilog.split(title)[1].split("\n", 1)[1].split("\n\n")[0])


@pytest.mark.parametrize(
    ("name", "text", "words", "result"),
    [
        ("load.toml", shown(LOAD, "A profile of your own:"), ("load", "--profile", "--duration", "20s"), "begun"),
        ("chaos.toml", shown(CHAOS, "An experiment of your own"), ("chaos",), "journals"),
        ("e2e.toml", shown(E2E, "A journey of your own:"), ("e2e", "--users", "2", "--duration", "10s"), "journeys"),
    ],
)
def test_a_file_of_ones_own_is_as_it_is_shown(
    tmp_path: Path, name: str, text: str, words: tuple[str, ...], result: str
) -> None:
    """Who copies it has something that holds, to change from there."""
    (tmp_path / name).write_text(text)
    first, *options = words
    at = [] if first != "load" else [options.pop(0)]
    code, out, error = called(tmp_path, first, *at, name, *options, "--seed", "1", "--json", "out.json")
    assert code == 0, out + error
    assert json.loads((tmp_path / "out.json").read_bytes())[result]


def test_a_pipeline_is_as_it_is_shown(tmp_path: Path) -> None:
    """Read, and made a workflow of: to run it takes hours."""
    (tmp_path / "pipeline.yaml").write_text(shown(PIPELINE, "Such a file:"))
    code, out, error = called(tmp_path, "pipeline", "export")
    assert code == 0, error
    assert "wavetank chaos" in out or "chaos" in out
