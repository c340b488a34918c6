"""A load that is spread over processes: what goes wrong in one of them is told as it would be in this one."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import trio

from simulator import Host, System, User, operation
from simulator.errors import AdapterFailedError, EnvironmentFailedError
from simulator.live.target import Target
from simulator.load import spread
from simulator.load.live import run_load_live
from simulator.load.measured import LoadResult
from simulator.plan import Do, Plan, Setting, Step
from simulator.redaction import conceal, redacted
from wavetank.ungrouped import leaves, ungrouped

SECRET = "hush-hush-1"


class Worried(System):
    """Users on whom something may be wrong."""

    directory = Path()

    def hosts(self) -> Iterator[Host]:
        yield from ()

    @operation()
    async def stay(self, user: User) -> str:
        (self.directory / f"{user.name} came").touch()
        user.start_soon(self._leave_in_order(user))
        await trio.sleep(0.2)
        user.observe("seen", by=user.name)
        return user.name

    @operation()
    async def tell_a_secret(self, user: User) -> None:
        conceal(SECRET)
        raise AdapterFailedError(f"it fails with {SECRET}")

    @operation()
    async def fail_oddly(self, user: User) -> None:
        raise OddFailedError("odd")

    @operation()
    async def hang(self, user: User) -> None:
        time.sleep(600)  # noqa: ASYNC251

    @operation()
    async def observe_an_object(self, user: User) -> None:
        user.observe("object", data=self)  # type: ignore[arg-type]

    def _leave_in_order(self, user: User) -> Callable[[], Awaitable[None]]:
        async def task() -> None:
            try:
                await trio.sleep_forever()
            finally:
                (self.directory / f"{user.name} left").touch()

        return task


class OddFailedError(AdapterFailedError):
    """One that pickle does not take."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.explain = lambda: reason


def loaded(system: System, *operations: str, workers: int = 2) -> LoadResult:
    """Let each of two users do one of these, and return what that came to."""
    plan = Plan(Setting(users=2, latency_s=0.0), tuple(Step(Do(each, n), 0.1) for n, each in enumerate(operations)))
    with ungrouped():
        return run_load_live(
            system, plan, 0.5, Target({}), system.all_properties(), lambda _number, _at_s: None, workers=workers
        )


@pytest.fixture
def worried(tmp_path: Path) -> Worried:
    system = Worried()
    system.directory = tmp_path
    return system


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_users_are_let_go_of_when_all_is_done(worried: Worried, tmp_path: Path, workers: int) -> None:
    """What they hold elsewhere would be left behind."""
    result = loaded(worried, "stay", "stay", workers=workers)
    assert [each.result for each in result.result.history.operations()] == ["alice", "bob"]
    assert [event.data["by"] for event in result.result.history.observed("seen")] == ["alice", "bob"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name} {what}" for name in ("alice", "bob") for what in ("came", "left")
    }
    assert psutil.Process().children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_secret_that_was_learned_a_moment_before_it_failed_is_not_told(worried: Worried, workers: int) -> None:
    with pytest.raises(AdapterFailedError) as raised:
        loaded(worried, "stay", "tell_a_secret", workers=workers)
    assert redacted(str(raised.value)) == "it fails with <secret>"


def test_what_cannot_travel_is_told_all_the_same(worried: Worried) -> None:
    """With where it was raised: nobody else can find that out."""
    with pytest.raises(ExceptionGroup) as raised:
        loaded(worried, "stay", "fail_oddly")
    (told,) = leaves(raised.value)
    assert re.search(r"(?s)in fail_oddly.*OddFailedError: odd", str(told))


def test_a_worker_that_hangs_ends_the_load(worried: Worried, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would have seen is missing, and that is no fault of the system's."""
    monkeypatch.setattr(spread, "SILENT_S_MAX", 1.0)
    monkeypatch.setattr(spread, "ENDS_WITHIN_S", 0.2)
    with pytest.raises(EnvironmentFailedError, match="worker 2 of 2 has told nothing for 1 s"):
        loaded(worried, "stay", "hang")
    assert psutil.Process().children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_no_data_is_the_fault_of_whoever_observes_it(worried: Worried, workers: int) -> None:
    result = loaded(worried, "stay", "observe_an_object", workers=workers)
    (event,) = result.result.history.observed("uncaught")
    assert event.host == "user:bob"
    assert "are not such as JSON can hold" in str(event.data["error"])


def test_a_process_that_cannot_be_begun_leaves_none(worried: Worried, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would wait for it for ever."""
    start = spread._Process.start

    def starting(process: spread._Process) -> None:
        if process.share.number == 1:
            raise BlockingIOError("no more processes")
        start(process)

    monkeypatch.setattr(spread._Process, "start", starting)
    with pytest.raises(BlockingIOError):
        loaded(worried, "stay", "stay")
    assert psutil.Process().children() == []
