"""The reader's example: what the README shows is what is tested, and what it says happens does."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "my_system.py"
STEPS = """no-deposit-is-lost is violated: alice read 1 after 2 were confirmed
1.    0.001 s  alice deposit amount=1
2.    0.001 s  alice deposit amount=1
3.    0.051 s  alice read
"""


def test_the_readme_shows_the_tested_example() -> None:
    """Code in a README that nobody runs is wrong within a month."""
    example = EXAMPLE.read_text(encoding="utf-8")
    first_line = example.partition("\n")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [each for each in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if each.startswith(first_line)]
    assert blocks == [example]


def test_the_readme_shows_what_the_command_prints(tmp_path: Path) -> None:
    """Steps, evidence and hash, word for word; only real seconds differ."""
    (tmp_path / "my_system.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "wavetank", "check", "my_system:system", "--seed", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (each for each in re.findall(r"```text\n(.*?)```", readme, re.DOTALL) if each.startswith("no-deposit"))
    assert timeless(ran.stdout).endswith(timeless(block))


def timeless(printed: str) -> str:
    return re.sub(r"replays in [\d.]+ s", "replays in N s", printed)


def test_plain_pytest_fails_with_the_shrunk_steps(tmp_path: Path) -> None:
    """In a directory of its own, without this project's configuration: as a reader would try it."""
    (tmp_path / "my_system.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_system.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    said = "\n".join(line.removeprefix("E").strip() for line in ran.stdout.splitlines() if line.startswith("E"))
    assert all(line in said for line in STEPS.splitlines()), ran.stdout
    assert "1 failed" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["my_system.py"]
