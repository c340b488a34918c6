"""Thousands of worlds, Ctrl-C at bad moments, tasks that refuse to end: the process must stay as it was."""

import gc
import os
import random
import signal
import tracemalloc
from contextlib import suppress

import pytest
import trio
from trio._core import _run

from simulator.errors import SystemFailedError
from simulator.world import World
from tests.world.stage import PORT, receive_exactly, world_with


async def ask() -> bytes:
    async with await trio.open_tcp_stream("server", PORT) as stream:
        await stream.send_all(b"x")
        return await receive_exactly(stream, 1)


def one_world(number: int) -> None:
    with world_with() as world:
        world.weather.change(number)
        world.run(ask, host="c0")
        world.crash("server")


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_worlds_leave_no_descriptor_and_no_memory_behind():
    """A campaign opens hundreds of thousands in one process."""
    for number in range(50):
        one_world(number)
    gc.collect()
    descriptors = count_descriptors()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(300):
            one_world(number)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count_descriptors() == descriptors
    assert after - before < 100_000


def test_a_long_world_does_not_grow():
    """An exploration session lasts; connections, timers and task names must be forgotten."""

    async def many():
        for _ in range(300):
            await ask()
            await trio.sleep(1)

    with world_with() as world:
        world.run(many, host="c0")
        world.advance(200)
        assert world.network.count_connections() == 0
        assert world.network._delayed_connects == {}
        assert len(world.clock._timers) < 10
        assert len(world._names.paths) < 15
        assert len(world._names._children) < 15


async def shield_for_ever():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def shield_and_poll():
    with trio.CancelScope(shield=True):
        while True:
            await trio.sleep(1)


async def shield_and_spin():
    with trio.CancelScope(shield=True):
        while True:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("stubborn", [shield_for_ever, shield_and_poll, shield_and_spin])
def test_a_task_that_refuses_to_end_is_named_and_does_not_poison_the_process(stubborn, monkeypatch):
    """Its world is lost; the next one, and plain Trio, must work."""
    monkeypatch.setattr("simulator.world.world.STEPS_WITHOUT_TIME_MAX", 5_000)
    before = (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING, random.getstate(), signal.getsignal(signal.SIGINT))
    world = world_with()
    world.start(stubborn, host="c0")
    with suppress(SystemFailedError):  # of one that spins already while time passes
        world.advance(1)
    with pytest.raises(SystemFailedError, match=f"never ended.*{stubborn.__name__}"):
        world.close()
    gc.collect()
    assert before == (
        _run._r,
        _run._ALLOW_DETERMINISTIC_SCHEDULING,
        random.getstate(),
        signal.getsignal(signal.SIGINT),
    )
    one_world(0)
    trio.run(trio.lowlevel.checkpoint)


async def swallow_cancellation():
    while True:
        with suppress(trio.Cancelled):
            await trio.sleep_forever()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_swallows_its_cancellation_for_ever_is_abandoned(monkeypatch):
    """Python complains about what is left of it; the next world works all the same."""
    monkeypatch.setattr("simulator.world.world.STEPS_WITHOUT_TIME_MAX", 5_000)
    descriptors = count_descriptors()
    world = world_with()
    world.start(swallow_cancellation, host="c0")
    world.advance(1)
    with pytest.raises(SystemFailedError, match=r"never ended.*swallow_cancellation"):
        world.close()
    del world
    gc.collect()
    assert count_descriptors() == descriptors
    one_world(0)


def test_shielded_clean_up_may_take_its_time():
    """An hour of simulated time is enough for anybody."""
    done = []

    async def tidy():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(600)
                done.append("tidy")

    with world_with() as world:
        world.start(tidy, host="c0")
        world.advance(1)
    assert done == ["tidy"]


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_time_passes_is_raised_where_the_world_is_driven():
    """Not inside whichever task happened to run, whose clean-up it would cut short."""
    ran = []

    async def main():
        interrupt()
        await trio.lowlevel.checkpoint()
        ran.append("the task went on")
        await trio.sleep(1)

    with world_with() as world:
        call = world.start(main, host="c0")
        with pytest.raises(KeyboardInterrupt):
            world.advance(5)
        world.advance(5)
        assert call.done
        with pytest.raises(KeyboardInterrupt):
            interrupt()  # the world stands still: an ordinary Ctrl-C
    assert ran == ["the task went on"]
    one_world(0)


def test_ctrl_c_while_a_world_is_closed_waits_until_it_is_closed():
    """Half a shutdown would leave Trio believing that it still runs."""

    async def main():
        try:
            await trio.sleep_forever()
        finally:
            interrupt()

    world = world_with()
    world.start(main, host="c0")
    world.advance(1)
    with pytest.raises(KeyboardInterrupt):
        world.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    one_world(0)


def test_a_second_ctrl_c_interrupts_a_task_that_never_gives_way():
    """Nothing else could end a loop without a checkpoint."""

    async def main():
        interrupt()
        while True:
            interrupt()

    world = world_with()
    world.start(main, host="c0")
    with pytest.raises(KeyboardInterrupt):
        world.advance(1)
    world.close()
    one_world(0)


def test_an_interrupt_in_the_middle_of_trios_beginning_leaves_no_trio_running(monkeypatch):
    """Else no world could be opened in this process any more, not even to run a found failure once more."""
    setup = _run.setup_runner

    def interrupted(*arguments):
        runner = setup(*arguments)  # from here on Trio takes itself to be running
        interrupt()
        return runner

    with monkeypatch.context() as patched:
        patched.setattr(_run, "setup_runner", interrupted)
        with pytest.raises(KeyboardInterrupt):
            World()
    one_world(0)


def test_an_interrupt_while_a_world_begins_to_close_leaves_no_trio_running(monkeypatch):
    """Before the first task sees its cancellation, too: Trio must be driven to its end."""
    world = world_with()
    change = world.weather.change
    with monkeypatch.context() as patched:
        patched.setattr(type(world.weather), "change", lambda _weather, seed: (interrupt(), change(seed)))
        with pytest.raises(KeyboardInterrupt):
            world.close()
    one_world(0)


def test_an_error_in_a_timers_action_is_raised_where_the_world_is_driven():
    """A fault's end may name a host that does not exist: that must not take Trio down with it."""

    def fail() -> None:
        raise ZeroDivisionError

    with world_with() as world:
        world.clock.call_after(1, fail)
        with pytest.raises(ZeroDivisionError):
            world.advance(5)
        assert world.now_s == 1.0
        world.advance(5)
        assert world.run(ask, host="c0") == b"x"


def test_closing_twice_is_harmless():
    """Context manager and explicit close may meet."""
    real = os.urandom
    world = World()
    assert os.urandom is not real
    world.close()
    world.close()
    assert os.urandom is real


def test_a_world_that_was_never_advanced_closes():
    """A failing `hosts()` leaves such a world."""
    real = os.urandom
    World().close()
    assert os.urandom is real
    one_world(0)
