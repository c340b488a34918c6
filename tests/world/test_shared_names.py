"""One name for several hosts: whom it leads to, and what becomes of a connect when one of them does not answer."""

from functools import partial

import pytest
import trio

from simulator.world import World, current_host
from tests.world.stage import PORT, serve

RTT_S = 0.002
NEXT_AFTER_S = 0.25  # Trio's happy eyeballs: how long an attempt may be silent before the next one begins


async def tell_name(stream: trio.SocketStream) -> None:
    await stream.send_all(current_host().host.name.encode())


@pytest.fixture
def world():
    with World() as opened:
        for name in ("a", "b"):
            opened.add_host(name, serve(tell_name), behind="front")
        for number in range(2):
            opened.add_host(f"c{number}")
        yield opened


async def ask(name: str) -> str:
    async with await trio.open_tcp_stream(name, PORT) as stream:
        return (await stream.receive_some()).decode()


def asked(world: World, name: str = "front", host: str = "c0") -> str:
    return world.run(partial(ask, name), host=host)


def resolved(world: World, name: str = "front", host: str = "c0") -> list[str]:
    async def resolve() -> list[str]:
        return [str(each[4][0]) for each in await trio.socket.getaddrinfo(name, PORT)]

    addresses = world.run(resolve, host=host)
    names = {each.address: each.name for each in world.hosts.values()}
    return [names[address] for address in addresses]


def test_a_shared_name_leads_to_each_host_in_turn(world):
    """Whoever connects again lands on the other one; and every host keeps its own name."""
    assert [asked(world) for _ in range(4)] == ["a", "b", "a", "b"]
    assert [asked(world, name) for name in ("b", "a", "b", "b")] == ["b", "a", "b", "b"]
    assert resolved(world) == ["a", "b"]
    assert resolved(world) == ["b", "a"]


def test_each_asking_host_has_its_own_turn(world):
    """What others do must not change whom one is led to; and not all users begin with the same host."""
    assert [asked(world, host=host) for host in ("c0", "c1", "c1", "c0", "c1")] == ["a", "b", "a", "b", "b"]


def test_a_name_that_nobody_is_behind_does_not_exist(world):
    """A typing error is no lost connection."""
    with pytest.raises(OSError, match="Name or service not known: fron"):
        asked(world, "fron")


@pytest.mark.parametrize(
    ("strike", "after_s"),
    [
        (lambda world: world.crash("a"), RTT_S),
        (lambda world: world.refuse("c0", "a"), RTT_S),
        (lambda world: world.crash("a", silently=True), NEXT_AFTER_S),
        (lambda world: world.freeze("a"), NEXT_AFTER_S),
        (lambda world: world.block("c0", "a"), NEXT_AFTER_S),
        (lambda world: world.block("a", "c0"), NEXT_AFTER_S),
        (lambda world: world.silence("c0", "a"), NEXT_AFTER_S),
    ],
    ids=["crashed", "refusing", "vanished", "frozen", "cut off", "cut off from us", "silenced"],
)
def test_a_host_that_does_not_answer_is_passed_over(world, strike, after_s):
    """Refused: the next one at once, after a round trip. Silent: after Trio's quarter of a second."""
    strike(world)
    begun_s = world.now_s
    assert asked(world) == "b"
    assert world.now_s - begun_s == pytest.approx(after_s + 1.5 * RTT_S)


def test_an_attempt_that_was_passed_over_leaves_nothing_behind(world):
    """When packets pass again, the host must not be left with a connection that nobody uses."""
    for ends in (("c0", "a"), ("a", "c0")):
        world.block(*ends)
        assert asked(world) == "b"
        asked(world)  # the other turn
        world.unblock(*ends)
        world.advance(1)
        assert world.network.count_connections() == 0


@pytest.mark.parametrize(("silently", "after_s"), [(False, 2 * RTT_S), (True, 127 + NEXT_AFTER_S)])
def test_when_no_host_answers_the_connect_fails(world, silently, after_s):
    """As soon as the last one is known not to answer."""
    for name in ("a", "b"):
        world.crash(name, silently=silently)
    begun_s = world.now_s
    with pytest.raises(OSError, match="all attempts to connect to front:7000 failed"):
        asked(world)
    assert world.now_s - begun_s == pytest.approx(after_s)
