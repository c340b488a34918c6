"""The table of faults: each kind can begin and end on a world, leaves nothing behind, and reads as a sentence."""

from functools import partial

import pytest
import trio

from simulator import InputError, Trouble, World
from simulator.fault import FAULT_KINDS, Fault, kind_of, trouble_kind
from simulator.world import Call
from tests.world.stage import Ending


def fault(kind: str) -> Fault:
    return Fault(kind, ("a", "b")[: FAULT_KINDS[kind].strikes], 2.0)


def world() -> World:
    made = World()
    ending = Ending()
    made.add_host("a", ending.main, on_terminate=ending.end)
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


SICK = Trouble("sick", lambda: None, lambda: None, "{0} answers nonsense for {for_s} s")
SHOCK = Trouble("shocked", lambda: None, None)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (SICK, "a answers nonsense for 2 s"),
        (Trouble("sick", SICK.begin, SICK.end), "a is sick for 2 s"),
        (SHOCK, "a is shocked"),
    ],
)
def test_a_trouble_is_a_kind_of_fault_of_the_host_that_declares_it(trouble: Trouble, sentence: str) -> None:
    """With words of its own, or plain ones."""
    struck = Fault(trouble.name, ("a",), 2.0)
    kind = kind_of(struck, {"a": (trouble,)})
    assert (kind.name, kind.strikes, kind.worded(struck)) == (trouble.name, 1, sentence)
    assert (kind.end is None) == (trouble.end is None)
    assert "a" in str(struck)


@pytest.mark.parametrize("down", [False, True])
def test_overlapping_troubles_begin_with_the_first_and_end_with_the_last(down: bool) -> None:
    """A switch is turned on once and off once, whether its host is up or not."""
    done: list[str] = []
    sick = Trouble("sick", lambda: done.append("begin"), lambda: done.append("end"))
    shock = Trouble("shocked", lambda: done.append("shock"), None)
    with World() as made:
        made.add_host("a", trio.sleep_forever, troubles=(sick, shock))
        if down:
            made.crash("a")
        kind, struck = trouble_kind(sick), Fault("sick", ("a",), 1.0)
        assert kind.end is not None
        for strike in (kind.begin, kind.begin, kind.end):
            strike(made, struck)
        assert done == ["begin"]
        kind.end(made, struck)
        kind.begin(made, struck)
        assert done == ["begin", "end", "begin"]
        for _ in range(2):
            trouble_kind(shock).begin(made, Fault("shocked", ("a",)))
        assert done[3:] == ["shock", "shock"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Fault("crahs", ("a",)), r"no fault kind='crahs' for at=\['a'\]. Known kinds: crash"),
        (Fault("crash", ("a", "b")), "strikes 1 place"),
        (Fault("partition", ("a",)), "strikes 2 place"),
        (Fault("crash", ()), "strikes 1 place"),
        (Fault("sick", ("a", "b")), "strikes 1 place"),
        (Fault("sick", ("b",)), r"no fault kind='sick' for at=\['b'\]. Known kinds: crash.*, sick \(of a\)"),
        (Fault("sick", ()), "no fault kind='sick'"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(wrong: Fault, says: str) -> None:
    """A trace may come from another version, or from somebody's editor."""
    with pytest.raises(InputError, match=says):
        kind_of(wrong, {"a": (SICK,)})
    assert kind_of(fault("slow"), {}) is FAULT_KINDS["slow"]
