"""What the world relies on in Trio's inside, each by name, and that a closed world leaves nothing behind."""

import os
import random
import signal
import socket
import time
from collections import deque
from typing import Any

import anyio.to_thread
import pytest
import structlog
import trio
import trio.testing
from trio import _threads
from trio._core import _run

from simulator.errors import SystemFailedError
from simulator.world import World
from tests.world.stage import world_with


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (_run, "_r"),
        (_run, "_ALLOW_DETERMINISTIC_SCHEDULING"),
        (_run, "GLOBAL_RUN_CONTEXT"),
        (_run._r, "random"),
        (_run._r, "shuffle"),
        (_threads, "start_thread_soon"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trio_still_has_the_module_level_name(holder, name):
    """A Trio that renamed it would leave the world's order to chance, without an error."""
    assert hasattr(holder, name)


@pytest.mark.parametrize("name", ["runq", "io_manager", "entry_queue", "waiting_for_idle"])
def test_trios_runner_still_has_the_attribute(name):
    """These are replaced or read on the runner of every world."""

    async def main():
        assert hasattr(_run.GLOBAL_RUN_CONTEXT.runner, name)

    trio.run(main)


def test_trios_runner_keeps_runnable_tasks_in_a_deque_and_pending_callbacks_in_a_queue():
    """Our queue stands in for the first; the second decides whether time may jump."""

    async def main():
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        assert type(runner.runq) is deque
        assert runner.entry_queue.size() == 0
        assert not runner.entry_queue.queue
        assert callable(runner.io_manager.get_events)
        assert callable(runner.io_manager.process_events)

    trio.run(main)


def test_trios_cancellation_can_still_be_unshielded_from_outside():
    """A closed world overrules tasks that shield themselves for ever."""

    async def main():
        with trio.CancelScope(shield=True) as scope:
            await trio.lowlevel.checkpoint()
            status = trio.lowlevel.current_task()._cancel_status
            assert status._scope is scope
            assert status._parent is not None

    trio.run(main)


def test_trios_guest_run_still_holds_its_loop():
    """A run that will not end is abandoned by closing that generator."""
    ticks: list[Any] = []
    done: list[object] = []
    trio.lowlevel.start_guest_run(
        trio.lowlevel.checkpoint,
        run_sync_soon_threadsafe=ticks.append,
        done_callback=done.append,
        host_uses_signal_set_wakeup_fd=True,
    )
    assert callable(ticks[0].__self__.unrolled_run_gen.close)
    while not done:
        ticks.pop(0)()


def test_trio_runs_a_batch_from_its_end_and_shuffles_the_very_list_that_it_runs(monkeypatch):
    """Calm weather relies on the first, stormy weather on the second: it adds picked tasks to that list."""
    ran: list[str] = []
    wanted: list[str] = []

    class Sorting(random.Random):
        def shuffle(self, batch):
            if len(batch) == 3:  # the three tasks that note their names
                batch.sort(key=lambda task: task.name == "b")
                wanted.extend(task.name for task in reversed(batch))

    async def note(name):
        ran.append(name)

    async def main():
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(note, name, name=name)

    monkeypatch.setattr(_run, "_r", Sorting(0))
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio.run(main)
    assert ran == wanted
    assert ran[0] == "b"


def outside() -> tuple[object, ...]:
    return (
        _run._r,
        _run._ALLOW_DETERMINISTIC_SCHEDULING,
        vars(_threads)["start_thread_soon"],
        trio.to_thread.run_sync,
        anyio.to_thread.run_sync,
        os.urandom,
        vars(random)["_urandom"],
        random.getstate(),
        signal.getsignal(signal.SIGINT),
        structlog.get_config(),
        socket.socket,
    )


def test_a_closed_world_gives_everything_back():
    """A live run may follow a simulated one in the same process."""
    before, real_s = outside(), time.time()
    with world_with(clients=3) as world:
        world.advance(5)
        assert os.urandom is not before[5]
        assert time.time() < real_s - 1e6
    assert outside() == before
    assert abs(time.time() - real_s) < 60
    assert trio.run(trio.to_thread.run_sync, lambda: 7) == 7


def test_a_world_left_by_an_exception_gives_everything_back():
    """A failing test must not freeze the wall clock for those after it."""
    before = outside()
    with pytest.raises(ZeroDivisionError), world_with() as world:
        world.run(failing, host="c0")
    assert outside() == before


async def failing():
    await trio.sleep(1)
    raise ZeroDivisionError


def test_a_world_that_cannot_be_opened_gives_everything_back():
    """Inside a running Trio there can be no world; the attempt must not poison the process."""
    before = outside()

    async def main():
        with pytest.raises(RuntimeError):
            World()

    trio.run(main)
    assert outside() == before
    with world_with() as world:
        world.advance(1)


def test_a_second_world_is_refused_while_one_is_open():
    """Wall clock and randomness are the process's own."""
    with world_with() as world:
        with pytest.raises(SystemFailedError, match="still open"):
            World()
        world.advance(1)
    World().close()


def test_threads_run_inline_however_the_function_was_imported():
    """AnyIO holds its own reference to Trio's function: a thread of its would run in real time."""

    async def main():
        ours = await trio.to_thread.run_sync(lambda: "trio")
        theirs = await anyio.to_thread.run_sync(lambda: "anyio")
        return ours, theirs, trio.current_time()

    with world_with() as world:
        assert world.run(main, host="c0", timeout_s=1) == ("trio", "anyio", 0.0)


def test_a_thread_that_raises_raises_in_its_task():
    """Inline or not, an error belongs to the caller."""

    async def main():
        with pytest.raises(ZeroDivisionError):
            await trio.to_thread.run_sync(lambda: 1 / 0)
        return "went on"

    with world_with() as world:
        assert world.run(main, host="c0", timeout_s=1) == "went on"


def test_callbacks_from_outside_of_tasks_run_before_time_moves():
    """`run_sync_soon` wakes Trio through a real socket; a deadline must not overtake it."""

    async def main():
        event = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(event.set)
        with trio.fail_after(1):
            await event.wait()
        return trio.current_time()

    with world_with() as world:
        assert world.run(main, host="c0") == 0.0


def test_waiting_until_all_tasks_are_blocked_works():
    """Trio's own testing tools are used by programs under test too."""
    order = []

    async def work():
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        order.append("worked")
        await trio.sleep(1)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            order.append("all blocked")
            return trio.current_time()

    with world_with() as world:
        assert world.run(main, host="c0") == 0.0
    assert order == ["worked", "all blocked"]
