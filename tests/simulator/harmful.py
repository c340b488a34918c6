"""Systems that harm or hold up the process that runs them, for the tests of workers and journals."""

import os
import signal
import time
from pathlib import Path

import hypothesis.strategies as st

from simulator import Reading, User, always, operation, sometimes
from tests.simulator.small import Quiet


class Rare(Quiet):
    """Breaks its promise in one run of a hundred or so, and is seldom where it should be: runs go on from there."""

    @operation(code=st.integers(0, 999))
    async def act(self, user: User, code: int) -> int:  # type: ignore[override]
        return code

    @always
    def never_777(self, history: Reading) -> str | None:
        """The number 777 does not occur."""
        codes = [each.arguments["code"] for each in history.operations("act")]
        return f"777 after {codes.index(777)} others" if 777 in codes else None

    @sometimes
    def middle(self, history: Reading) -> bool:
        """A number in the middle, give or take two."""
        return any(abs(int(str(each.arguments["code"])) - 500) < 3 for each in history.operations("act"))


class KillsOnce(Rare):
    """Kills its process when it finds the file, which it takes away."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @operation(code=st.integers(0, 999))
    async def act(self, user: User, code: int) -> int:  # type: ignore[override]
        if self.file.exists():
            self.file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return code


class KillsWorkers(Quiet):
    """Kills every process but the one in which it was made."""

    def __init__(self) -> None:
        self.spared = os.getpid()

    @operation()
    async def act(self, user: User) -> None:
        if os.getpid() != self.spared:
            os.kill(os.getpid(), signal.SIGKILL)


class Slow(Quiet):
    """An operation takes two thousandths of a second of real time."""

    @operation()
    async def act(self, user: User) -> None:
        time.sleep(0.002)  # noqa: ASYNC251 - real time is what is meant


class Endless(Quiet):
    """An operation takes an hour of real time, once there is a file that tells it has begun."""

    @operation()
    async def act(self, user: User) -> None:
        Path(f"begun-{os.getpid()}").touch()  # noqa: ASYNC240
        time.sleep(3600)  # noqa: ASYNC251


rare = Rare()
kills_workers = KillsWorkers()
slow = Slow()
endless = Endless()
