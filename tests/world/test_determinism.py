"""The same seed and weather, the same run: in this process, in a fresh one, and whatever Python hashes strings to."""

import gc
import hashlib
import os
import random
import secrets
import subprocess
import sys
import uuid

import pytest
import trio

from simulator.world import World
from tests.world.stage import echo, receive_exactly, serve

__all__ = ["busy_hash"]


async def note_when_cancelled(notes: list[object], name: str) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        notes.append((name, trio.current_time()))
        raise


async def many_cancelled_at_once(notes):
    """Trio keeps children and cancel scopes in sets: their order is that of addresses in memory."""
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(note_when_cancelled, notes, f"together-{number}")
        await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def many_deadlines_at_once(notes):
    """Trio breaks ties of deadlines by `id`."""

    async def one(name):
        with trio.move_on_at(0.5):
            await note_when_cancelled(notes, name)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(one, f"deadline-{number}")


async def events_and_channels(notes):
    event = trio.Event()
    sender, receiver = trio.open_memory_channel(2)

    async def consume(name, own):
        await event.wait()
        async with own:
            async for item in own:
                notes.append((name, item))
                await trio.lowlevel.checkpoint()

    async def produce(name, own):
        await event.wait()
        async with own:
            for number in range(5):
                await own.send((name, number))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(consume, f"consumer-{number}", receiver.clone())
            nursery.start_soon(produce, f"producer-{number}", sender.clone())
        sender.close()
        receiver.close()
        event.set()


async def sockets(notes):
    async def ask(name: str) -> None:
        stream = await trio.open_tcp_stream("server", 7000)
        async with stream:
            for number in range(5):
                await stream.send_all(f"{name}{number}".encode())
                notes.append((await receive_exactly(stream, len(name) + 1), trio.current_time()))

    async def cancelled_in_the_middle(name):
        with trio.move_on_after(0.0015):
            await ask(name)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(ask, f"asker-{number}-")
            nursery.start_soon(cancelled_in_the_middle, f"quitter-{number}-")


def busy_hash(weather: int) -> str:
    """Run a busy program and fold what it did, in its order and at its times."""
    notes: list[object] = []

    async def main():
        async with trio.open_nursery() as nursery:
            for part in (many_cancelled_at_once, many_deadlines_at_once, events_and_channels, sockets):
                nursery.start_soon(part, notes)
        notes.extend([random.random(), os.urandom(4), uuid.uuid4(), secrets.token_hex(4)])

    with World() as world:
        world.add_host("server", serve(echo))
        world.add_host("busy")
        world.weather.change(weather)
        world.run(main, host="busy")
        notes.append((world.now_s, world.weather.digest, world.weather.choices))
    return hashlib.sha256(repr(notes).encode()).hexdigest()


@pytest.mark.parametrize("weather", [0, 1, 2**40 + 1])
def test_the_same_weather_gives_the_same_run(weather):
    """Nothing of one run may leak into the next: not an id, not a set's order, not a counter."""
    littered = [object() for _ in range(1_000)]
    first = busy_hash(weather)
    del littered[::2]
    keep = [bytearray(number) for number in range(500)]
    assert busy_hash(weather) == first
    assert len(keep) == 500


def test_other_weather_gives_another_run():
    """A seed that changes nothing would search nothing."""
    assert len({busy_hash(weather) for weather in range(6)}) == 6


def test_a_fresh_process_with_other_string_hashes_gives_the_same_run():
    """A saved trace is replayed in another process."""
    code = "from tests.world.test_determinism import busy_hash; print(busy_hash(0), busy_hash(3))"
    here = f"{busy_hash(0)} {busy_hash(3)}"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here


def test_importing_hypothesis_does_not_change_the_run():
    """It switches Trio to sorted batches through Trio's plugin entry point; the world must not care."""
    code = (
        "from tests.world.test_determinism import busy_hash; first = busy_hash(3);"
        "import hypothesis; hypothesis.given; print(first == busy_hash(3))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == "True"


async def draw():
    return random.random(), os.urandom(8), uuid.uuid4(), secrets.token_hex(8), random.SystemRandom().random()


def drawn(seed: int) -> tuple[object, ...]:
    with World(seed=seed) as world:
        world.add_host("host")
        return world.run(draw, host="host")


def test_randomness_repeats_per_seed():
    """Tokens, ids and back-off jitter are part of the run."""
    assert drawn(1) == drawn(1)
    assert not set(drawn(1)) & set(drawn(2))


def test_randomness_of_the_caller_is_not_shifted_by_a_world():
    """Hypothesis and pytest-randomly own that state."""
    random.seed(5)
    expected = [random.random() for _ in range(3)]
    random.seed(5)
    first = random.random()
    drawn(1)
    assert [first, random.random(), random.random()] == expected


@pytest.mark.parametrize("threshold", [10, 100_000])
def test_an_abandoned_generator_ends_with_the_run_whenever_the_collector_would_come(threshold):
    """Trio finishes a generator that is collected in a task of its own: that would be another schedule each time."""
    ended_at_s = []

    async def ticks():
        try:
            while True:
                yield
        finally:
            ended_at_s.append(trio.current_time())

    async def main():
        generator = ticks()
        await anext(generator)
        cycle = [generator]
        cycle.append(cycle)
        del generator, cycle
        for _ in range(200):
            await trio.sleep(0.01)
            assert [[] for _ in range(100)]

    before = gc.get_threshold()
    gc.set_threshold(threshold)
    try:
        with World() as world:
            world.add_host("busy")
            world.run(main, host="busy")
            assert not ended_at_s
        assert ended_at_s == [pytest.approx(2.0)]
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
