"""The table of faults: each kind can begin and end on a world, leaves nothing behind, and reads as a sentence."""

from functools import partial

import pytest
import trio

from simulator import InputError, World
from simulator.fault import FAULT_KINDS, Fault, check_fault
from simulator.world import Call


def fault(kind: str) -> Fault:
    return Fault(kind, ("a", "b")[: FAULT_KINDS[kind].strikes], 2.0)


def world() -> World:
    made = World()
    made.add_host("a", trio.sleep_forever)
    made.add_host("b", partial(trio.serve_tcp, _echo, 7))
    made.advance(0.1)
    return made


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def _ask() -> bytes:
    async with await trio.open_tcp_stream("b", 7) as stream:
        return await _ask_on(stream)


async def _ask_on(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(30):
        await stream.send_all(b"x")
        return bytes(await stream.receive_some())


def links(of: World) -> list[tuple[object, ...]]:
    """What can be seen of every link, without its open connections."""
    pairs = [("a", "b"), ("b", "a")]
    found = [of.network.link(*pair) for pair in pairs]
    return [(each.blocked, each.refusing, each.extra_latency_s, each.silenced) for each in found]


@pytest.mark.parametrize("kind", FAULT_KINDS)
@pytest.mark.parametrize("times", [1, 2])
def test_every_kind_begins_and_ends_and_leaves_the_world_clean(kind: str, times: int) -> None:
    """What a fault leaves behind would break the liveness phase of every run that had it."""
    with world() as made:
        clean = links(made)
        for _ in range(times):
            FAULT_KINDS[kind].begin(made, fault(kind))
        made.advance(1.0)
        for _ in range(times):
            end = FAULT_KINDS[kind].end
            if end is not None:
                end(made, fault(kind))
        made.advance(1.0)
        assert links(made) == clean
        assert all(host.up for host in made.hosts.values())
        assert not made.failures
        assert made.run(_ask, host="a") == b"x"


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_kind_is_felt_while_it_lasts(kind: str) -> None:
    """A fault that does nothing would make every promise look strong. Some strike what is open, some what is new."""
    with world() as made:
        begun_s = made.now_s
        stream = made.run(partial(trio.open_tcp_stream, "b", 7), host="a")
        assert made.run(lambda: _ask_on(stream), host="a") == b"x"
        usual_s = made.now_s - begun_s
        FAULT_KINDS[kind].begin(made, fault(kind))
        calls = [made.start(lambda: _ask_on(stream), host="a"), made.start(_ask, host="a")]
        made.advance(2 * usual_s)
        assert not all(call.done and _succeeded(call) for call in calls)


def _succeeded(call: Call[bytes]) -> bool:
    try:
        return call.result() == b"x"
    except (OSError, trio.BrokenResourceError):
        return False


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_kind_reads_as_a_sentence(kind: str) -> None:
    """The story of a failure is made of them."""
    sentence = str(fault(kind))
    assert all(place in sentence.replace("'", " ").split() for place in fault(kind).at)
    assert ("2 s" in sentence) == (FAULT_KINDS[kind].end is not None)
    assert "{" not in sentence


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Fault("crahs", ("a",)), "no fault kind='crahs'. Known kinds: crash"),
        (Fault("crash", ("a", "b")), "strikes 1 place"),
        (Fault("partition", ("a",)), "strikes 2 place"),
        (Fault("crash", ()), "strikes 1 place"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(wrong: Fault, says: str) -> None:
    """A trace may come from another version, or from somebody's editor."""
    with pytest.raises(InputError, match=says):
        check_fault(wrong)
    assert check_fault(fault("slow")) == fault("slow")
