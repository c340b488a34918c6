"""Commands that one of them runs: told to end, they end; told twice, at once."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.stage import wait_until
from wavetank.children import INTERRUPTED, Children, Ended

STUBBORN = """#!/bin/sh
trap '' INT
touch begun
exec 1>&- 2>&-
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_once_they_are_told_nothing_is_begun_but_what_is_the_last(tmp_path: Path, number: int) -> None:
    """Whatever tells it; and whoever handled that before, does so after."""
    before = signal.getsignal(number)
    with Children() as children:
        os.kill(os.getpid(), number)
        assert children.are_told_to_end
        assert children.run(("--version",), tmp_path) == Ended(INTERRUPTED, "", "")
        assert "version" in children.run(("--version",), tmp_path, is_last=True).out
    assert signal.getsignal(number) is before


def test_one_that_does_not_end_is_ended_by_being_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who presses Ctrl-C again means it."""
    program = tmp_path / "stubborn"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    children = Children()
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(children.run, (), tmp_path)
        wait_until((tmp_path / "begun").exists)
        children.end(signal.SIGINT, None)
        with pytest.raises(TimeoutError):
            ran.result(timeout=0.3)
        children.end(signal.SIGINT, None)
        assert ran.result(timeout=10).code == -signal.SIGKILL
